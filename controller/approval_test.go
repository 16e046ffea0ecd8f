package controller

import (
	"crypto/rand"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"

	"github.com/backstay/backstay/api"
	"github.com/backstay/backstay/controller/internal/engine"
	"github.com/backstay/backstay/playbooks"
)

// bureau is a configuration with one playbook, the people around it and their keys.
type bureau struct {
	t         testing.TB
	dir       string
	mode      string
	danger    string
	author    string
	runs      string
	summary   string
	approvers string
	keys      map[string]ssh.Signer // by person; name/2 is a second key of the same person
	draft     api.ApprovalSpec
}

func newBureau(t testing.TB) *bureau {
	b := &bureau{t: t, dir: t.TempDir(), mode: "auto", danger: "D1", author: "bob", runs: "2 per 1h", keys: map[string]ssh.Signer{}}
	for who, kind := range map[string]string{"alice": "ed25519", "alice/2": "p256", "bob": "ed25519", "carol": "sk-ed25519", "mallory": "ed25519"} {
		b.keys[who] = newKey(t, kind)
	}
	b.approvers = b.line("alice", "", "payments") + b.line("alice/2", "", "payments") + b.line("bob", "", "payments") + b.line("carol", "", "treasury")
	return b
}

func (b *bureau) line(who, options, roles string) string {
	person, _, _ := strings.Cut(who, "/")
	return strings.Join(strings.Fields(person+" "+options+" "+keyLine(b.keys[who])+" roles="+roles), " ") + "\n"
}

func (b *bureau) write(name, text string) {
	if err := os.WriteFile(filepath.Join(b.dir, name), []byte(text), 0o644); err != nil {
		b.t.Fatal(err)
	}
}

// load reads the configuration as a controller does, and gives what the playbook is allowed.
func (b *bureau) load() (engine.Playbook, api.Findings) {
	b.t.Helper()
	b.config()
	l := newLoader(playbooks.Env{})
	cfg, _, findings, err := l.load(b.dir)
	if err != nil || findings.Failed() {
		b.t.Fatal(err, findings)
	}
	return cfg.Engine.Playbooks[0], findings
}

// config writes the configuration.
func (b *bureau) config() {
	action := map[string]string{"D1": "{name: switch, do: failover, with: {integration: gw, to: standby}}",
		"D4": "{name: pay, do: http, with: {integration: gw, path: /pay, danger: D4}}"}[b.danger]
	b.write("gw.yaml", fmt.Sprintf(`apiVersion: backstay.dev/v1alpha1
kind: Integration
metadata: {name: gw}
spec:
  endpoints: [{name: primary, url: "http://127.0.0.1:1"}, {name: standby, url: "http://127.0.0.1:2"}]
  route: {driver: file, with: {path: /tmp/route}}
---
apiVersion: backstay.dev/v1alpha1
kind: Probe
metadata: {name: up}
spec: {type: tcp, integration: gw, detect: [{name: down, failures: {}}]}
---
apiVersion: backstay.dev/v1alpha1
kind: Playbook
metadata: {name: gw-failover, labels: {author: %q}}
spec:
  summary: %q
  mode: %s
  on: {anomaly: up/down}
  limits: {runs: %s}
  steps: [%s]
  verify: {probes: [up]}
`, b.author, b.summary, b.mode, b.runs, action))
	if b.approvers != "" {
		b.write(approversFile, b.approvers)
	}
}

// approve writes an approval signed by the people; edit changes what they sign.
func (b *bureau) approve(edit func(*api.ApprovalSpec), people ...string) {
	b.t.Helper()
	p, _ := b.load()
	s := api.ApprovalSpec{Playbook: p.Name, Digest: p.Digest, Author: b.author, Mode: api.ModeAuto, Expires: time.Now().Add(48 * time.Hour).UTC().Format(time.RFC3339)}
	if edit != nil {
		edit(&s)
	}
	for _, who := range people {
		armored, err := signMessage(b.keys[who], rand.Reader, api.ApprovalNamespace, s.Message())
		if err != nil {
			b.t.Fatal(err)
		}
		s.Signatures = append(s.Signatures, armored)
	}
	b.keep(s)
}

func (b *bureau) keep(s api.ApprovalSpec) {
	b.draft = s
	d := Draft{Approval: api.Approval{Metadata: api.Metadata{Name: "gw-failover"}, Spec: s}, File: filepath.Join(b.dir, "gw-failover.approval.yaml")}
	if err := d.Write(); err != nil {
		b.t.Fatal(err)
	}
}

