package api

import (
	"bytes"
	"encoding/json"
	"reflect"
	"strconv"
	"strings"
)

// SchemaID is the $id of the JSON Schema.
const SchemaID = "https://backstay.dev/schema/v1alpha1.json"

// Schema describes every kind as one JSON Schema (draft 2020-12), for editors: indented JSON with a newline at the end.
// The shape of with: follows from type, do or driver. What only Validate can see (references, cycles, conditions) is not in it.
func Schema(cat Catalog) []byte {
	w := schemaWriter{defs: obj{}}
	var branches list
	names := list{}
	for _, kind := range kinds {
		names = append(names, string(kind))
		name := string(kind)
		s := w.structure(newObject(kind).Elem().Type())
		s.set("properties", append(obj{{"apiVersion", obj{{"const", Version}}}, {"kind", obj{{"const", name}}}}, s.get("properties").(obj)...))
		s.set("required", append(list{"apiVersion", "kind"}, s.get("required").(list)...))
		w.defs = append(w.defs, pair{name, s})
		branches = append(branches, choice("kind", name, obj{{"$ref", "#/$defs/" + name}}))
	}
	w.chooseParams(cat)
	root := obj{
		{"$schema", "https://json-schema.org/draft/2020-12/schema"},
		{"$id", SchemaID},
		{"title", "Backstay " + Version},
		{"type", "object"},
		{"required", list{"apiVersion", "kind", "metadata", "spec"}},
		{"properties", obj{{"apiVersion", obj{{"const", Version}}}, {"kind", obj{{"enum", names}}}}},
		{"allOf", branches},
		{"$defs", w.defs},
	}
	var compact, out bytes.Buffer
	root.write(&compact)
	_ = json.Indent(&out, compact.Bytes(), "", "  ") // what write wrote is JSON
	out.WriteByte('\n')
	return out.Bytes()
}

// ParamsSchema describes one params struct as a JSON Schema, for the reference pages: into is a pointer to it.
func ParamsSchema(into any) []byte {
	w := schemaWriter{defs: obj{}}
	s := w.structure(reflect.TypeOf(into).Elem())
	if len(w.defs) > 0 {
		s.set("$defs", w.defs)
	}
	var compact, out bytes.Buffer
	s.write(&compact)
	_ = json.Indent(&out, compact.Bytes(), "", "  ")
	out.WriteByte('\n')
	return out.Bytes()
}

// obj is a JSON object that keeps its order, so that the schema reads like the specs.
type (
	obj  []pair
	pair struct {
		key   string
		value any
	}
	list []any
)

func (o obj) get(key string) any {
	for _, p := range o {
		if p.key == key {
			return p.value
		}
	}
	return nil
}

func (o *obj) set(key string, value any) {
	for i := range *o {
		if (*o)[i].key == key {
			(*o)[i].value = value
			return
		}
	}
	*o = append(*o, pair{key, value})
}

func (o obj) write(b *bytes.Buffer) {
	b.WriteByte('{')
	for i, p := range o {
		if i > 0 {
			b.WriteByte(',')
		}
		writeJSON(b, p.key)
		b.WriteByte(':')
		writeValue(b, p.value)
	}
	b.WriteByte('}')
}

func writeValue(b *bytes.Buffer, v any) {
	switch v := v.(type) {
	case obj:
		v.write(b)
	case list:
		b.WriteByte('[')
		for i := range v {
			if i > 0 {
				b.WriteByte(',')
			}
			writeValue(b, v[i])
		}
		b.WriteByte(']')
	case string:
		writeJSON(b, v)
	default:
		data, _ := json.Marshal(v) // numbers and truth values
		b.Write(data)
	}
}

// choice applies then where a key has a value.
func choice(key, value string, then obj) obj {
	return obj{
		{"if", obj{{"properties", obj{{key, obj{{"const", value}}}}}, {"required", list{key}}}},
		{"then", then},
	}
}

