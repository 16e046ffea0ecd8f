package api

import (
	"bytes"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/txtar"
)

var update = flag.Bool("update", false, "rewrite the expected findings; read the difference before you keep it")

// catalogParams stand for the parameters of real types.
type (
	httpParams struct {
		URL     Secret            `json:"url" rule:"required" doc:"Where to ask."`
		Method  string            `json:"method,omitempty" rule:"oneof=GET|HEAD|POST" default:"GET" doc:"The method."`
		Headers map[string]string `json:"headers,omitempty" doc:"More headers."`
		Status  []int             `json:"status,omitempty" default:"200" doc:"Answers that are good."`
		Expect  []assertion       `json:"expect,omitempty" doc:"What the body must say."`
	}
	assertion struct {
		Path   string   `json:"path" rule:"required" doc:"Path into the JSON body."`
		Equals any      `json:"equals,omitempty" doc:"The value."`
		Above  *float64 `json:"above,omitempty" doc:"The value is above this."`
	}
	failoverParams struct {
		Integration string `json:"integration" rule:"required,name" doc:"What is switched."`
		To          string `json:"to" rule:"required,name" doc:"The endpoint that takes over."`
		Ramp        []int  `json:"ramp,omitempty" rule:"max=10" doc:"Percentages of new work, in order."`
	}
	replayParams struct {
		From   string `json:"from" rule:"required" doc:"Queue of dead letters."`
		To     string `json:"to" rule:"required" doc:"Queue that gets them again."`
		Canary []int  `json:"canary,omitempty" doc:"Sizes of the first batches."`
		Rate   Rate   `json:"rate,omitempty" default:"20/s" doc:"Most messages in a time."`
	}
)

// Check holds the ramp against itself.
func (p *failoverParams) Check(report func(field, rule, message, hint string)) {
	for i, percent := range p.Ramp {
		if i > 0 && percent <= p.Ramp[i-1] {
			report("ramp", "bad-ramp", "a ramp goes up", "write [10, 50, 100]")
			return
		}
	}
}

func testCatalog() Catalog {
	return Catalog{
		Probes: []TypeInfo{
			{Name: "http", Summary: "Asks an HTTP server.", Params: func() any { return new(httpParams) }},
			{Name: "amqp-queue", Summary: "Watches a queue."},
			{Name: "reconcile", Summary: "Compares two probes."},
		},
		Actions: []ActionInfo{
			{Name: "failover", Version: "1", Effect: EffectRoute, Danger: D1, Repeat: Idempotent, Undo: true},
			{Name: "replay", Version: "1", Effect: EffectRedeliver, Danger: D3, Repeat: Keyed, Counts: true},
			{Name: "release-payments", Version: "1", Effect: EffectRelease, Danger: D4, Repeat: Blind, Counts: true},
			{Name: "purge", Version: "1", Effect: EffectRepair, Danger: D5, Repeat: Blind},
			{Name: "notify", Version: "1", Effect: EffectNotify, Danger: D0, Repeat: Blind},
			{Name: "wait", Version: "1", Effect: EffectObserve, Danger: D0, Repeat: Idempotent},
		},
		Routes:   []TypeInfo{{Name: "haproxy"}, {Name: "http"}},
		Channels: []TypeInfo{{Name: "slack"}, {Name: "webhook"}},
		Figures:  testFigures,
		ActionParams: func(action string) any {
			switch action {
			case "failover":
				return new(failoverParams)
			case "replay":
				return new(replayParams)
			}
			return nil
		},
	}
}

// checkAll decodes and validates, and decodes the parameters that the catalog knows: what backstay check does.
func checkAll(files []string, read func(string) ([]byte, error)) (Set, Findings) {
	cat := testCatalog()
	set, findings := DecodeFiles(files, read)
	findings = append(findings, set.Validate(cat)...)
	for _, p := range set.Probes {
		for _, t := range cat.Probes {
			if t.Name == p.Spec.Type && t.Params != nil {
				findings = append(findings, p.Spec.With.Decode(t.Params())...)
			}
		}
	}
	for _, p := range set.Playbooks {
		for _, s := range p.Spec.Steps {
			if into := cat.ActionParams(s.Do); into != nil {
				findings = append(findings, s.With.Decode(into)...)
			}
		}
	}
	findings.Sort()
	return set, findings
}

// TestFindings checks the files of every archive in testdata/check against the findings at their end. Regenerate them with
// go test -run TestFindings -update ./api, and keep only what you understand.
func TestFindings(t *testing.T) {
	archives, err := filepath.Glob("testdata/check/*.txtar")
	if err != nil || len(archives) == 0 {
		t.Fatalf("find archives: %v, %d", err, len(archives))
	}
	for _, name := range archives {
		t.Run(strings.TrimSuffix(filepath.Base(name), ".txtar"), func(t *testing.T) {
			archive, err := txtar.ParseFile(name)
			if err != nil {
				t.Fatal(err)
			}
			var files []string
			contents := map[string][]byte{}
			want := []byte(nil)
			for _, f := range archive.Files {
				if f.Name == "findings" {
					want = f.Data
					continue
				}
				files = append(files, f.Name)
				contents[f.Name] = f.Data
			}
			_, findings := checkAll(files, func(f string) ([]byte, error) { return contents[f], nil })
			got := []byte(findings.Error())
			if len(got) > 0 {
				got = append(got, '\n')
			}
			if *update {
				archive.Files = append(archive.Files[:len(files)], txtar.File{Name: "findings", Data: got})
				if err := os.WriteFile(name, txtar.Format(archive), 0o644); err != nil {
					t.Fatal(err)
				}
				return
			}
			if !bytes.Equal(got, want) {
				t.Errorf("findings differ\n--- got\n%s--- want\n%s", got, want)
			}
		})
	}
}
