package api

import (
	"encoding"
	"encoding/json"
	"fmt"
	"reflect"
	"strconv"
	"strings"
)

// decoder walks nodes and typed values side by side. It goes on after a finding, so that one check shows all of them.
type decoder struct {
	*reader
}

// at reports an error at a node.
func (d decoder) at(n *node, rule, message, hint string) {
	d.errorAt(int(n.line), int(n.col), rule, message, hint)
}

func join(path, key string) string {
	if path == "" {
		return key
	}
	return path + "." + key
}

// value decodes a node into v. f holds the rules of the field that v belongs to; path names it in messages.
func (d decoder) value(n *node, v reflect.Value, f *field, path string) {
	if n.tagged {
		return
	}
	before := len(d.findings)
	switch v.Type() {
	case typeParams:
		d.params(n, v, path)
		return
	case typeRaw:
		v.SetBytes(Params{node: n}.canonical())
		return
	}
	if v.Kind() == reflect.Interface {
		v.Set(reflect.ValueOf(n.plain()))
		return
	}
	if n.kind == nodeNull {
		hint := "write a value, or remove the key"
		if v.Kind() == reflect.Pointer && v.Type().Elem().Kind() == reflect.Struct {
			hint = "write " + lastKey(path) + ": {} for the defaults"
		}
		d.at(n, "empty-value", path+" has no value", hint)
		return
	}
	if v.Kind() == reflect.Pointer {
		v.Set(reflect.New(v.Type().Elem()))
		d.value(n, v.Elem(), f, path)
		return
	}
	switch {
	case v.Type() == typeSecret:
		d.secret(n, v.Addr().Interface().(*Secret), path)
	case v.Type() == typeMoney:
		d.money(n, v, path)
	case v.Addr().Type().Implements(typeText):
		d.text(n, v, path)
	case v.Kind() == reflect.Struct:
		d.structure(n, v, path)
		return
	case v.Kind() == reflect.Slice:
		d.list(n, v, f, path)
	case v.Kind() == reflect.Map:
		d.mapping(n, v, path)
	default:
		d.scalar(n, v, path)
	}
	if len(d.findings) == before {
		d.check(n, v, f, path)
	}
}

func lastKey(path string) string { return path[strings.LastIndexByte(path, '.')+1:] }

// structure decodes a mapping into a struct; extra keys are known to the caller and left alone.
func (d decoder) structure(n *node, v reflect.Value, path string, extra ...string) {
	if n.kind != nodeMap {
		d.at(n, "wrong-type", place(path)+" must be a mapping (key: value), not "+n.describe(), "indent its keys below it")
		return
	}
	before := len(d.findings)
	fields := fieldsOf(v.Type())
	known := append([]string{}, extra...)
	for i := range fields {
		f := &fields[i]
		known = append(known, f.key)
		target := v.FieldByIndex(f.index)
		child := n.get(f.key)
		switch {
		case child != nil:
			d.value(child, target, f, join(path, f.key))
		case f.required:
			d.at(n, "missing-key", join(path, f.key)+" is missing", missingHint(f))
		default:
			d.absent(n, target, f)
		}
	}
	for i := 0; i+1 < len(n.items); i += 2 {
		key := &n.items[i]
		if !contains(known, key.value) {
			d.at(key, "unknown-key", fmt.Sprintf("unknown key %q in %s", key.value, place(path)), suggest(key.value, known, "known keys"))
		}
	}
	if pos := v.FieldByName("Pos"); pos.IsValid() && pos.Type() == typePos {
		pos.Set(reflect.ValueOf(Pos{d.file, int(n.line), int(n.col)}))
	}
	if checker, ok := v.Addr().Interface().(interface {
		Check(report func(field, rule, message, hint string))
	}); ok && len(d.findings) == before {
		checker.Check(func(field, rule, message, hint string) {
			d.at(n.at(field), rule, join(path, field)+": "+message, hint)
		})
	}
}

func contains(words []string, word string) bool {
	for _, w := range words {
		if w == word {
			return true
		}
	}
	return false
}

func place(path string) string {
	if path == "" {
		return "this document"
	}
	return path
}

func missingHint(f *field) string {
	hint := "add " + f.key + ":"
	if len(f.oneof) > 0 {
		hint += " " + strings.Join(f.oneof, " or ")
	}
	if f.doc != "" {
		hint += " (" + strings.TrimSuffix(f.doc, ".") + ")"
	}
	return hint
}

