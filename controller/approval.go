package controller

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/crypto/ssh"

	"github.com/backstay/backstay/api"
	"github.com/backstay/backstay/controller/internal/engine"
	"github.com/backstay/backstay/controller/internal/live"
)

// court judges approvals: which mode do the signatures on a playbook allow? It is the border at which signatures end: the engine
// receives what was found as plain data. Verified signatures are remembered by digest.
type court struct {
	given    string // folder of the approvals that were given to the running controller; empty: none
	enforced bool   // an approvers file was in force: it may not vanish from under a running controller
	list     *approvers
	next     time.Time // when to judge again; zero: not because of time
	verified map[[32]byte]verified
	shelf    *shelf // reports, models and scenarios beside the configuration
}

// verified is what a signature turned out to be.
type verified struct {
	key string // of the signer
	who string // the key's fingerprint, for people
	err error
}

const verifiedMax = 4096 // signatures remembered; far above any real configuration

// judge gives every playbook of a configuration what its approvals allow, and says where that is less than what is written.
func (c *court) judge(path string, set *api.Set, cfg *live.Config) api.Findings {
	c.next, c.list, c.shelf = time.Time{}, nil, &shelf{path: path}
	file := filepath.Join(folderOf(path), approversFile)
	data, err := os.ReadFile(file)
	switch {
	case errors.Is(err, os.ErrNotExist) && !c.enforced:
		return unsigned(path, set)
	case errors.Is(err, os.ErrNotExist):
		return api.Findings{{Pos: api.Pos{File: file}, Severity: api.SeverityError, Rule: "approvers", Message: "the approvers file is gone, and the controller has enforced approvals so far",
			Hint: "put it back; to go on without approvals, restart the controller"}}
	case err != nil:
		return api.Findings{{Pos: api.Pos{File: file}, Severity: api.SeverityError, Rule: "approvers", Message: "read the approvers file: " + err.Error(), Hint: "without it nobody knows whose approval counts"}}
	}
	list, findings := parseApprovers(file, data)
	if findings.Failed() {
		return findings
	}
	c.list = list
	approvals, more := c.approvals(set)
	findings = append(findings, more...)
	h := hearing{court: c, approvers: list, now: time.Now()}
	for i := range set.Playbooks {
		p, ready := &set.Playbooks[i], &cfg.Engine.Playbooks[i]
		ready.Approval = h.allow(p, ready, approvals)
		if written := p.Spec.Mode; ready.Approval.Mode.Lesser(written) != written {
			findings = append(findings, api.Finding{Pos: set.Place(api.KindPlaybook, p.Metadata.Name, "spec.mode"), Severity: api.SeverityWarning, Rule: "not-approved",
				Message: fmt.Sprintf("Playbook %s: mode %s falls back to %s: %s", p.Metadata.Name, written, ready.Approval.Mode, ready.Approval.Why), Hint: "have it signed with backstay sign"})
		}
	}
	h.timetable(approvals)
	cfg.Engine.Digest = mark(cfg.Engine, data)
	return findings
}

// folderOf is the folder of a configuration that may be a single file.
func folderOf(path string) string {
	if info, err := os.Stat(path); err == nil && !info.IsDir() {
		return filepath.Dir(path)
	}
	return path
}

// alarm rings when it is time to judge again.
func (c *court) alarm() <-chan time.Time {
	if c.next.IsZero() {
		return nil
	}
	return time.After(max(time.Until(c.next), time.Second))
}

// mark identifies a configuration together with whose approval counts and what came of it.
func mark(c engine.Config, list []byte) string {
	facts := make([]*engine.Approval, len(c.Playbooks))
	for i := range c.Playbooks {
		facts[i] = c.Playbooks[i].Approval
	}
	b, err := json.Marshal(facts)
	if err != nil {
		panic("encode approvals: " + err.Error()) // plain data
	}
	h := sha256.New()
	for _, part := range [][]byte{[]byte(c.Digest), list, b} {
		sum := sha256.Sum256(part)
		h.Write(sum[:])
	}
	return "sha256:" + hex.EncodeToString(h.Sum(nil))
}

// unsigned says once that anybody who can write the files can have playbooks act.
func unsigned(path string, set *api.Set) api.Findings {
	for _, p := range set.Playbooks {
		if p.Spec.Mode.Rank() > api.ModeSuggest.Rank() {
			return api.Findings{{Pos: api.Pos{File: path}, Severity: api.SeverityNote, Rule: "approvals-not-enforced",
				Message: "there is no approvers file, so playbooks act by what their files say, without anybody's signature", Hint: "backstay sign --help"}}
		}
	}
	return nil
}

