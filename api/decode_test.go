package api

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/txtar"
)

// cleanSet reads the archive without findings.
func cleanSet(t testing.TB) Set {
	t.Helper()
	archive, err := txtar.ParseFile("testdata/check/clean.txtar")
	if err != nil {
		t.Fatal(err)
	}
	contents := map[string][]byte{}
	var files []string
	for _, f := range archive.Files {
		if f.Name != "findings" {
			files = append(files, f.Name)
			contents[f.Name] = f.Data
		}
	}
	set, findings := checkAll(files, func(name string) ([]byte, error) { return contents[name], nil })
	if len(findings) > 0 {
		t.Fatalf("findings: %v", findings)
	}
	return set
}

func TestDecodeFillsInEverything(t *testing.T) {
	set := cleanSet(t)
	if len(set.Integrations) != 2 || len(set.Workflows) != 1 || len(set.Probes) != 3 || len(set.Playbooks) != 2 || len(set.Calendars) != 1 {
		t.Fatalf("objects are missing: %+v", set)
	}
	p := set.Playbooks[0]
	if p.Pos != (Pos{"playbooks/failover.yaml", 1, 1}) || p.Spec.Steps[1].Pos != (Pos{"playbooks/failover.yaml", 15, 7}) {
		t.Errorf("places: %v, %v", p.Pos, p.Spec.Steps[1].Pos)
	}
	want := Limits{Runs: Rate{2, time.Hour}, Cooldown: Seconds(900), Items: 500, Amount: Money{"EUR": 50000}, Share: Percent{200_000}}
	if !reflect.DeepEqual(p.Spec.Limits, want) {
		t.Errorf("limits %+v, want %+v", p.Spec.Limits, want)
	}
	if p.Spec.Steps[0].Timeout != Seconds(30) || p.Spec.Steps[0].Retry.Wait != Seconds(1) || p.Spec.Verify.Within != Seconds(120) {
		t.Errorf("defaults are missing: %+v", p.Spec)
	}
	if other := set.Playbooks[1].Spec; other.Mode != ModeSuggest || other.Otherwise != "undo" || other.Verify.Within != Seconds(120) {
		t.Errorf("defaults of absent structs are missing: %+v", other)
	}
	if d := set.Probes[0].Spec.Detect; *d[0].Failures != (Failures{3, 3, 2}) || d[1].BurnRate.Factor != 14.4 {
		t.Errorf("defaults of detectors are missing: %+v", d)
	}
	if in := set.Integrations[0].Spec; in.Endpoints[1].URL.Env != "GATEWAY_B" || in.Route.Driver != "haproxy" {
		t.Errorf("integration %+v", in)
	}
	var http httpParams
	if fs := set.Probes[0].Spec.With.Decode(&http); len(fs) > 0 {
		t.Fatal(fs)
	}
	if http.Method != "GET" || !reflect.DeepEqual(http.Status, []int{200, 204}) || http.Expect[0].Equals != "up" || *http.Expect[1].Above != 0 || http.Headers["Accept"] != "application/json" {
		t.Errorf("params %+v", http)
	}
}

func TestReadErrorIsAFinding(t *testing.T) {
	_, fs := DecodeFiles([]string{"a.yaml", "b.yaml"}, func(name string) ([]byte, error) {
		if name == "a.yaml" {
			return nil, errors.New("permission denied")
		}
		return []byte("kind: Probe\n"), nil
	})
	if len(fs) < 2 || fs[0].Rule != "unreadable" || fs[0].File != "a.yaml" || fs[1].File != "b.yaml" {
		t.Errorf("findings %v", fs)
	}
}

