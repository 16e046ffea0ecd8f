package controller

import (
	"cmp"
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/crypto/ssh"

	"github.com/backstay/backstay/api"
	"github.com/backstay/backstay/controller/internal/engine"
	"github.com/backstay/backstay/playbooks"
)

// Digest is the digest of one playbook.
type Digest struct {
	Playbook string   `json:"playbook"`
	Digest   string   `json:"digest"`
	Mode     api.Mode `json:"mode"`
	File     string   `json:"file"`
}

// Digests gives the digests of the playbooks in the files, as a controller computes them: what a playbook does follows also from the
// integrations that it names, so the whole configuration is read. config names its folder; when empty it is looked for, see configOf.
func Digests(config string, files []string) ([]Digest, error) {
	var out []Digest
	for _, file := range files {
		c, err := openCase(cmp.Or(config, configOf(file)), file)
		if err != nil {
			return nil, err
		}
		for _, i := range c.found {
			out = append(out, Digest{c.engine.Playbooks[i].Name, c.engine.Playbooks[i].Digest, c.set.Playbooks[i].Spec.Mode, c.set.Playbooks[i].Pos.File})
		}
	}
	return out, nil
}

// configOf is the configuration that a file belongs to: the nearest folder above it with an approvers file, else its own folder.
func configOf(file string) string {
	dir := folderOf(file)
	for up := dir; ; up = filepath.Join(up, "..") {
		if _, err := os.Stat(filepath.Join(up, approversFile)); err == nil {
			return up
		}
		if abs, err := filepath.Abs(up); err != nil || abs == filepath.Dir(abs) {
			return dir
		}
	}
}

// signCase is a configuration in which some playbooks are looked at.
type signCase struct {
	set    *api.Set
	engine engine.Config
	court  *court
	found  []int // the playbooks in the file or folder
}

func openCase(config, file string) (*signCase, error) {
	wanted, err := os.Stat(file)
	if err != nil {
		return nil, &api.Error{Code: api.CodeNotFound, Message: "read the playbook", Err: err}
	}
	l := newLoader(playbooks.Env{})
	l.running = true
	cfg, set, findings, err := l.load(config)
	if err != nil {
		return nil, err
	}
	if findings.Failed() {
		wrong := slices.DeleteFunc(findings, func(f api.Finding) bool { return f.Severity != api.SeverityError })
		return nil, &api.Error{Code: api.CodeInvalid, Message: "the configuration " + config + " has errors, so nobody knows what its playbooks would do:\n" + wrong.Error(),
			Hint: "name the whole configuration with --config, and mend what backstay check finds in it"}
	}
	c := &signCase{set: set, engine: cfg.Engine, court: &l.court}
	for i := range set.Playbooks {
		if wanted.IsDir() || sameFile(set.Playbooks[i].Pos.File, wanted) {
			c.found = append(c.found, i)
		}
	}
	if len(c.found) == 0 {
		return nil, api.Errorf(api.CodeNotFound, "there is no playbook in %s that belongs to the configuration %s", file, config)
	}
	return c, nil
}

func sameFile(path string, wanted os.FileInfo) bool {
	info, err := os.Stat(path)
	return err == nil && os.SameFile(info, wanted)
}

// SignRequest says what is to be approved. What is left empty follows from the playbook, or from the approval that is begun already.
type SignRequest struct {
	File     string // of the playbook
	Config   string // folder of the whole configuration
	Playbook string // which one, where the file has several
	Mode     api.Mode
	Expires  time.Time
	Scope    string
	Report   string // the file of a simulation's report, or its digest
	Comment  string
}

// Draft is an approval that people put their signatures under. Its file lies beside the playbook's.
type Draft struct {
	Approval api.Approval
	File     string
	Begun    bool     // it was there already, and this adds to it
	Steps    []string // what the playbook does, one line a step
	Author   string
	Report   string // what the report says that people were shown; empty where they named none, or its digest

	hearing hearing
	set     *api.Set
	book    *api.Playbook
	ready   *engine.Playbook
}