// approvals are those of the configuration and those that were given to the controller. One of the latter that cannot be read counts for
// nothing, and that is all: it was checked when it was given.
func (c *court) approvals(set *api.Set) ([]api.Approval, api.Findings) {
	all := slices.Clone(set.Approvals)
	var findings api.Findings
	for _, a := range all {
		if !slices.ContainsFunc(set.Playbooks, func(p api.Playbook) bool { return p.Metadata.Name == a.Spec.Playbook }) {
			findings = append(findings, api.Finding{Pos: set.Place(api.KindApproval, a.Metadata.Name, "spec.playbook"), Severity: api.SeverityWarning, Rule: "approves-nothing",
				Message: fmt.Sprintf("Approval %s: there is no playbook %q", a.Metadata.Name, a.Spec.Playbook), Hint: "remove it, or mend the name"})
		}
	}
	if c.given == "" {
		return all, findings
	}
	files, err := filepath.Glob(filepath.Join(c.given, "*.yaml"))
	if err != nil {
		return all, findings // the pattern is fine, and other errors Glob ignores
	}
	for _, file := range files {
		more, wrong := api.DecodeFiles([]string{file}, os.ReadFile)
		all = append(all, more.Approvals...)
		for _, f := range wrong {
			f.Severity = api.SeverityWarning
			findings = append(findings, f)
		}
	}
	return all, findings
}

// hearing is one judgement of one configuration at one time.
type hearing struct {
	*court
	*approvers
	now time.Time
}

// allow is what the approvals allow a playbook.
func (h *hearing) allow(p *api.Playbook, ready *engine.Playbook, all []api.Approval) *engine.Approval {
	best := &engine.Approval{Mode: api.ModeSuggest}
	var reasons []string
	for i := range all {
		if all[i].Spec.Playbook != p.Metadata.Name {
			continue
		}
		got, err := h.weigh(p, ready, &all[i].Spec)
		switch {
		case err != nil && !slices.Contains(reasons, err.Error()):
			reasons = append(reasons, err.Error())
		case err == nil && (got.Mode.Rank() > best.Mode.Rank() || got.Mode == best.Mode && got.Expires.After(best.Expires)):
			best = got
		}
	}
	switch {
	case best.Mode.Lesser(p.Spec.Mode) == p.Spec.Mode:
	case best.Mode != api.ModeSuggest:
		best.Why = fmt.Sprintf("it is approved for mode %s only", best.Mode)
	case len(reasons) == 0:
		best.Why = "nobody has approved it"
	default:
		best.Why = strings.Join(reasons, "; ")
	}
	return best
}

// weigh is what one approval allows; the error says why it allows nothing.
func (h *hearing) weigh(p *api.Playbook, ready *engine.Playbook, a *api.ApprovalSpec) (*engine.Approval, error) {
	switch {
	case a.Digest != ready.Digest:
		return nil, fmt.Errorf("it, or what it rests on, was changed after it was approved (approved %s, now %s)", short(a.Digest), short(ready.Digest))
	case !samePerson(a.Author, p.Author()):
		return nil, fmt.Errorf("its author is %q and its approval names %q", p.Author(), a.Author)
	case a.Scope != "" && a.Scope != h.scope:
		return nil, fmt.Errorf("its approval holds in scope %s, and this is %s", a.Scope, cmp.Or(h.scope, "no scope (the approvers file names none)"))
	case !h.now.Before(a.Until()):
		return nil, fmt.Errorf("its approval expired at %s", a.Until().Format("15:04 on 2 January 2006"))
	case worst(ready) >= api.D5:
		return nil, errors.New("it has a step of class D5, which no approval allows")
	}
	if a.Report != "" {
		if err := h.shelf.proof(a.Report, ready); err != nil {
			return nil, err
		}
	}
	var yes []signer
	var no []string
	for _, armored := range a.Signatures {
		s, err := h.witness(a.Message(), armored, p.Author())
		switch {
		case err != nil:
			no = append(no, err.Error())
		default:
			yes = append(yes, s)
		}
	}
	if missing := h.missing(ready, yes); missing != "" {
		if len(no) > 0 {
			missing += " (" + strings.Join(no, "; ") + ")"
		}
		return nil, errors.New(missing)
	}
	got := &engine.Approval{Mode: a.Mode, Expires: h.until(ready, yes, a.Until())}
	for _, s := range yes {
		if !slices.ContainsFunc(got.By, func(name string) bool { return samePerson(name, s.person) }) {
			got.By = append(got.By, s.person)
		}
	}
	return got, nil
}