func TestSameFromJSONAndByteOrderMark(t *testing.T) {
	yaml := "\xef\xbb\xbfapiVersion: backstay.dev/v1alpha1\r\nkind: Probe\r\nmetadata: {name: p}\r\nspec:\r\n  type: http\r\n  with: {url: http://x, n: 0x10, f: 1.50}\r\n"
	one, fs := Decode("a.yaml", []byte(yaml))
	if len(fs) > 0 {
		t.Fatal(fs)
	}
	encoded, err := json.Marshal(one.Probes[0])
	if err != nil {
		t.Fatal(err)
	}
	var back Probe
	if err := json.Unmarshal(encoded, &back); err != nil {
		t.Fatal(err)
	}
	again, _ := json.Marshal(back)
	if !bytes.Equal(encoded, again) || !strings.Contains(string(again), `"with":{"f":1.5,"n":16,"url":"http://x"}`) {
		t.Errorf("JSON there %s\nand back %s", encoded, again)
	}
	document := fmt.Sprintf(`{"apiVersion": %q, "kind": "Probe", %s`, Version, encoded[1:])
	two, fs := Decode("a.json", []byte(document))
	if len(fs) > 0 || len(two.Probes) != 1 || two.Probes[0].Spec.Every != one.Probes[0].Spec.Every {
		t.Errorf("JSON as a spec: %v, %+v", fs, two)
	}
}

func TestParams(t *testing.T) {
	p := ParamsOf(map[string]any{"integration": "gw", "to": "standby", "ramp": []int{10, 50}})
	var into failoverParams
	if fs := p.Decode(&into); len(fs) > 0 || into.To != "standby" || !reflect.DeepEqual(into.Ramp, []int{10, 50}) {
		t.Errorf("%v, %+v", fs, into)
	}
	if fs := ParamsOf(map[string]any{"integration": "gw", "to": "x", "ramp": []int{50, 10}}).Decode(&into); len(fs) != 1 || fs[0].Rule != "bad-ramp" {
		t.Errorf("the type's own rule: %v", fs)
	}
	if fs := (Params{}).Decode(new(failoverParams)); len(fs) != 2 || fs[0].Rule != "missing-key" {
		t.Errorf("no params: %v", fs)
	}
	var none Params
	if err := json.Unmarshal([]byte("null"), &none); err != nil || !none.IsZero() {
		t.Errorf("null: %v", err)
	}
	if json.Unmarshal([]byte("[1]"), &none) == nil {
		t.Error("a list was taken for parameters")
	}
	set, _ := Decode("p.yaml", []byte("apiVersion: backstay.dev/v1alpha1\nkind: Probe\nmetadata: {name: p}\nspec:\n  type: http\n  with:\n    url: x\n    status: [200,\n      oops]\n"))
	if fs := set.Probes[0].Spec.With.Decode(new(httpParams)); len(fs) != 1 || fs[0].Pos != (Pos{"p.yaml", 9, 7}) {
		t.Errorf("places within params: %v", fs)
	}
	if got := set.Probes[0].Spec.With.PosOf("status[0]"); got != (Pos{"p.yaml", 8, 14}) {
		t.Errorf("PosOf: %v", got)
	}
	secret := ParamsOf(map[string]string{"url": "amqp://guest:hunter2@host"})
	if encoded, _ := json.Marshal(secret); strings.Contains(string(encoded), "hunter2") {
		t.Errorf("the password is in %s", encoded)
	}
}

