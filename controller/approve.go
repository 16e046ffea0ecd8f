package controller

import (
	"cmp"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/backstay/backstay/api"
	"github.com/backstay/backstay/playbooks"
)

// approvalsFolder holds, in the data folder, the approvals that were given to the running controller. They count like those of
// the configuration; who takes one away removes its file.
const approvalsFolder = "approvals"

// Given is what an approval that was given to a controller allows.
type Given struct {
	Playbook string    `json:"playbook"`
	Mode     api.Mode  `json:"mode"`
	By       []string  `json:"by"`
	Expires  time.Time `json:"expires"`
	Text     string    `json:"text"` // one sentence
}

// approve takes an approval that holds as it stands: it is kept in the data folder, and its effect is in the log, before this returns.
func (p *process) approve(ctx context.Context, doc []byte) (any, error) {
	set, findings := api.Decode("approval", doc)
	if findings.Failed() || len(set.Approvals) != 1 {
		return nil, &api.Error{Code: api.CodeInvalid, Message: cmp.Or(findings.Error(), "there must be one document, of kind Approval"), Hint: "backstay sign writes approvals"}
	}
	a := set.Approvals[0]
	given, err := p.examine(a)
	if err != nil {
		return nil, err
	}
	file := filepath.Join(p.Data, approvalsFolder, strings.Join([]string{a.Spec.Playbook, strings.TrimPrefix(short(a.Spec.Digest), "sha256:"), string(a.Spec.Mode) + ".yaml"}, "-"))
	if err := keepFile(file, doc); err != nil {
		return nil, fmt.Errorf("keep the approval: %w", err)
	}
	answer := make(chan error, 1)
	select {
	case p.asked <- answer:
	case <-ctx.Done():
		return nil, api.Errorf(api.CodeUnavailable, "the approval is kept, and counts from the next reload on: %w", ctx.Err())
	}
	if err := <-answer; err != nil {
		return nil, api.Errorf(api.CodeConflict, "the approval is kept, and counts as soon as the configuration on disk can be taken up: %w", err)
	}
	return given, nil
}

// examine holds an approval against the configuration on disk.
func (p *process) examine(a api.Approval) (Given, error) {
	fresh := newLoader(playbooks.Env{Commands: p.Commands}) // the other one belongs to the goroutine that reloads
	fresh.running = true
	cfg, set, findings, err := fresh.load(p.Config)
	switch {
	case err != nil:
		return Given{}, err
	case findings.Failed():
		return Given{}, &api.Error{Code: api.CodeConflict, Message: "the configuration on disk has errors, so nobody knows what would be approved", Hint: "backstay check " + p.Config}
	case fresh.court.list == nil:
		return Given{}, &api.Error{Code: api.CodeConflict, Message: "approvals are not enforced here: there is no approvers file", Hint: "write one beside the configuration first; backstay sign --help shows its form"}
	}
	h := hearing{court: &fresh.court, approvers: fresh.court.list, now: time.Now()}
	for i := range set.Playbooks {
		book := &set.Playbooks[i]
		if book.Metadata.Name != a.Spec.Playbook {
			continue
		}
		got, err := h.weigh(book, &cfg.Engine.Playbooks[i], &a.Spec)
		if err != nil {
			return Given{}, api.Errorf(api.CodeDenied, "the approval of playbook %s does not count: %w", a.Spec.Playbook, err)
		}
		text := fmt.Sprintf("Playbook %s is approved for mode %s by %s until %s.", a.Spec.Playbook, got.Mode, strings.Join(got.By, " and "), got.Expires.Format(time.RFC3339))
		return Given{Playbook: a.Spec.Playbook, Mode: got.Mode, By: got.By, Expires: got.Expires, Text: text}, nil
	}
	return Given{}, api.Errorf(api.CodeNotFound, "there is no playbook called %q", a.Spec.Playbook)
}

// keepFile writes a file so that after a crash it is there in full or not at all.
func keepFile(path string, data []byte) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	f, err := os.CreateTemp(filepath.Dir(path), ".new-*")
	if err != nil {
		return err
	}
	defer os.Remove(f.Name()) // gone after the rename
	_, err = f.Write(data)
	if err == nil {
		err = f.Chmod(0o644)
	}
	if err == nil {
		err = f.Sync()
	}
	if closed := f.Close(); err == nil {
		err = closed
	}
	if err != nil {
		return err
	}
	return os.Rename(f.Name(), path)
}
