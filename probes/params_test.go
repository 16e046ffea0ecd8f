package probes

import (
	"slices"
	"strings"
	"testing"

	"github.com/backstay/backstay/api"
)

// decode reads a probe's parameters as they stand in a spec.
func decode(t *testing.T, kind, with string) (Type, any, api.Findings) {
	t.Helper()
	doc := "apiVersion: " + api.Version + "\nkind: Probe\nmetadata: {name: p}\nspec:\n  type: " + kind + "\n  integration: it\n  with:\n"
	for line := range strings.Lines(with) {
		doc += "    " + line
	}
	set, findings := api.Decode("p.yaml", []byte(doc))
	if findings.Failed() || len(set.Probes) != 1 {
		t.Fatalf("%s: %v", kind, findings)
	}
	found, ok := Find(kind)
	if !ok {
		t.Fatalf("no type %q", kind)
	}
	params := found.Params()
	return found, params, set.Probes[0].Spec.With.Decode(params)
}

// TestSpecs reads a spec of every type as people write it.
func TestSpecs(t *testing.T) {
	specs := map[string]string{
		"http": `
path: /health
method: POST
headers: {Authorization: {env: TOKEN}, Accept: application/json}
body: '{"a":1}'
status: [200, 2xx, 300-302]
latencyMax: 250ms
contains: [ok]
matches: "^{"
json: ['status == "ok"', 'queue.depth < 10']
value: queue.depth
total: queue.total
follow: same-host
bodyMax: 4096
tls: {ca: /etc/ca.pem, leftMin: 14d}
`,
		"tcp":        "address: 127.0.0.1:25\nexpect: '220'\nlatencyMax: 1s\n",
		"sql":        "dsn: {env: DSN}\nquery: select count(*) from t\nread: value\nexpect: any\n'null': zero\nrowsMax: 10\n",
		"amqp-queue": "queue: captures\nvhost: /\nvalue: unacked\nconsumersMin: 1\nmetrics: http://127.0.0.1:15692\n",
		"heartbeat":  "job: payroll\nwithin: 1h\nvalue: reported\n",
		"file-drop":  "folder: /in\npattern: '*.txt'\nby: '16:45'\nfrom: '08:00'\nzone: America/New_York\ndays: [mon, fri]\nduplicates: true\nageMax: 1h\n",
		"prometheus": "query: up\nnoData: bad\ntoken: {file: /run/token}\n",
		"reconcile":  "left: a\nright: b\ncompare: keys\nlag: 1m\nfresh: 2m\nshare: 1%\n",
	}
	for _, kind := range Types {
		t.Run(kind.Name, func(t *testing.T) {
			found, params, findings := decode(t, kind.Name, specs[kind.Name])
			if len(findings) > 0 {
				t.Fatal(findings)
			}
			if _, err := found.Build("p", api.ProbeSpec{Type: kind.Name, Integration: "it"}, params, newEnv(t)); err != nil {
				t.Fatal(err)
			}
			if kind.Summary == "" {
				t.Error("no summary")
			}
		})
	}
}

func TestStatuses(t *testing.T) {
	found, params, _ := decode(t, "http", "status: [200, 2xx, 300-302]\n")
	p, err := found.Build("p", api.ProbeSpec{Integration: "it"}, params, newEnv(t))
	if err != nil {
		t.Fatal(err)
	}
	if got := p.(*httpProbe).status; !slices.Equal(got, []statusRange{{200, 200}, {200, 299}, {300, 302}}) {
		t.Errorf("statuses %v", got)
	}
}

func TestSpecFindings(t *testing.T) {
	for _, c := range []struct{ kind, with, finding string }{
		{"http", "json: ['a ==']\n", "p.yaml:8:12: error: with.json[0]: == needs a value"},
		{"http", "json: [ok, 'a ! 1']\n", "no operator"},
		{"http", "value: 'a..b'\n", "with.value"},
		{"http", "total: a\n", "total needs value"},
		{"http", "matches: '('\n", "with.matches"},
		{"http", "status: [7]\n", "not an HTTP status"},
		{"http", "headers: {'a b': c}\n", "header name"},
		{"http", "insecure: true\n", "insecure"},
		{"http", "bodyMax: 0\n", "bodyMax"},
		{"file-drop", "folder: /in\nby: '25:00'\n", "not a time of day"},
		{"file-drop", "folder: /in\npattern: ../x\n", "not a pattern for file names"},
		{"file-drop", "pattern: '*'\n", "folder"},
		{"heartbeat", "job: x\n", "within"},
		{"sql", "query: x\nread: all\n", "read"},
		{"reconcile", "left: a\n", "right"},
	} {
		_, _, findings := decode(t, c.kind, c.with)
		if !findings.Failed() || !strings.Contains(findings.Error(), c.finding) {
			t.Errorf("%s %q: got %v, want %q", c.kind, c.with, findings, c.finding)
		}
	}
}
