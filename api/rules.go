package api

import (
	"fmt"
	"reflect"
	"slices"
	"strconv"
	"strings"
)

// check holds a decoded value against the rules of its field.
func (d decoder) check(n *node, v reflect.Value, f *field, path string) {
	if f == nil {
		return
	}
	if f.required && isMissing(v) {
		d.at(n, "empty-value", path+" is empty", missingHint(f))
		return
	}
	if v.Kind() == reflect.String {
		text := v.String()
		if f.name && !validName.MatchString(text) {
			d.at(n, "bad-name", fmt.Sprintf("%s: %q is not a name", path, text), nameHint(text))
		}
		if len(f.oneof) > 0 && !slices.Contains(f.oneof, text) {
			d.at(n, "not-one-of", fmt.Sprintf("%s must be %s, not %q", path, orList(f.oneof), text), suggest(text, f.oneof, "choose one of"))
		}
	}
	if f.min != "" && compare(v, f.min) < 0 {
		d.at(n, "out-of-range", fmt.Sprintf("%s is %s; the least is %s%s", path, show(v), f.min, lengthWord(v)), rangeHint(f))
	}
	if f.max != "" && compare(v, f.max) > 0 {
		d.at(n, "out-of-range", fmt.Sprintf("%s is %s; the most is %s%s", path, show(v), f.max, lengthWord(v)), rangeHint(f))
	}
}

// isMissing tells whether a required value says nothing: an empty text, list, mapping or secret. Zero numbers say something.
func isMissing(v reflect.Value) bool {
	switch v.Kind() {
	case reflect.String, reflect.Slice, reflect.Map:
		return v.Len() == 0
	}
	return v.Type() == typeSecret && v.IsZero()
}

func orList(words []string) string {
	if len(words) == 1 {
		return words[0]
	}
	return strings.Join(words[:len(words)-1], ", ") + " or " + words[len(words)-1]
}

func nameHint(text string) string {
	hint := "use lower-case letters, digits and '-', at most 63, with a letter or digit first and last"
	fixed := strings.Trim(strings.Map(func(c rune) rune {
		switch {
		case c >= 'a' && c <= 'z', c >= '0' && c <= '9', c == '-':
			return c
		case c >= 'A' && c <= 'Z':
			return c + 'a' - 'A'
		case c == '_', c == ' ', c == '.', c == '/':
			return '-'
		}
		return -1
	}, text), "-")
	if validName.MatchString(fixed) {
		return fmt.Sprintf("write %q; %s", fixed, hint)
	}
	return hint
}

// compare holds a number, share, duration or length against a bound of a rule tag.
func compare(v reflect.Value, bound string) int {
	switch v.Type() {
	case typeDuration:
		b, err := ParseDuration(bound)
		mustRule(err)
		return cmpFloat(float64(v.Field(0).Int()), float64(b.Duration))
	case typePercent:
		b, err := ParsePercent(bound)
		mustRule(err)
		return cmpFloat(float64(v.Field(0).Int()), float64(b.PPM))
	}
	b, err := strconv.ParseFloat(bound, 64)
	mustRule(err)
	switch {
	case v.CanInt():
		return cmpFloat(float64(v.Int()), b)
	case v.CanUint():
		return cmpFloat(float64(v.Uint()), b)
	case v.CanFloat():
		return cmpFloat(v.Float(), b)
	case v.Kind() == reflect.String || v.Kind() == reflect.Slice || v.Kind() == reflect.Map:
		return cmpFloat(float64(v.Len()), b)
	}
	panic(fmt.Sprintf("api: the type %s has no order for min and max", v.Type()))
}

// mustRule stops the program for a rule tag that cannot be read: a mistake in the program, found by any test of the type.
func mustRule(err error) {
	if err != nil {
		panic("api: rule tag: " + err.Error())
	}
}

func cmpFloat(a, b float64) int {
	switch {
	case a < b:
		return -1
	case a > b:
		return 1
	}
	return 0
}

func show(v reflect.Value) string {
	switch v.Kind() {
	case reflect.String, reflect.Slice, reflect.Map:
		return strconv.Itoa(v.Len())
	}
	return fmt.Sprint(v.Interface())
}

func lengthWord(v reflect.Value) string {
	switch v.Kind() {
	case reflect.String:
		return " characters"
	case reflect.Slice, reflect.Map:
		return " elements"
	}
	return ""
}

func rangeHint(f *field) string {
	switch {
	case f.min != "" && f.max != "":
		return "write " + f.min + " to " + f.max
	case f.min != "":
		return "write " + f.min + " or more"
	}
	return "write " + f.max + " or less"
}