// change edits the approval after it was signed.
func (b *bureau) change(edit func(*api.ApprovalSpec)) {
	edit(&b.draft)
	b.keep(b.draft)
}

func TestApprovals(t *testing.T) {
	in := func(d time.Duration) string { return time.Now().Add(d).UTC().Format(`"20060102150405Z"`) }
	for name, c := range map[string]struct {
		do   func(b *bureau)
		mode api.Mode
		by   string
		why  string // a part of it
	}{
		"nobody":   {func(b *bureau) {}, api.ModeSuggest, "", "nobody has approved it"},
		"one":      {func(b *bureau) { b.approve(nil, "alice") }, api.ModeAuto, "alice", ""},
		"hardware": {func(b *bureau) { b.approve(nil, "carol") }, api.ModeAuto, "carol", ""},
		"for less": {func(b *bureau) {
			b.approve(func(s *api.ApprovalSpec) { s.Mode = api.ModeApprove }, "alice")
		}, api.ModeApprove, "alice", "for mode approve only"},
		"unsigned": {func(b *bureau) { b.approve(nil) }, api.ModeSuggest, "", "0 of 1 people"},
		"expired": {func(b *bureau) {
			b.approve(func(s *api.ApprovalSpec) { s.Expires = "2026-01-01T00:00:00Z" }, "alice")
		}, api.ModeSuggest, "", "expired at 00:00 on 1 January 2026"},
		"edited":             {func(b *bureau) { b.approve(nil, "alice"); b.runs = "3 per 1h" }, api.ModeSuggest, "", "changed after it was approved"},
		"edited in mode":     {func(b *bureau) { b.mode = "approve"; b.approve(nil, "alice"); b.mode = "auto" }, api.ModeSuggest, "", "changed after it was approved"},
		"summary only":       {func(b *bureau) { b.approve(nil, "alice"); b.summary = "Better words." }, api.ModeAuto, "alice", ""},
		"author":             {func(b *bureau) { b.approve(nil, "bob") }, api.ModeSuggest, "", "bob wrote the playbook"},
		"author in capitals": {func(b *bureau) { b.author = "BOB"; b.approve(nil, "bob") }, api.ModeSuggest, "", "wrote the playbook"},
		"author hidden":      {func(b *bureau) { b.approve(nil, "bob"); b.author = "eve" }, api.ModeSuggest, "", "its author is"},
		"a stranger":         {func(b *bureau) { b.approve(nil, "mallory") }, api.ModeSuggest, "", "not in the approvers file"},
		"removed": {func(b *bureau) {
			b.approve(nil, "alice")
			b.approvers = b.line("carol", "", "treasury")
		}, api.ModeSuggest, "", "not in the approvers file"},
		"mode raised": {func(b *bureau) {
			b.approve(func(s *api.ApprovalSpec) { s.Mode = api.ModeApprove }, "alice")
			b.change(func(s *api.ApprovalSpec) { s.Mode = api.ModeAuto })
		}, api.ModeSuggest, "", "does not fit"},
		"prolonged": {func(b *bureau) {
			b.approve(nil, "alice")
			b.change(func(s *api.ApprovalSpec) { s.Expires = "2099-01-01T00:00:00Z" })
		}, api.ModeSuggest, "", "does not fit"},
		"comment added": {func(b *bureau) { b.approve(nil, "alice"); b.change(func(s *api.ApprovalSpec) { s.Comment = "fine" }) }, api.ModeSuggest, "", "does not fit"},
		"no signature": {func(b *bureau) {
			b.approve(nil, "alice")
			b.change(func(s *api.ApprovalSpec) { s.Signatures[0] = "hello" })
		}, api.ModeSuggest, "", "not an SSH signature"},
		"other namespace": {func(b *bureau) {
			b.approve(nil)
			b.change(func(s *api.ApprovalSpec) {
				armored, err := signMessage(b.keys["alice"], rand.Reader, "git", s.Message())
				if err != nil {
					b.t.Fatal(err)
				}
				s.Signatures = []string{armored}
			})
		}, api.ModeSuggest, "", `for the namespace "git"`},
		"key for another namespace": {func(b *bureau) { b.approvers = b.line("alice", `namespaces="git"`, "x"); b.approve(nil, "alice") }, api.ModeSuggest, "", "not for the namespace"},
		"key not valid yet": {func(b *bureau) {
			b.approvers = b.line("alice", "valid-after="+in(time.Hour), "x")
			b.approve(nil, "alice")
		}, api.ModeSuggest, "", "not valid before"},
		"key not valid any more": {func(b *bureau) {
			b.approvers = b.line("alice", "valid-before="+in(-time.Hour), "x")
			b.approve(nil, "alice")
		}, api.ModeSuggest, "", "was valid until"},
		"other scope": {func(b *bureau) {
			b.approvers += "# backstay: scope production\n"
			b.approve(func(s *api.ApprovalSpec) { s.Scope = "staging" }, "alice")
		}, api.ModeSuggest, "", "scope staging, and this is production"},
		"same scope": {func(b *bureau) {
			b.approvers += "# backstay: scope production\n"
			b.approve(func(s *api.ApprovalSpec) { s.Scope = "production" }, "alice")
		}, api.ModeAuto, "alice", ""},
		"two of two":         {func(b *bureau) { b.approvers += "# backstay: require people=2\n"; b.approve(nil, "alice", "carol") }, api.ModeAuto, "alice carol", ""},
		"one of two":         {func(b *bureau) { b.approvers += "# backstay: require people=2\n"; b.approve(nil, "alice") }, api.ModeSuggest, "", "1 of 2 people"},
		"one with two keys":  {func(b *bureau) { b.approvers += "# backstay: require people=2\n"; b.approve(nil, "alice", "alice/2") }, api.ModeSuggest, "", "1 of 2 people"},
		"one twice":          {func(b *bureau) { b.approvers += "# backstay: require people=2\n"; b.approve(nil, "alice", "alice") }, api.ModeSuggest, "", "1 of 2 people"},
		"one and the author": {func(b *bureau) { b.approvers += "# backstay: require people=2\n"; b.approve(nil, "alice", "bob") }, api.ModeSuggest, "", "1 of 2 people that it needs have approved it (bob wrote"},
		"right role": {func(b *bureau) {
			b.approvers += "# backstay: require roles=treasury playbooks=gw-*\n"
			b.approve(nil, "carol")
		}, api.ModeAuto, "carol", ""},
		"wrong role": {func(b *bureau) {
			b.approvers += "# backstay: require roles=treasury playbooks=gw-*\n"
			b.approve(nil, "alice")
		}, api.ModeSuggest, "", "0 of 1 people of treasury"},
		"rule for others": {func(b *bureau) {
			b.approvers += "# backstay: require people=3 playbooks=ach-*\n"
			b.approve(nil, "alice")
		}, api.ModeAuto, "alice", ""},
		"D4, one": {func(b *bureau) { b.danger = "D4"; b.approve(nil, "alice") }, api.ModeSuggest, "", "1 of 2 people"},
		"D4, two": {func(b *bureau) { b.danger = "D4"; b.approve(nil, "alice", "carol") }, api.ModeAuto, "alice carol", ""},
	} {
		t.Run(name, func(t *testing.T) {
			b := newBureau(t)
			c.do(b)
			p, findings := b.load()
			a := p.Approval
			if a == nil || a.Mode != c.mode || strings.Join(a.By, " ") != c.by || c.why == "" && a.Why != "" || !strings.Contains(a.Why, c.why) {
				t.Fatalf("%+v, want mode %s by %q because of %q", a, c.mode, c.by, c.why)
			}
			warned := slices.ContainsFunc(findings, func(f api.Finding) bool {
				return f.Rule == "not-approved" && strings.HasSuffix(f.File, "gw.yaml") && f.Line == 18 && f.Severity == api.SeverityWarning
			})
			if want := c.mode.Lesser(p.Spec.Mode) != p.Spec.Mode; warned != want {
				t.Errorf("check warns: %t, want %t: %v", warned, want, findings)
			}
		})
	}
}

