package api

import (
	"go/ast"
	"go/parser"
	"go/token"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// markersOf says which kubebuilder markers a field must carry by its tags.
func markersOf(typ string, tag reflect.StructTag) []string {
	var want []string
	rules := strings.Split(tag.Get("rule"), ",")
	number := typ == "int" || typ == "int64" || typ == "float64"
	list := strings.HasPrefix(typ, "[]")
	for _, rule := range rules {
		word, arg, _ := strings.Cut(rule, "=")
		switch {
		case word == "required" && typ == "string" && !slices.Contains(rules, "name"):
			want = append(want, "validation:MinLength=1")
		case word == "required" && list:
			want = append(want, "validation:MinItems=1")
		case word == "name":
			want = append(want, "validation:MaxLength=63", "validation:Pattern=`"+namePattern+"`")
		case word == "oneof" && list:
			want = append(want, "validation:items:Enum="+strings.ReplaceAll(arg, "|", ";"))
		case word == "oneof":
			want = append(want, "validation:Enum="+strings.ReplaceAll(arg, "|", ";"))
		case word == "min" && number:
			want = append(want, "validation:Minimum="+arg)
		case word == "max" && number:
			want = append(want, "validation:Maximum="+arg)
		}
	}
	if def, ok := tag.Lookup("default"); ok {
		if !number {
			def = strconv.Quote(def)
		}
		want = append(want, "default="+def)
	}
	return want
}

// TestMarkersFollowTags holds that the rules Kubernetes enforces are the rules that files are held to.
func TestMarkersFollowTags(t *testing.T) {
	fset := token.NewFileSet()
	file, err := parser.ParseFile(fset, "spec.go", nil, parser.ParseComments)
	if err != nil {
		t.Fatal(err)
	}
	count := 0
	ast.Inspect(file, func(n ast.Node) bool {
		f, ok := n.(*ast.Field)
		if !ok || f.Tag == nil {
			return true
		}
		tag, err := strconv.Unquote(f.Tag.Value)
		if err != nil {
			t.Fatal(err)
		}
		typ := "other"
		switch x := f.Type.(type) {
		case *ast.Ident:
			typ = x.Name
		case *ast.ArrayType:
			typ = "[]"
		}
		var got []string
		if f.Doc != nil {
			for _, c := range f.Doc.List {
				if marker, found := strings.CutPrefix(c.Text, "// +kubebuilder:"); found {
					got = append(got, marker)
				}
			}
		}
		count += len(got)
		if want := markersOf(typ, reflect.StructTag(tag)); !slices.Equal(got, want) {
			t.Errorf("%s: %s carries the markers %q, its tags want %q", fset.Position(f.Pos()), f.Names[0].Name, got, want)
		}
		return true
	})
	if count < 30 {
		t.Errorf("only %d markers were found", count)
	}
}