// absent gives an absent field its default; n is the mapping in which it might have stood.
func (d decoder) absent(n *node, v reflect.Value, f *field) {
	switch {
	case f.hasDef:
		def := defaultNode(v.Type(), f.def)
		def.line, def.col = n.line, n.col
		d.value(&def, v, f, f.key)
	case v.Type() == typeParams:
		v.Set(reflect.ValueOf(Params{file: d.file, line: n.line, col: n.col}))
	case v.Kind() == reflect.Struct && !v.Addr().Type().Implements(typeText) && v.Type() != typeSecret && v.Type() != typePos:
		fields := fieldsOf(v.Type())
		for i := range fields {
			d.absent(n, v.FieldByIndex(fields[i].index), &fields[i])
		}
	}
}

// defaultNode makes a node of a default tag, of the kind that the type wants.
func defaultNode(t reflect.Type, text string) node {
	if t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	n := node{kind: nodeText, value: text}
	switch {
	case reflect.PointerTo(t).Implements(typeText) || t == typeSecret:
	case t.Kind() == reflect.Bool:
		n.kind = nodeBool
	case t.Kind() >= reflect.Int && t.Kind() <= reflect.Uint64:
		n.kind = nodeInt
	case t.Kind() == reflect.Float64 || t.Kind() == reflect.Float32:
		n.kind = nodeFloat
	case t.Kind() == reflect.Slice:
		n = node{kind: nodeList}
		for part := range strings.SplitSeq(text, ",") {
			n.items = append(n.items, defaultNode(t.Elem(), part))
		}
	}
	return n
}

// params keeps the parameters for the type that knows them.
func (d decoder) params(n *node, v reflect.Value, path string) {
	if n.kind != nodeMap {
		d.at(n, "wrong-type", path+" must be a mapping (key: value), not "+n.describe(), "indent the parameters below it")
		return
	}
	own := *n // a copy, so that the parameters do not keep the whole document
	v.Set(reflect.ValueOf(Params{node: &own, file: d.file, line: n.line, col: n.col}))
}

// text decodes a type that reads itself from text: Duration, Percent, Rate.
func (d decoder) text(n *node, v reflect.Value, path string) {
	if n.kind != nodeText {
		hint := ""
		switch {
		case v.Type() == typeDuration:
			hint = "write a number with a unit: 30s, 5m, 2h or 7d"
		case v.Type() == typePercent:
			hint = "write a number with a percent sign: 20% or 99.95%"
		case v.Type() == typeRate:
			hint = "write a number in a time: 20/s or 2 per 1h"
		}
		d.at(n, "wrong-type", path+" must be a "+typeWord(v.Type())+", not "+n.describe(), hint)
		return
	}
	if err := v.Addr().Interface().(encoding.TextUnmarshaler).UnmarshalText([]byte(n.value)); err != nil {
		message, hint, _ := strings.Cut(err.Error(), ": ")
		d.at(n, "bad-value", path+": "+message, hint)
	}
}

// typeWord names a type for a person who writes YAML.
func typeWord(t reflect.Type) string {
	switch {
	case t == typeDuration:
		return "duration"
	case t == typePercent:
		return "share"
	case t == typeRate:
		return "rate"
	case t.Kind() == reflect.String:
		return "text"
	case t.Kind() == reflect.Bool:
		return "true or false"
	case t.Kind() >= reflect.Int && t.Kind() <= reflect.Uint64:
		return "whole number"
	case t.Kind() == reflect.Float32, t.Kind() == reflect.Float64:
		return "number"
	}
	return "text"
}

// secret decodes a text, {env: NAME} or {file: PATH}, and warns of a credential in plain sight.
func (d decoder) secret(n *node, s *Secret, path string) {
	const hint = "write a text, {env: NAME} or {file: PATH}"
	switch n.kind {
	case nodeText:
		s.Text = n.value
		if clean := redactCredentials(n.value); clean != n.value {
			d.add(Finding{Pos: Pos{d.file, int(n.line), int(n.col)}, Severity: SeverityWarning, Rule: "plain-credential",
				Message: path + " holds a credential in plain text: " + clean, Hint: "write {env: NAME} or {file: PATH}, and keep the credential out of the file"})
		}
	case nodeMap:
		for i := 0; i+1 < len(n.items); i += 2 {
			key, value := &n.items[i], &n.items[i+1]
			switch {
			case key.value != "env" && key.value != "file":
				d.at(key, "unknown-key", fmt.Sprintf("unknown key %q in %s", key.value, path), hint)
				return
			case value.kind != nodeText || value.value == "":
				d.at(value, "wrong-type", join(path, key.value)+" must be a text, not "+value.describe(), hint)
				return
			case key.value == "env":
				s.Env = value.value
			default:
				s.File = value.value
			}
		}
		if (s.Env == "") == (s.File == "") {
			d.at(n, "bad-value", path+" must name exactly one of env and file", hint)
		}
	default:
		d.at(n, "wrong-type", path+" must be a text, not "+n.describe(), hint)
	}
}

