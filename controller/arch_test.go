package controller_test

import (
	"encoding/json"
	"go/ast"
	"go/parser"
	"go/token"
	"go/types"
	"os/exec"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/tools/go/packages"
)

const module = "github.com/backstay/backstay/"

// mayImport says for each package which of ours it may import; a package that is not listed may import nothing of ours.
var mayImport = map[string][]string{
	"api":                          {},
	"probes":                       {"api"},
	"playbooks":                    {"api"},
	"controller/internal/calendar": {"api"},
	"controller/internal/detect":   {"api", "controller/internal/calendar"},
	"controller/internal/engine":   {"api", "controller/internal/calendar"},
	"controller/internal/eventlog": {},
	"controller/internal/twin": {"api", "controller/internal/calendar", "controller/internal/detect", "controller/internal/engine",
		"controller/internal/eventlog"},
	"controller/internal/audit":   {"api"},
	"controller/internal/store":   {"api", "controller/internal/audit"},
	"controller/internal/witness": {"api", "controller/internal/audit", "controller/internal/store"},
	"controller/internal/live": {"api", "probes", "playbooks", "controller/internal/detect", "controller/internal/engine",
		"controller/internal/audit", "controller/internal/store"},
	"controller/internal/web": {"api", "controller/internal/audit", "controller/internal/store", "controller/internal/live"},
	// The demo is a world of its own: it knows our words and nothing of how we work, so it can judge us.
	"controller/internal/demo": {"api"},
	"controller/internal/rig":  {"api", "controller/internal/demo"},
	"controller": {"api", "probes", "playbooks", "controller/internal/calendar", "controller/internal/detect", "controller/internal/engine",
		"controller/internal/audit", "controller/internal/store", "controller/internal/live", "controller/internal/web", "controller/internal/demo", "controller/internal/witness", "controller/internal/twin", "controller/internal/eventlog"},
	"controller/cmd/backstay": {"api", "probes", "playbooks", "controller"},
}

// pure packages decide and reach no outside world: not even through the libraries that they use.
var pure = []string{"api", "controller/internal/calendar", "controller/internal/detect", "controller/internal/engine", "controller/internal/audit",
	"controller/internal/twin", "controller/internal/eventlog"}

var unreachable = []string{"net", "net/http", "os/exec", "database/sql"}

type listed struct {
	ImportPath   string
	Imports      []string
	TestImports  []string
	XTestImports []string
	Deps         []string
}

func list(t *testing.T) []listed {
	t.Helper()
	cmd := exec.Command("go", "list", "-json=ImportPath,Imports,TestImports,XTestImports,Deps", "./...")
	cmd.Dir = ".."
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("go list ./...: %v", err)
	}
	var all []listed
	for dec := json.NewDecoder(strings.NewReader(string(out))); dec.More(); {
		var p listed
		if err := dec.Decode(&p); err != nil {
			t.Fatal(err)
		}
		all = append(all, p)
	}
	if len(all) < len(mayImport) {
		t.Fatalf("go list found %d packages; the rules name %d", len(all), len(mayImport))
	}
	return all
}

func TestWhoMayImportWhom(t *testing.T) {
	for _, p := range list(t) {
		name := strings.TrimPrefix(p.ImportPath, module)
		allowed, known := mayImport[name]
		if !known {
			t.Errorf("%s: a new package needs a line in mayImport, and a new direction of dependency to be worth it", name)
		}
		for _, imp := range p.Imports {
			ours, found := strings.CutPrefix(imp, module)
			if found && !slices.Contains(allowed, ours) {
				t.Errorf("%s must not import %s", name, ours)
			}
			if found && path.Base(ours) == "rig" && name != "controller/internal/rig" {
				t.Errorf("%s: rig is for tests only", name)
			}
		}
		if slices.Contains(pure, name) {
			for _, dep := range p.Deps {
				if slices.Contains(unreachable, dep) {
					t.Errorf("%s is pure, yet it reaches %s", name, dep)
				}
			}
		}
	}
}