// schemaWriter collects the definitions that several places share.
type schemaWriter struct {
	defs obj
}

// structure describes a struct. Its required key is always there, so that callers may add to it.
func (w *schemaWriter) structure(t reflect.Type) obj {
	properties, required := obj{}, list{}
	for _, f := range fieldsOf(t) {
		s := w.value(t.FieldByIndex(f.index).Type, &f)
		if f.doc != "" {
			s.set("description", f.doc)
		}
		if f.hasDef {
			s.set("default", schemaDefault(t.FieldByIndex(f.index).Type, f.def))
		}
		properties = append(properties, pair{f.key, s})
		if f.required {
			required = append(required, f.key)
		}
	}
	return obj{{"type", "object"}, {"properties", properties}, {"required", required}, {"additionalProperties", false}}
}

func schemaDefault(t reflect.Type, text string) any {
	n := defaultNode(t, text)
	return n.plain()
}

const (
	durationPattern = `^([0-9]+d|([0-9]+(\.[0-9]*)?(ns|us|µs|ms|s|m|h))+|0)$`
	percentPattern  = `^[0-9]{1,3}(\.[0-9]{1,4})? *%$`
	ratePattern     = `^[0-9]+ ?(/| per ) ?([0-9.]*(ns|us|µs|ms|s|m|h|d))+$`
)

// value describes a type with the rules of the field that holds it.
func (w *schemaWriter) value(t reflect.Type, f *field) obj {
	if t.Kind() == reflect.Pointer {
		return w.value(t.Elem(), f)
	}
	switch {
	case t == typeDuration:
		return obj{{"type", "string"}, {"pattern", durationPattern}}
	case t == typePercent:
		return obj{{"type", "string"}, {"pattern", percentPattern}}
	case t == typeRate:
		return obj{{"type", "string"}, {"pattern", ratePattern}}
	case t == typeMoney:
		return obj{{"type", "object"}, {"propertyNames", obj{{"pattern", currencyPattern}}}, {"additionalProperties", obj{{"type", "integer"}, {"minimum", 0}}}}
	case t == typeSecret:
		return w.secret()
	case t == typeParams:
		return obj{{"type", "object"}}
	case t == typeRaw || t.Kind() == reflect.Interface:
		return obj{}
	case reflect.PointerTo(t).Implements(typeText):
		return obj{{"type", "string"}}
	}
	switch t.Kind() {
	case reflect.Struct:
		return w.shared(t)
	case reflect.Slice:
		element := field{name: f.name, oneof: f.oneof}
		s := obj{{"type", "array"}, {"items", w.value(t.Elem(), &element)}}
		return bounds(s, f, "minItems", "maxItems")
	case reflect.Map:
		s := obj{{"type", "object"}, {"additionalProperties", w.value(t.Elem(), &field{})}}
		return bounds(s, f, "minProperties", "maxProperties")
	case reflect.String:
		s := obj{{"type", "string"}}
		if f.name {
			s.set("pattern", namePattern)
		}
		if len(f.oneof) > 0 {
			enum := list{}
			for _, o := range f.oneof {
				enum = append(enum, o)
			}
			s.set("enum", enum)
		}
		return bounds(s, f, "minLength", "maxLength")
	case reflect.Bool:
		return obj{{"type", "boolean"}}
	case reflect.Float32, reflect.Float64:
		return bounds(obj{{"type", "number"}}, f, "minimum", "maximum")
	}
	return bounds(obj{{"type", "integer"}}, f, "minimum", "maximum")
}

// bounds adds min, max and, for what has a length, that a required value is not empty.
func bounds(s obj, f *field, low, high string) obj {
	if f.required && low != "minimum" && f.min == "" {
		s.set(low, 1)
	}
	if n, err := strconv.ParseFloat(f.min, 64); err == nil {
		s.set(low, n)
	}
	if n, err := strconv.ParseFloat(f.max, 64); err == nil {
		s.set(high, n)
	}
	return s
}