// worst is the highest danger class among the steps.
func worst(p *engine.Playbook) api.Danger {
	d := api.D0
	for _, s := range p.Steps {
		d = max(d, s.Action.Danger)
	}
	return d
}

// witness finds whose signature it is; the error says why it does not count.
func (h *hearing) witness(message []byte, armored, author string) (signer, error) {
	v := h.verify(message, armored)
	if v.err != nil {
		return signer{}, fmt.Errorf("a signature does not count: %w", v.err)
	}
	err := fmt.Errorf("the key %s is not in the approvers file", v.who)
	for _, s := range h.signers {
		switch {
		case s.key != v.key:
		case !s.here:
			err = fmt.Errorf("the key of %s is not for the namespace %s", s.person, api.ApprovalNamespace)
		case !s.after.IsZero() && h.now.Before(s.after):
			err = fmt.Errorf("the key of %s is not valid before %s", s.person, s.after.Format(time.RFC3339))
		case !s.before.IsZero() && h.now.After(s.before):
			err = fmt.Errorf("the key of %s was valid until %s", s.person, s.before.Format(time.RFC3339))
		case author != "" && samePerson(s.person, author):
			err = fmt.Errorf("%s wrote the playbook and cannot approve it", s.person)
		default:
			return s, nil
		}
	}
	return signer{}, err
}

// verify checks one signature over one message, once.
func (c *court) verify(message []byte, armored string) verified {
	h := sha256.New()
	for _, part := range []string{string(message), armored} {
		sum := sha256.Sum256([]byte(part))
		h.Write(sum[:])
	}
	id := [32]byte(h.Sum(nil))
	if v, known := c.verified[id]; known {
		return v
	}
	var v verified
	s, err := parseSignature(armored)
	if err == nil {
		v.key, v.who = string(s.key.Marshal()), ssh.FingerprintSHA256(s.key)
		err = s.verify(api.ApprovalNamespace, message)
	}
	v.err = err
	if len(c.verified) >= verifiedMax || c.verified == nil {
		c.verified = map[[32]byte]verified{}
	}
	c.verified[id] = v
	return v
}

// missing says which demand the signers do not meet, the greatest one where there are several; empty where all are met.
func (h *hearing) missing(p *engine.Playbook, yes []signer) string {
	rules := []approvalRule{{people: 1}}
	if worst(p) >= api.D4 {
		rules[0].people = 2
	}
	text, most := "", 0
	for _, r := range append(rules, h.rules...) {
		if len(r.playbooks) > 0 && !matchList(r.playbooks, p.Name) {
			continue
		}
		var people []string
		for _, s := range yes {
			fits := len(r.roles) == 0 || slices.ContainsFunc(r.roles, func(role string) bool { return slices.Contains(s.roles, role) })
			if fits && !slices.ContainsFunc(people, func(name string) bool { return samePerson(name, s.person) }) {
				people = append(people, s.person)
			}
		}
		if len(people) < r.people && r.people > most {
			of := ""
			if len(r.roles) > 0 {
				of = " of " + strings.Join(r.roles, " or ")
			}
			text, most = fmt.Sprintf("%d of %d people%s that it needs have approved it", len(people), r.people, of), r.people
		}
	}
	return text
}

// until is how long the signers still meet the demands: keys end too.
func (h *hearing) until(p *engine.Playbook, yes []signer, end time.Time) time.Time {
	ends := slices.DeleteFunc(slices.Clone(yes), func(s signer) bool { return s.before.IsZero() || !s.before.Before(end) })
	slices.SortFunc(ends, func(a, b signer) int { return a.before.Compare(b.before) })
	for _, e := range ends {
		left := slices.DeleteFunc(slices.Clone(yes), func(s signer) bool { return !s.before.IsZero() && !s.before.After(e.before) })
		if h.missing(p, left) != "" {
			return e.before
		}
	}
	return end
}

// timetable notes when to judge again, though no file changes: when an approval ends, or a key begins or ends.
func (h *hearing) timetable(all []api.Approval) {
	note := func(t time.Time) {
		if t.After(h.now) && (h.court.next.IsZero() || t.Before(h.court.next)) {
			h.court.next = t
		}
	}
	for i := range all {
		note(all[i].Spec.Until())
	}
	for _, s := range h.signers {
		note(s.after)
		note(s.before)
	}
}

// short is enough of a digest to tell it from another.
func short(digest string) string { return digest[:min(len(digest), len("sha256:")+12)] }