// TestDigest holds the digest apart from everything that does not change what a playbook does, and close to everything that does.
func TestDigest(t *testing.T) {
	plans := []StepPlan{{Name: "switch", Action: ActionInfo{Name: "failover", Version: "1", Danger: D1}}}
	digest := func(text string) string {
		t.Helper()
		set, fs := Decode("x.yaml", []byte(text))
		if fs.Failed() {
			t.Fatal(fs)
		}
		return PlaybookDigest(set.Playbooks[0], plans)
	}
	base := digest("apiVersion: backstay.dev/v1alpha1\nkind: Playbook\nmetadata: {name: x}\nspec:\n  on: {anomaly: a/b}\n  steps:\n    - {name: switch, do: failover, with: {to: standby, ramp: [10, 100]}}\n")
	if !strings.HasPrefix(base, "sha256:") || len(base) != 71 {
		t.Errorf("the digest's form: %s", base)
	}
	for why, text := range map[string]string{
		"layout, comments, order, defaults, labels and summary": "# hello\nspec:\n  summary: words\n  mode: suggest\n  otherwise: undo\n  verify: {within: 120s}\n  notify: []\n  steps:\n    - do: failover\n      with:\n        ramp:\n          - 0xa\n          - 100\n        \"to\": 'standby'\n      name: switch\n      timeout: 30000ms\n  \"on\": {anomaly: a/b}\nmetadata:\n  labels: {a: b}\n  name: x\nkind: Playbook\napiVersion: backstay.dev/v1alpha1\n",
	} {
		if got := digest(text); got != base {
			t.Errorf("%s changed the digest", why)
		}
	}
	set, _ := Decode("x.yaml", []byte("apiVersion: backstay.dev/v1alpha1\nkind: Playbook\nmetadata: {name: x}\nspec:\n  on: {anomaly: a/b}\n  steps:\n    - {name: switch, do: failover, with: {to: standby, ramp: [10, 100]}}\n"))
	for why, change := range map[string]func(*Playbook, []StepPlan){
		"name":    func(p *Playbook, _ []StepPlan) { p.Metadata.Name = "y" },
		"mode":    func(p *Playbook, _ []StepPlan) { p.Spec.Mode = ModeAuto },
		"param":   func(p *Playbook, _ []StepPlan) { p.Spec.Steps[0].With = ParamsOf(map[string]any{"to": "primary"}) },
		"secret":  func(p *Playbook, _ []StepPlan) { p.Spec.Steps[0].With = ParamsOf(map[string]any{"to": "a://b:c@d"}) },
		"secret2": func(p *Playbook, _ []StepPlan) { p.Spec.Steps[0].With = ParamsOf(map[string]any{"to": "a://b:e@d"}) },
		"limit":   func(p *Playbook, _ []StepPlan) { p.Spec.Limits.Items = 1 },
		"version": func(_ *Playbook, plans []StepPlan) { plans[0].Action.Version = "2" },
		"target":  func(_ *Playbook, plans []StepPlan) { plans[0].Targets = []string{"queue/x"} },
	} {
		p, changed := set.Playbooks[0], append([]StepPlan{}, plans...)
		p.Spec.Steps = append([]Step{}, p.Spec.Steps...)
		change(&p, changed)
		if got := PlaybookDigest(p, changed); got == base {
			t.Errorf("a change of %s left the digest as it was", why)
		}
	}
	if got := PlaybookDigest(set.Playbooks[0], plans); got != base {
		t.Error("computing digests changed the playbook")
	}
}

// TestHostileFiles holds the cost of hostile files: each is refused or read within two seconds.
func TestHostileFiles(t *testing.T) {
	const head = "apiVersion: backstay.dev/v1alpha1\nkind: Probe\nmetadata: {name: p}\nspec:\n  type: http\n"
	bomb := "a: &a [x,x,x,x,x,x,x,x,x]\n"
	for c := 'b'; c <= 'z'; c++ {
		bomb += fmt.Sprintf("%c: &%c [%s]\n", c, c, strings.TrimSuffix(strings.Repeat("*"+string(c-1)+",", 9), ","))
	}
	full := func(unit string) string { return strings.Repeat(unit, (fileMax-1)/len(unit)) }
	for _, c := range []struct{ name, text, rule string }{
		{"over 10 MB", full("# comment\n") + "12345678901234567890\n", "too-large"},
		{"10 MB document", head + "  summary: " + strings.Repeat("x", fileMax-1000), "too-large"},
		{"many documents", full("---\n"), "too-large"},
		{"many small objects", strings.Repeat("---\nkind: X\n", 90_000), "too-many"},
		{"alias bomb", bomb, "alias"},
		{"merge bomb", head + "  <<: {a: 1}\n", "alias"},
		{"brackets", full("["), "too-large"},
		{"deep flow", strings.Repeat("[", 100_000), "too-deep"},
		{"deep block", strings.Repeat("- ", 100_000), "too-deep"},
		{"deep mapping", strings.Repeat("? ", 100_000), "too-deep"},
		{"unclosed brackets, many times", strings.Repeat("---\n["+strings.Repeat("[a]:", 250_000)+"\n", 9), "too-large"},
		{"lone tags", strings.Repeat("!a ", 340_000), "syntax"},
		{"bad documents, many times", strings.Repeat("---\n"+strings.Repeat("'' ", 150_000)+"\n", 9), "too-many"},
		{"duplicate keys", strings.Repeat("a: 1\n", 200_000), "too-many"},
		{"not UTF-8", head + "  summary: caf\xe9\n", "encoding"},
		{"UTF-16", "\xff\xfea\x00:\x00", "encoding"},
		{"NUL", head + "  summary: \"a\x00b\"\n", "syntax"},
		{"directive", "%YAML 1.2\n---\n" + head, "syntax"},
	} {
		var fs Findings
		took := time.Hour
		for range 3 { // the best of three: other work on the machine is no cost of ours
			start := time.Now()
			_, fs = Decode("f.yaml", []byte(c.text))
			if took = min(took, time.Since(start)); took < time.Second {
				break
			}
		}
		found := false
		for _, f := range fs {
			found = found || f.Rule == c.rule
			if f.Line < 1 || f.Col < 1 || f.Hint == "" {
				t.Errorf("%s: a finding without place or hint: %s", c.name, f)
			}
		}
		if !found {
			t.Errorf("%s: no finding %s among %d: %.300s", c.name, c.rule, len(fs), fs)
		}
		if took > 2*time.Second*slowdown {
			t.Errorf("%s took %s", c.name, took)
		}
	}
	if _, fs := Decode("f.yaml", []byte("# nothing\n---\n---\n\n--- # still nothing\n")); len(fs) > 0 {
		t.Errorf("empty documents: %v", fs)
	}
}