// money decodes amounts in minor units per currency.
func (d decoder) money(n *node, v reflect.Value, path string) {
	const hint = "write whole minor units per currency: {EUR: 50000} is 500.00 EUR"
	if n.kind != nodeMap {
		d.at(n, "wrong-type", path+" must be money, not "+n.describe(), hint)
		return
	}
	m := Money{}
	for i := 0; i+1 < len(n.items); i += 2 {
		key, value := &n.items[i], &n.items[i+1]
		amount, err := strconv.ParseInt(value.value, 10, 64)
		switch {
		case !validCurrency.MatchString(key.value):
			d.at(key, "bad-value", fmt.Sprintf("%s: %q is not a currency", path, key.value), "write the three capitals of ISO 4217, such as EUR")
		case value.kind != nodeInt || err != nil || amount < 0:
			d.at(value, "wrong-type", join(path, key.value)+" must be whole minor units, not "+value.describe(), hint)
		default:
			m[key.value] = amount
		}
	}
	v.Set(reflect.ValueOf(m))
}

func (d decoder) list(n *node, v reflect.Value, f *field, path string) {
	if n.kind != nodeList {
		d.at(n, "wrong-type", path+" must be a list, not "+n.describe(), "write [a, b], or one line with - for each element")
		return
	}
	element := field{}
	if f != nil {
		element = field{key: f.key, oneof: f.oneof, name: f.name}
	}
	v.Set(reflect.MakeSlice(v.Type(), len(n.items), len(n.items)))
	for i := range n.items {
		d.value(&n.items[i], v.Index(i), &element, fmt.Sprintf("%s[%d]", path, i))
	}
}

func (d decoder) mapping(n *node, v reflect.Value, path string) {
	if v.Type().Key().Kind() != reflect.String {
		panic(fmt.Sprintf("api: %s has the type %s; keys of specs are texts", path, v.Type()))
	}
	if n.kind != nodeMap {
		d.at(n, "wrong-type", path+" must be a mapping (key: value), not "+n.describe(), "indent its keys below it")
		return
	}
	v.Set(reflect.MakeMapWithSize(v.Type(), len(n.items)/2))
	for i := 0; i+1 < len(n.items); i += 2 {
		value := reflect.New(v.Type().Elem()).Elem()
		d.value(&n.items[i+1], value, nil, join(path, n.items[i].value))
		v.SetMapIndex(reflect.ValueOf(n.items[i].value).Convert(v.Type().Key()), value)
	}
}

// scalar decodes text, numbers and truth values. Nothing is converted silently: 010, 1e3 and yes have surprised too many.
func (d decoder) scalar(n *node, v reflect.Value, path string) {
	wrong := func(hint string) {
		d.at(n, "wrong-type", path+" must be a "+strings.TrimPrefix(typeWord(v.Type()), "a ")+", not "+n.describe(), hint)
	}
	switch v.Kind() {
	case reflect.String:
		if n.kind == nodeText {
			v.SetString(n.value)
		} else if n.kind == nodeList || n.kind == nodeMap {
			wrong("")
		} else {
			wrong(fmt.Sprintf("quote it: %q", n.value))
		}
	case reflect.Bool:
		if n.kind != nodeBool {
			wrong("write true or false")
			return
		}
		v.SetBool(strings.EqualFold(n.value, "true"))
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		i, err := strconv.ParseInt(n.value, 10, 64)
		if n.kind != nodeInt || err != nil || v.OverflowInt(i) || !decimal.MatchString(n.value) {
			wrong(numberHint(n))
			return
		}
		v.SetInt(i)
	case reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		i, err := strconv.ParseUint(n.value, 10, 64)
		if n.kind != nodeInt || err != nil || v.OverflowUint(i) || !decimal.MatchString(n.value) {
			wrong(numberHint(n))
			return
		}
		v.SetUint(i)
	case reflect.Float32, reflect.Float64:
		number := canonicalNumber(n.value)
		x, err := strconv.ParseFloat(number, 64)
		if n.kind != nodeInt && n.kind != nodeFloat || err != nil {
			wrong(numberHint(n))
			return
		}
		v.SetFloat(x)
	default:
		panic(fmt.Sprintf("api: %s has the type %s, which specs cannot hold", path, v.Type()))
	}
}

func numberHint(n *node) string {
	switch {
	case n.kind == nodeText && decimal.MatchString(n.value):
		return "remove the quotes"
	case n.kind == nodeInt && !decimal.MatchString(n.value):
		return "write it in plain decimal digits"
	case n.kind == nodeInt:
		return "the number is too large or too small"
	}
	return "write a number in decimal digits"
}

// plain gives a node as plain Go values, for fields that take anything.
func (n *node) plain() any {
	var v any
	dec := json.NewDecoder(strings.NewReader(string(Params{node: n}.canonical())))
	dec.UseNumber()
	_ = dec.Decode(&v) // canonical always writes valid JSON
	return v
}
