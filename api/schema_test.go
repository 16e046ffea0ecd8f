package api

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/txtar"
	"github.com/santhosh-tekuri/jsonschema/v6"
)

func compileSchema(t *testing.T, schema []byte) *jsonschema.Schema {
	t.Helper()
	doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(schema))
	if err != nil {
		t.Fatal(err)
	}
	c := jsonschema.NewCompiler()
	c.DefaultDraft(jsonschema.Draft2020)
	if err := c.AddResource(SchemaID, doc); err != nil {
		t.Fatal(err)
	}
	compiled, err := c.Compile(SchemaID)
	if err != nil {
		t.Fatal(err)
	}
	return compiled
}

// yamlDocuments gives the documents of YAML as JSON values.
func yamlDocuments(t *testing.T, text string) []any {
	t.Helper()
	var docs []any
	r := &reader{file: "x"}
	r.documents([]byte(text), func(n *node, _ source) {
		doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(Params{node: n}.canonical()))
		if err != nil {
			t.Fatal(err)
		}
		docs = append(docs, doc)
	})
	if len(r.findings) > 0 {
		t.Fatal(r.findings)
	}
	return docs
}

func TestSchemaAcceptsWhatDecodeAccepts(t *testing.T) {
	schema := compileSchema(t, Schema(testCatalog()))
	archive, err := txtar.ParseFile("testdata/check/clean.txtar")
	if err != nil {
		t.Fatal(err)
	}
	count := 0
	for _, f := range archive.Files {
		if f.Name == "findings" {
			continue
		}
		for _, doc := range yamlDocuments(t, string(f.Data)) {
			count++
			if err := schema.Validate(doc); err != nil {
				t.Errorf("%s: %v", f.Name, err)
			}
		}
	}
	if count < 8 {
		t.Errorf("only %d documents were held against the schema", count)
	}
}

func TestSchemaRefusesWhatDecodeRefuses(t *testing.T) {
	schema := compileSchema(t, Schema(testCatalog()))
	const probe = "apiVersion: backstay.dev/v1alpha1\nkind: Probe\nmetadata: {name: p}\nspec: "
	const playbook = "apiVersion: backstay.dev/v1alpha1\nkind: Playbook\nmetadata: {name: p}\nspec: "
	for why, text := range map[string]string{
		"a known-good probe":           "+" + probe + `{type: http, with: {url: "http://x"}}`,
		"a type without params":        "+" + probe + `{type: amqp-queue, with: {anything: 1}}`,
		"an unknown kind":              "apiVersion: backstay.dev/v1alpha1\nkind: Prob\nmetadata: {name: p}\nspec: {}",
		"another version":              "apiVersion: backstay.dev/v1\nkind: Calendar\nmetadata: {name: p}\nspec: {}",
		"no spec":                      "apiVersion: backstay.dev/v1alpha1\nkind: Calendar\nmetadata: {name: p}",
		"a bad name":                   "apiVersion: backstay.dev/v1alpha1\nkind: Calendar\nmetadata: {name: P}\nspec: {}",
		"an unknown key":               probe + `{type: amqp-queue, evry: 5s}`,
		"an unknown probe type":        probe + `{type: htp}`,
		"params of a type are missing": probe + `{type: http}`,
		"an unknown param":             probe + `{type: http, with: {url: x, methd: GET}}`,
		"a param that is not one of":   probe + `{type: http, with: {url: x, method: PUT}}`,
		"a number for a duration":      probe + `{type: amqp-queue, every: 5}`,
		"a number out of range":        probe + `{type: amqp-queue, detect: [{name: a, failures: {atLeast: 0}}]}`,
		"an unknown action":            playbook + `{on: {anomaly: a/b}, steps: [{name: a, do: failovr}]}`,
		"params of an action":          playbook + `{on: {anomaly: a/b}, steps: [{name: a, do: failover, with: {integration: x}}]}`,
		"no steps":                     playbook + `{on: {anomaly: a/b}, steps: []}`,
		"a share without percent sign": playbook + `{on: {anomaly: a/b}, limits: {share: "20"}, steps: [{name: a, do: notify}]}`,
		"money in major units":         playbook + `{on: {anomaly: a/b}, limits: {amount: {EUR: 5.5}}, steps: [{name: a, do: notify}]}`,
		"an unknown driver":            "apiVersion: backstay.dev/v1alpha1\nkind: Integration\nmetadata: {name: p}\nspec: {route: {driver: slack}}",
		"env and file together":        "apiVersion: backstay.dev/v1alpha1\nkind: Integration\nmetadata: {name: p}\nspec: {endpoints: [{name: a, url: {env: A, file: b}}]}",
	} {
		text, good := strings.CutPrefix(text, "+")
		err := schema.Validate(yamlDocuments(t, text)[0])
		if (err == nil) != good {
			t.Errorf("%s: schema says %v", why, err)
		}
		_, fs := checkAll([]string{"x"}, func(string) ([]byte, error) { return []byte(text), nil })
		if fs.Failed() == good {
			t.Errorf("%s: check says %v", why, fs)
		}
	}
}

func TestSchemaIsStable(t *testing.T) {
	a, b := Schema(testCatalog()), Schema(testCatalog())
	if !bytes.Equal(a, b) || !json.Valid(a) {
		t.Error("two schemas of one catalog differ, or are no JSON")
	}
	for _, want := range []string{`"description": "Time between two runs."`, `"default": "30s"`, `"description": "Asks an HTTP server."`} {
		if !bytes.Contains(a, []byte(want)) {
			t.Errorf("the schema lacks %s", want)
		}
	}
	if !json.Valid(ParamsSchema(new(httpParams))) || !json.Valid(Schema(Catalog{})) {
		t.Error("schemas of one struct and of an empty catalog must be JSON")
	}
}