// TestPureCode holds what imports cannot show: no clock, no chance, no goroutine, no order of a map.
func TestPureCode(t *testing.T) {
	patterns := make([]string, len(pure))
	for i, p := range pure {
		patterns[i] = module + p
	}
	mode := packages.NeedName | packages.NeedFiles | packages.NeedSyntax | packages.NeedTypes | packages.NeedTypesInfo | packages.NeedImports | packages.NeedDeps
	pkgs, err := packages.Load(&packages.Config{Mode: mode, Dir: ".."}, patterns...)
	if err != nil {
		t.Fatal(err)
	}
	if len(pkgs) != len(pure) {
		t.Fatalf("loaded %d packages, want %d", len(pkgs), len(pure))
	}
	for _, p := range pkgs {
		if len(p.Errors) > 0 {
			t.Fatalf("%s: %v", p.PkgPath, p.Errors[0])
		}
		for _, f := range p.Syntax {
			checkPure(t, p, f)
		}
	}
}

func checkPure(t *testing.T, p *packages.Package, f *ast.File) {
	at := func(n ast.Node) string {
		pos := p.Fset.Position(n.Pos())
		return strings.TrimPrefix(p.PkgPath, module) + "/" + filepath.Base(pos.Filename) + ":" + strconv.Itoa(pos.Line)
	}
	sorted := map[int]bool{}
	for _, group := range f.Comments {
		if strings.Contains(group.Text(), "sorted below") {
			sorted[p.Fset.Position(group.Pos()).Line] = true
		}
	}
	ast.Inspect(f, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.GoStmt:
			t.Errorf("%s: a goroutine in a pure package", at(n))
		case *ast.RangeStmt:
			typ := p.TypesInfo.TypeOf(n.X)
			if _, isMap := typ.Underlying().(*types.Map); isMap && !sorted[p.Fset.Position(n.Pos()).Line] {
				t.Errorf("%s: range over a map: its order is chance", at(n))
			}
		case *ast.SelectorExpr:
			fn, isFunc := p.TypesInfo.Uses[n.Sel].(*types.Func)
			if !isFunc || fn.Pkg() == nil {
				return true
			}
			global := fn.Signature().Recv() == nil
			switch pkg, name := fn.Pkg().Path(), fn.Name(); {
			case pkg == "time" && slices.Contains([]string{"Now", "Since", "Until", "Sleep", "After", "AfterFunc", "NewTimer", "NewTicker", "Tick"}, name) && global:
				t.Errorf("%s: time.%s: time arrives inside events", at(n), name)
			case (pkg == "math/rand" || pkg == "math/rand/v2") && global && !strings.HasPrefix(name, "New"):
				t.Errorf("%s: rand.%s: chance arrives inside events", at(n), name)
			case pkg == "crypto/rand":
				t.Errorf("%s: crypto/rand.%s: chance arrives inside events", at(n), name)
			}
		}
		return true
	})
}

// TestFileSizes keeps files readable: over 800 lines they are split, or say at the top why not.
func TestFileSizes(t *testing.T) {
	files, err := filepath.Glob("../*/*.go")
	if err != nil {
		t.Fatal(err)
	}
	for _, pattern := range []string{"internal/*/*.go", "cmd/*/*.go"} {
		more, err := filepath.Glob(pattern)
		if err != nil {
			t.Fatal(err)
		}
		files = append(files, more...)
	}
	if len(files) < 50 {
		t.Fatalf("found %d files only: the patterns are wrong", len(files))
	}
	for _, name := range files {
		fset := token.NewFileSet()
		f, err := parser.ParseFile(fset, name, nil, parser.SkipObjectResolution)
		if err != nil {
			t.Fatal(err)
		}
		if lines := fset.Position(f.FileEnd).Line; lines > 800 && !strings.HasPrefix(filepath.Base(name), "zz_") {
			t.Errorf("%s has %d lines", name, lines)
		}
	}
}