// approvalDays is how long an approval holds unless told otherwise.
const approvalDays = 90

// PrepareApproval reads the playbook and its configuration, and begins an approval or goes on with one.
func PrepareApproval(r SignRequest) (*Draft, error) {
	c, err := openCase(cmp.Or(r.Config, configOf(r.File)), r.File)
	if err != nil {
		return nil, err
	}
	var which []int
	var names []string
	for _, i := range c.found {
		if name := c.set.Playbooks[i].Metadata.Name; r.Playbook == "" || r.Playbook == name {
			which, names = append(which, i), append(names, name)
		}
	}
	if len(which) != 1 {
		return nil, api.Errorf(api.CodeUsage, "%s has %d playbooks that fit (%s): name one with --playbook", r.File, len(which), strings.Join(names, ", "))
	}
	list := c.court.list
	if list == nil {
		list = &approvers{}
	}
	d := &Draft{hearing: hearing{court: c.court, approvers: list, now: time.Now()}, set: c.set, book: &c.set.Playbooks[which[0]], ready: &c.engine.Playbooks[which[0]]}
	d.File = filepath.Join(filepath.Dir(d.book.Pos.File), d.ready.Name+".approval.yaml")
	d.Author = d.book.Author()
	for i, s := range d.ready.Steps {
		d.Steps = append(d.Steps, fmt.Sprintf("%s: %s, class %s, on %s", d.book.Spec.Steps[i].Name, d.book.Spec.Steps[i].Do, s.Action.Danger, cmp.Or(strings.Join(s.Targets, ", "), "nothing")))
	}
	if err := d.fill(r); err != nil {
		return nil, err
	}
	return d, nil
}

// fill states what is approved.
func (d *Draft) fill(r SignRequest) error {
	written := d.book.Spec.Mode
	switch {
	case written.Rank() <= api.ModeSuggest.Rank():
		return api.Errorf(api.CodeUsage, "playbook %s is in mode %s, which needs no approval: write mode: approve or mode: auto first", d.ready.Name, written)
	case r.Mode.Rank() > written.Rank():
		return api.Errorf(api.CodeUsage, "playbook %s is in mode %s, so there is nothing more to approve: edit it first", d.ready.Name, written)
	case worst(d.ready) >= api.D5:
		return api.Errorf(api.CodeDenied, "playbook %s has a step of class D5, which no approval allows", d.ready.Name)
	}
	var err error
	if r.Report, d.Report, err = cite(r.Report, d.ready); err != nil {
		return err
	}
	spec := api.ApprovalSpec{Playbook: d.ready.Name, Digest: d.ready.Digest, Author: d.Author, Mode: cmp.Or(r.Mode, written), Report: r.Report, Comment: r.Comment,
		Scope: cmp.Or(r.Scope, d.hearing.scope)}
	until := r.Expires
	if until.IsZero() {
		until = d.hearing.now.AddDate(0, 0, approvalDays+1).Truncate(24 * time.Hour) // to the end of the last day
	}
	spec.Expires = until.UTC().Format(time.RFC3339)
	before, err := d.begun()
	if err != nil {
		return err
	}
	if before != nil && before.Spec.Digest == spec.Digest && d.hearing.now.Before(before.Spec.Until()) {
		if r.Expires.IsZero() {
			spec.Expires = before.Spec.Expires
		}
		spec.Mode = cmp.Or(r.Mode, before.Spec.Mode)
		spec.Scope, spec.Report, spec.Comment = cmp.Or(r.Scope, before.Spec.Scope), cmp.Or(r.Report, before.Spec.Report), cmp.Or(r.Comment, before.Spec.Comment)
		if string(spec.Message()) != string(before.Spec.Message()) {
			return &api.Error{Code: api.CodeConflict, Message: d.File + " approves the same playbook in other words, and signatures hold for those only", Hint: "leave out the flags to add to it, or remove it to begin anew"}
		}
		spec.Signatures, d.Begun = before.Spec.Signatures, true
	}
	var wrong error
	spec.Check(func(field, _, message, hint string) {
		wrong = errors.Join(wrong, &api.Error{Code: api.CodeUsage, Message: field + ": " + message, Hint: hint})
	})
	d.Approval = api.Approval{Metadata: api.Metadata{Name: d.ready.Name}, Spec: spec}
	return wrong
}