// TestUnsigned: without an approvers file all is as it was, and check says so once.
func TestUnsigned(t *testing.T) {
	b := newBureau(t)
	b.approvers = ""
	p, findings := b.load()
	if p.Approval != nil || len(findings) != 1 || findings[0].Rule != "approvals-not-enforced" || findings[0].Severity != api.SeverityNote {
		t.Fatalf("%+v %v", p.Approval, findings)
	}
	b.mode = "suggest"
	if _, findings := b.load(); len(findings) != 0 {
		t.Errorf("a playbook that only suggests needs no approval: %v", findings)
	}
}

// TestApproversGone: an approvers file may not vanish from under a running controller, or deleting it would approve everything.
func TestApproversGone(t *testing.T) {
	b := newBureau(t)
	b.load()
	l := newLoader(playbooks.Env{})
	if _, _, findings, err := l.load(b.dir); err != nil || findings.Failed() {
		t.Fatal(err, findings)
	}
	if err := os.Remove(filepath.Join(b.dir, approversFile)); err != nil {
		t.Fatal(err)
	}
	_, _, findings, err := l.load(b.dir)
	if err != nil || !findings.Failed() || !strings.Contains(findings.Error(), "is gone") {
		t.Fatal(err, findings)
	}
}

// TestApprovalEnds: it ends with the approval, or when the keys of those who are needed end, and the controller looks again then.
func TestApprovalEnds(t *testing.T) {
	b := newBureau(t)
	day := time.Now().UTC().Truncate(24 * time.Hour)
	at := func(days int) time.Time { return day.AddDate(0, 0, days) }
	until := func(days int) string { return at(days).Format(`valid-before="20060102Z"`) }
	b.approvers = b.line("alice", until(10), "x") + b.line("bob", until(20), "x") + b.line("carol", until(30), "x")
	b.author = ""
	approve := func() {
		b.approve(func(s *api.ApprovalSpec) { s.Expires = at(40).Format(time.RFC3339) }, "alice", "bob", "carol")
	}
	approve()
	if p, _ := b.load(); !p.Approval.Expires.Equal(at(30)) {
		t.Errorf("one is enough, and the last key ends on day 30: %v", p.Approval.Expires)
	}
	b.approvers += "# backstay: require people=2\n"
	approve()
	if p, _ := b.load(); !p.Approval.Expires.Equal(at(20)) {
		t.Errorf("two are needed, and from day 20 on there is one: %v", p.Approval.Expires)
	}
	l := newLoader(playbooks.Env{})
	if _, _, _, err := l.load(b.dir); err != nil || !l.court.next.Equal(at(10)) {
		t.Errorf("it looks again at %v, want day 10 (%v)", l.court.next, err)
	}
}

