package api

import (
	"encoding"
	"encoding/json"
	"fmt"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"sync"
)

// field is what the tags of a struct field say. The same tags drive decoding, the JSON Schema and the reference pages:
//
//	json     the key, and omitempty
//	doc      one sentence for people
//	rule     comma-separated: required, name, oneof=a|b|c, min=N, max=N (numbers, shares, durations; else a length)
//	default  what holds when the key is absent; elements of a list are separated by commas
type field struct {
	index    []int
	key      string
	doc      string
	required bool
	name     bool
	oneof    []string
	min, max string
	def      string
	hasDef   bool
}

var (
	fieldCache    sync.Map // reflect.Type to []field
	typeText      = reflect.TypeFor[encoding.TextUnmarshaler]()
	typeDuration  = reflect.TypeFor[Duration]()
	typePercent   = reflect.TypeFor[Percent]()
	typeRate      = reflect.TypeFor[Rate]()
	typeMoney     = reflect.TypeFor[Money]()
	typeSecret    = reflect.TypeFor[Secret]()
	typeParams    = reflect.TypeFor[Params]()
	typeRaw       = reflect.TypeFor[json.RawMessage]()
	typePos       = reflect.TypeFor[Pos]()
	validName     = regexp.MustCompile(namePattern)
	validCurrency = regexp.MustCompile(currencyPattern)
)

const (
	namePattern     = `^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$`
	currencyPattern = `^[A-Z]{3}$`
)

// fieldsOf lists the fields of a struct in their order, embedded structs as if they stood in it.
func fieldsOf(t reflect.Type) []field {
	if known, ok := fieldCache.Load(t); ok {
		return known.([]field)
	}
	var fields []field
	for i := range t.NumField() {
		sf := t.Field(i)
		key, _, _ := strings.Cut(sf.Tag.Get("json"), ",")
		if key == "-" || !sf.IsExported() && !sf.Anonymous {
			continue
		}
		if sf.Anonymous && key == "" && sf.Type.Kind() == reflect.Struct {
			for _, inner := range fieldsOf(sf.Type) {
				inner.index = append([]int{i}, inner.index...)
				fields = append(fields, inner)
			}
			continue
		}
		if key == "" {
			key = sf.Name
		}
		f := field{index: []int{i}, key: key, doc: sf.Tag.Get("doc")}
		f.def, f.hasDef = sf.Tag.Lookup("default")
		f.rules(sf.Tag.Get("rule"), t)
		fields = append(fields, f)
	}
	fieldCache.Store(t, fields)
	return fields
}

// rules reads a rule tag. A rule that does not exist is a mistake in the program, not in a spec.
func (f *field) rules(tag string, t reflect.Type) {
	for rule := range strings.SplitSeq(tag, ",") {
		word, arg, _ := strings.Cut(strings.TrimSpace(rule), "=")
		switch word {
		case "":
		case "required":
			f.required = true
		case "name":
			f.name = true
		case "oneof":
			f.oneof = strings.Split(arg, "|")
		case "min":
			f.min = arg
		case "max":
			f.max = arg
		default:
			panic(fmt.Sprintf("api: %s.%s has the unknown rule %q", t, f.key, word))
		}
	}
}

// closestMax is how many candidates closest looks at: enough for people, and bounded for hostile input.
const closestMax = 2000

// closest finds the candidate that was probably meant; "" where none is near.
func closest(word string, candidates []string) string {
	candidates = candidates[:min(len(candidates), closestMax)]
	if len(word) > 100 {
		return ""
	}
	best, bestDistance := "", 1+max(1, len(word)/3)
	for _, c := range candidates {
		if strings.EqualFold(c, word) {
			return c
		}
		if d := distance(strings.ToLower(word), strings.ToLower(c), bestDistance); d < bestDistance {
			best, bestDistance = c, d
		}
	}
	return best
}

// distance counts the edits between two words: insert, delete, replace, swap neighbours. It gives up at limit.
func distance(a, b string, limit int) int {
	if len(a)-len(b) >= limit || len(b)-len(a) >= limit {
		return limit
	}
	rows := [3][]int{make([]int, len(b)+1), make([]int, len(b)+1), make([]int, len(b)+1)}
	for j := range rows[1] {
		rows[1][j] = j
	}
	for i := 1; i <= len(a); i++ {
		before, last, row := rows[(i+2)%3], rows[i%3], rows[(i+1)%3]
		row[0] = i
		for j := 1; j <= len(b); j++ {
			cost := 1
			if a[i-1] == b[j-1] {
				cost = 0
			}
			row[j] = min(last[j]+1, row[j-1]+1, last[j-1]+cost)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				row[j] = min(row[j], before[j-2]+1)
			}
		}
	}
	return rows[(len(a)+1)%3][len(b)]
}

// suggest makes a hint of what may stand in a place: did you mean "every"? or the list of what is known.
func suggest(word string, known []string, what string) string {
	if near := closest(word, known); near != "" {
		return fmt.Sprintf("did you mean %q?", near)
	}
	if len(known) == 0 {
		return "there are no " + what
	}
	list := slices.Clone(known)
	more := ""
	if len(list) > 20 {
		list, more = list[:20], ", ..."
	}
	return what + ": " + strings.Join(list, ", ") + more
}