// begun is the approval that lies beside the playbook; nil where there is none.
func (d *Draft) begun() (*api.Approval, error) {
	for i := range d.set.Approvals {
		a := &d.set.Approvals[i]
		switch {
		case a.Metadata.Name != d.ready.Name:
		case filepath.Clean(a.Pos.File) != d.File:
			return nil, &api.Error{Code: api.CodeConflict, Message: fmt.Sprintf("%s has an approval named %s already, and names are unique", a.Pos.File, a.Metadata.Name), Hint: "rename or remove it"}
		default:
			return a, nil
		}
	}
	return nil, nil
}

// Message is what is signed.
func (d *Draft) Message() []byte { return d.Approval.Spec.Message() }

// Sign adds a signature by a key.
func (d *Draft) Sign(key ssh.Signer) (string, error) {
	armored, err := signMessage(key, rand.Reader, api.ApprovalNamespace, d.Message())
	if err != nil {
		return "", err
	}
	return d.Add(armored)
}

// Add adds a signature made elsewhere, and says whose it is. One that does not fit the message, or that could not count, is refused.
func (d *Draft) Add(armored string) (string, error) {
	armored = strings.TrimSpace(armored) + "\n"
	who := ""
	if d.hearing.court.list == nil {
		v := d.hearing.verify(d.Message(), armored)
		if v.err != nil {
			return "", api.Errorf(api.CodeDenied, "the signature does not count: %w", v.err)
		}
		who = v.who
	} else {
		s, err := d.hearing.witness(d.Message(), armored, d.Author)
		if err != nil {
			return "", &api.Error{Code: api.CodeDenied, Message: err.Error(), Hint: "who may approve is written in the approvers file"}
		}
		who = s.person
	}
	key := d.hearing.verify(d.Message(), armored).key
	d.Approval.Spec.Signatures = slices.DeleteFunc(d.Approval.Spec.Signatures, func(old string) bool { return d.hearing.verify(d.Message(), old).key == key })
	d.Approval.Spec.Signatures = append(d.Approval.Spec.Signatures, armored)
	return who, nil
}

// Missing says what the approval still needs before it counts; empty where it counts.
func (d *Draft) Missing() string {
	if d.hearing.court.list == nil {
		return "there is no approvers file, so approvals are not enforced"
	}
	if _, err := d.hearing.weigh(d.book, d.ready, &d.Approval.Spec); err != nil {
		return err.Error()
	}
	return ""
}

// Write keeps the approval in its file.
func (d *Draft) Write() error {
	s := &d.Approval.Spec
	var b strings.Builder
	fmt.Fprintf(&b, "apiVersion: %s\nkind: %s\nmetadata: {name: %q}\nspec:\n", api.Version, api.KindApproval, d.Approval.Metadata.Name)
	line := func(key, value string) {
		if value != "" {
			fmt.Fprintf(&b, "  %s: %s\n", key, value)
		}
	}
	quoted := func(text string) string {
		if text == "" {
			return ""
		}
		return strconv.Quote(text)
	}
	line("playbook", quoted(s.Playbook))
	line("digest", s.Digest)
	line("author", quoted(s.Author))
	line("mode", string(s.Mode))
	line("expires", s.Expires)
	line("scope", quoted(s.Scope))
	line("report", s.Report)
	line("comment", quoted(s.Comment))
	if len(s.Signatures) > 0 {
		b.WriteString("  signatures:\n")
	}
	for _, armored := range s.Signatures {
		b.WriteString("    - |\n      " + strings.ReplaceAll(strings.TrimSpace(armored), "\n", "\n      ") + "\n")
	}
	if err := keepFile(d.File, []byte(b.String())); err != nil {
		return fmt.Errorf("write the approval: %w", err)
	}
	return nil
}