// TestManyFindingsEnd holds that a large wrong configuration ends in a bounded list, soon.
func TestManyFindingsEnd(t *testing.T) {
	var b strings.Builder
	for i := range 20_000 {
		fmt.Fprintf(&b, "---\napiVersion: backstay.dev/v1alpha1\nkind: Probe\nmetadata: {name: p%d}\nspec: {type: htpt, integration: nowhere}\n", i)
	}
	start := time.Now()
	set, fs := Decode("f.yaml", []byte(b.String()))
	if len(fs) > 0 || len(set.Probes) != 20_000 {
		t.Fatalf("%d probes, %.200s", len(set.Probes), fs)
	}
	fs = set.Validate(testCatalog())
	if len(fs) != findingsMax+1 || fs[findingsMax].Rule != "too-many" || time.Since(start) > 5*time.Second*slowdown {
		t.Errorf("%d findings in %s", len(fs), time.Since(start))
	}
}

func FuzzDecode(f *testing.F) {
	archives, _ := filepath.Glob("testdata/check/*.txtar")
	for _, name := range archives {
		data, err := os.ReadFile(name)
		if err != nil {
			f.Fatal(err)
		}
		for _, file := range txtar.Parse(data).Files {
			f.Add(file.Data)
			for doc := range bytes.SplitSeq(file.Data, []byte("---\n")) {
				f.Add(doc)
			}
		}
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		set, findings := checkAll([]string{"f.yaml"}, func(string) ([]byte, error) { return data, nil })
		lines := lineBreaks(data) + 1
		for _, finding := range findings {
			if finding.File != "f.yaml" || finding.Line < 1 || finding.Col < 1 || finding.Rule == "" || finding.Message == "" {
				t.Fatalf("no place, rule or message: %+v", finding)
			}
			if finding.Line > lines {
				t.Fatalf("line %d of %d: %s", finding.Line, lines, finding)
			}
		}
		if _, err := json.Marshal(set); err != nil {
			t.Fatalf("encode what was decoded: %v", err)
		}
		for _, p := range set.Playbooks {
			encoded, _ := json.Marshal(p.Spec)
			var back PlaybookSpec
			if err := json.Unmarshal(encoded, &back); err != nil {
				t.Fatalf("read back %s: %v", encoded, err)
			}
			if again, _ := json.Marshal(back); !bytes.Equal(encoded, again) {
				t.Fatalf("there %s\nand back %s", encoded, again)
			}
			if first, second := PlaybookDigest(p, nil), PlaybookDigest(p, nil); first != second {
				t.Fatal("two digests of one playbook")
			}
		}
	})
}