// TestMarkFollowsApprovals: what an approval changes is a new configuration, and what it does not change is not.
func TestMarkFollowsApprovals(t *testing.T) {
	b := newBureau(t)
	mark := func() string {
		t.Helper()
		cfg, _, findings, err := newLoader(playbooks.Env{}).load(b.dir)
		if err != nil || findings.Failed() {
			t.Fatal(err, findings)
		}
		return cfg.Engine.Digest
	}
	b.approve(nil, "alice")
	before := mark()
	if mark() != before {
		t.Error("the same files have two digests")
	}
	b.approvers = b.line("carol", "", "x")
	b.load()
	if mark() == before {
		t.Error("a removed approver changed nothing")
	}
}

// TestVerifiedOnce: a signature is verified once, and after that remembered, also as a wrong one.
func TestVerifiedOnce(t *testing.T) {
	b := newBureau(t)
	b.approve(nil, "alice")
	c := &court{}
	message := b.draft.Message()
	first := c.verify(message, b.draft.Signatures[0])
	if first.err != nil || len(c.verified) != 1 {
		t.Fatal(first.err, len(c.verified))
	}
	if again := c.verify(message, b.draft.Signatures[0]); again != first || len(c.verified) != 1 {
		t.Error("it was verified again")
	}
	if c.verify(append(message, '\n'), b.draft.Signatures[0]).err == nil || len(c.verified) != 2 {
		t.Error("another message was taken for the same")
	}
	for i := range 2 * verifiedMax {
		c.verify(message, fmt.Sprint(i))
	}
	if len(c.verified) > verifiedMax {
		t.Errorf("%d are remembered", len(c.verified))
	}
}

// BenchmarkApprovals is what a reload pays for the approvals of one playbook: its signature known, and not.
func BenchmarkApprovals(b *testing.B) {
	for _, known := range []bool{true, false} {
		name := map[bool]string{true: "known", false: "new"}[known]
		b.Run(name, func(b *testing.B) {
			hear := Approvals(b)
			for b.Loop() {
				hear(known)
			}
		})
	}
}

// Approvals gives what works out whether a playbook is approved, with its signature verified before (known) or for the first time. It
// is for the table of goals too.
func Approvals(b *testing.B) (hear func(known bool)) {
	w := newBureau(b)
	w.approve(nil, "alice")
	list, _ := parseApprovers("approvers", []byte(w.approvers))
	ready, _ := w.load()
	book := api.Playbook{Metadata: api.Metadata{Name: ready.Name, Labels: map[string]string{"author": w.author}}, Spec: ready.Spec}
	c := &court{}
	return func(known bool) {
		if !known {
			c.verified = nil
		}
		h := hearing{court: c, approvers: list, now: time.Now()}
		if got := h.allow(&book, &ready, []api.Approval{{Spec: w.draft}}); got.Mode != api.ModeAuto {
			b.Fatal(got)
		}
	}
}