// secret describes Secret once.
func (w *schemaWriter) secret() obj {
	if w.defs.get("Secret") == nil {
		text := obj{{"type", "string"}, {"minLength", 1}}
		w.defs = append(w.defs, pair{"Secret", obj{{"oneOf", list{
			obj{{"type", "string"}},
			obj{{"type", "object"}, {"properties", obj{{"env", text}}}, {"required", list{"env"}}, {"additionalProperties", false}},
			obj{{"type", "object"}, {"properties", obj{{"file", text}}}, {"required", list{"file"}}, {"additionalProperties", false}},
		}}}})
	}
	return obj{{"$ref", "#/$defs/Secret"}}
}

// shared describes a named struct once under $defs and refers to it.
func (w *schemaWriter) shared(t reflect.Type) obj {
	name := t.Name()
	if name == "" {
		return w.structure(t)
	}
	if t.PkgPath() != reflect.TypeFor[Pos]().PkgPath() {
		name = t.PkgPath()[strings.LastIndexByte(t.PkgPath(), '/')+1:] + "." + name
	}
	if w.defs.get(name) == nil {
		w.defs = append(w.defs, pair{name, obj{}}) // taken first: a type may hold itself
		w.defs.set(name, w.structure(t))
	}
	return obj{{"$ref", "#/$defs/" + name}}
}

// chooseParams gives with: its shape by what was chosen beside it.
func (w *schemaWriter) chooseParams(cat Catalog) {
	actions := make([]TypeInfo, len(cat.Actions))
	for i, a := range cat.Actions {
		actions[i] = TypeInfo{Name: a.Name, Summary: a.Summary}
		if cat.ActionParams != nil && cat.ActionParams(a.Name) != nil {
			actions[i].Params = func() any { return cat.ActionParams(a.Name) }
		}
	}
	w.chooser("ProbeSpec", "type", "probe", cat.Probes)
	w.chooser("Step", "do", "action", actions)
	driver := w.defs.get("Driver").(obj)
	w.defs = append(w.defs, pair{"RouteDriver", driver.clone()}, pair{"ChannelDriver", driver.clone()})
	w.chooser("RouteDriver", "driver", "route", cat.Routes)
	w.chooser("ChannelDriver", "driver", "channel", cat.Channels)
	spec := w.defs.get("IntegrationSpec").(obj)
	properties := spec.get("properties").(obj)
	for _, way := range []struct{ key, def string }{{"route", "RouteDriver"}, {"channel", "ChannelDriver"}} {
		s := properties.get(way.key).(obj).clone()
		s.set("$ref", "#/$defs/"+way.def)
		properties.set(way.key, s)
	}
}

func (o obj) clone() obj { return append(obj{}, o...) }

// chooser lists the known types of a key, and for each one what with: must be.
func (w *schemaWriter) chooser(def, key, prefix string, types []TypeInfo) {
	if len(types) == 0 {
		return
	}
	s := w.defs.get(def).(obj)
	properties := s.get("properties").(obj).clone()
	property := properties.get(key).(obj).clone()
	names, branches := list{}, list{}
	for _, t := range types {
		names = append(names, t.Name)
		if t.Params == nil {
			continue
		}
		params := w.structure(reflect.TypeOf(t.Params()).Elem())
		if t.Summary != "" {
			params.set("description", t.Summary)
		}
		name := prefix + "." + t.Name
		w.defs = append(w.defs, pair{name, params})
		then := obj{{"properties", obj{{"with", obj{{"$ref", "#/$defs/" + name}}}}}}
		if len(params.get("required").(list)) > 0 {
			then.set("required", list{"with"})
		}
		branches = append(branches, choice(key, t.Name, then))
	}
	property.set("enum", names)
	properties.set(key, property)
	s.set("properties", properties)
	if len(branches) > 0 {
		s.set("allOf", branches)
	}
	w.defs.set(def, s)
}
