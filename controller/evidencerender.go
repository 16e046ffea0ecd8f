package controller

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/backstay/backstay/api"
)

// The members of a pack, beside playbooks/ and proofs/.
const (
	memberReadme     = "README.txt"
	memberTimeline   = "timeline.md"
	memberTimelineJS = "timeline.json"
	memberEvidence   = "evidence.json"
	memberEntries    = "entries.jsonl"
	memberCheckpoint = "checkpoint"
	memberKey        = "key.pub"
	memberManifest   = "manifest.json"
)

// evidence is what evidence.json holds: the entries again, by question instead of by time. Entry numbers lead back to the proofs.
type evidence struct {
	Format       string             `json:"format"`
	Incident     string             `json:"incident"`
	Title        string             `json:"title"`
	Root         string             `json:"root"`
	Opened       time.Time          `json:"opened,omitzero"`
	Closed       time.Time          `json:"closed,omitzero"` // not set: open at the checkpoint
	Merged       []string           `json:"merged,omitempty"`
	Log          evidenceLog        `json:"log"`
	Versions     []evidenceFacts    `json:"versions"`
	Playbooks    []evidencePlaybook `json:"playbooks"`
	Approvals    []evidenceFacts    `json:"approvals"` // signatures in force, questions, and what people decided
	Remediations []evidenceRun      `json:"remediations"`
	Refusals     []evidenceRefusal  `json:"refusals"` // what was not done, and why
}

type evidenceLog struct {
	Origin  string `json:"origin"`
	Entries int64  `json:"entries"` // that the checkpoint covers
	Held    int    `json:"held"`    // in this pack
}

type evidenceFacts struct {
	Entry    int64         `json:"entry"`
	At       time.Time     `json:"at"`
	Kind     api.EntryKind `json:"kind"`
	Text     string        `json:"text"`
	Actor    string        `json:"actor,omitempty"`
	Decision *api.Decision `json:"decision,omitempty"`
	Facts    []api.Fact    `json:"facts,omitempty"`
}

type evidencePlaybook struct {
	Name     string `json:"name"`
	Digest   string `json:"digest"`
	Entry    int64  `json:"entry"`          // that holds the text; -1: the log has none
	File     string `json:"file,omitempty"` // in this pack
	Exact    bool   `json:"exact"`          // the SHA-256 of the file is the digest
	Comments string `json:"comments,omitempty"`
}

type evidenceRun struct {
	ID       string             `json:"id"`
	Playbook string             `json:"playbook"`
	Digest   string             `json:"digest"`
	Opened   int64              `json:"opened"` // entry
	Plan     json.RawMessage    `json:"plan,omitempty"`
	Steps    []evidenceStep     `json:"steps"`
	Verified []evidenceStep     `json:"verification"` // probes and reconciliations after the repair
	Ended    int64              `json:"ended"`        // entry; -1: not yet
	End      api.RemediationEnd `json:"end,omitempty"`
	Text     string             `json:"text"`
}

// evidenceStep is one entry about a step: what was there before, what was intended, what came of it.
type evidenceStep struct {
	Entry    int64         `json:"entry"`
	At       time.Time     `json:"at"`
	Kind     api.EntryKind `json:"kind"`
	Step     string        `json:"step,omitempty"`
	Attempt  int           `json:"attempt,omitempty"`
	Text     string        `json:"text"`
	Estimate *api.Estimate `json:"estimate,omitempty"` // with the before-image
	Intent   *api.Intent   `json:"intent,omitempty"`
	Outcome  *api.Outcome  `json:"outcome,omitempty"`
	Facts    []api.Fact    `json:"facts,omitempty"`
}

type evidenceRefusal struct {
	Entry    int64       `json:"entry"`
	At       time.Time   `json:"at"`
	Playbook string      `json:"playbook,omitempty"`
	Step     string      `json:"step,omitempty"`
	Refusal  api.Refusal `json:"refusal"`
}

// members makes all files of the pack. It is a pure function of entries, proofs, checkpoint and key.
func (p *pack) members() []member {
	ev, files := p.evidence()
	out := []member{
		{memberReadme, p.readme(ev)}, {memberTimeline, p.timeline(ev)}, {memberTimelineJS, p.timelineJSON()}, {memberEvidence, indented(ev)},
	}
	out = append(out, files...)
	out = append(out, member{memberEntries, p.lines()})
	for i := range p.entries {
		out = append(out, member{proofName(p.entries[i].Seq), p.proofs[i]})
	}
	out = append(out, member{memberCheckpoint, p.checkpoint}, member{memberKey, []byte(p.key + "\n")})
	return append(out, member{memberManifest, manifestOf(p, filesOf(out))})
}

func proofName(seq int64) string { return fmt.Sprintf("proofs/%09d.tlog-proof", seq) }

// manifestFile is what the manifest says of a member.
type manifestFile struct {
	Name   string `json:"name"`
	Bytes  int    `json:"bytes"`
	SHA256 string `json:"sha256"`
}

func filesOf(members []member) []manifestFile {
	files := make([]manifestFile, len(members))
	for i, m := range members {
		files[i] = manifestFile{m.name, len(m.data), sha256Hex(m.data)}
	}
	return files
}

func manifestOf(p *pack, files []manifestFile) []byte {
	return indented(struct {
		Format   string         `json:"format"`
		Incident string         `json:"incident"`
		Files    []manifestFile `json:"files"`
	}{packFormat, p.incident, files})
}

func indented(v any) []byte {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	if err := enc.Encode(v); err != nil {
		panic("encode evidence: " + err.Error()) // plain data that was decoded a moment ago
	}
	return b.Bytes()
}

// evidence sorts the entries by what an auditor asks.
func (p *pack) evidence() (*evidence, []member) {
	ev := &evidence{Format: packFormat, Incident: p.incident, Log: evidenceLog{p.origin, p.size, len(p.entries)},
		Versions: []evidenceFacts{}, Playbooks: []evidencePlaybook{}, Approvals: []evidenceFacts{}, Remediations: []evidenceRun{}, Refusals: []evidenceRefusal{}}
	var files []member
	for i := range p.entries {
		e := &p.entries[i].Entry
		switch e.Kind {
		case api.EntryIncidentOpened, api.EntryIncidentRooted, api.EntryIncidentClosed, api.EntryIncidentMerged:
			ev.incident(e)
		case api.EntryStarted:
			ev.Versions = append(ev.Versions, factsOf(e))
		case api.EntryConfigured, api.EntryAsked, api.EntryDecided, api.EntryLapsed, api.EntryWordRefused, api.EntryDemoted:
			ev.Approvals = append(ev.Approvals, factsOf(e))
		case api.EntryRecorded:
			files = append(files, ev.text(e))
		case api.EntryRemediationOpened:
			ev.Remediations = append(ev.Remediations, evidenceRun{ID: e.Remediation, Playbook: e.Playbook, Digest: e.Digest, Opened: e.Seq, Plan: e.Plan,
				Ended: -1, Text: e.Text, Steps: []evidenceStep{}, Verified: []evidenceStep{}})
		}
		if e.Refusal != nil {
			ev.Refusals = append(ev.Refusals, evidenceRefusal{e.Seq, e.At, e.Playbook, e.Step, *e.Refusal})
		}
		if run := ev.run(e.Remediation); run != nil {
			run.add(e)
		}
	}
	for i := range ev.Remediations {
		ev.know(&ev.Remediations[i])
	}
	return ev, files
}

func (ev *evidence) incident(e *api.Entry) {
	if e.Incident != ev.Incident {
		if e.Kind == api.EntryIncidentMerged {
			ev.Merged = append(ev.Merged, e.Incident)
		}
		return
	}
	switch e.Kind {
	case api.EntryIncidentOpened:
		ev.Opened, ev.Title, ev.Root = e.At, e.Text, e.Node
	case api.EntryIncidentRooted:
		ev.Title, ev.Root = e.Text, e.Node
	case api.EntryIncidentClosed:
		ev.Closed = e.At
	}
}

func (ev *evidence) run(id string) *evidenceRun {
	i := slices.IndexFunc(ev.Remediations, func(r evidenceRun) bool { return r.ID == id })
	if id == "" || i < 0 {
		return nil
	}
	return &ev.Remediations[i]
}

func (r *evidenceRun) add(e *api.Entry) {
	st := evidenceStep{e.Seq, e.At, e.Kind, e.Step, e.Attempt, e.Text, e.Estimate, e.Intent, e.Outcome, e.Facts}
	switch e.Kind {
	case api.EntryRemediationOpened:
	case api.EntryRemediationEnded:
		r.Ended, r.End, r.Text = e.Seq, e.End, e.Text
	case api.EntryVerifyStarted, api.EntryVerifyEnded:
		r.Verified = append(r.Verified, st)
	default:
		if e.Step != "" {
			r.Steps = append(r.Steps, st)
		}
	}
}

func factsOf(e *api.Entry) evidenceFacts {
	return evidenceFacts{e.Seq, e.At, e.Kind, e.Text, e.Actor, e.Decision, e.Facts}
}

// text makes the file of a playbook's canonical text.
func (ev *evidence) text(e *api.Entry) member {
	short := strings.TrimPrefix(e.Digest, "sha256:")
	p := evidencePlaybook{Name: e.Playbook, Digest: e.Digest, Entry: e.Seq, File: fmt.Sprintf("playbooks/%s-%.12s.json", e.Playbook, short),
		Exact: sha256Hex([]byte(e.Document)) == short}
	if !p.Exact {
		p.Comments = "credentials in the text were blotted out before it was kept, so its SHA-256 is not the digest"
	}
	ev.Playbooks = append(ev.Playbooks, p)
	return member{p.File, []byte(e.Document)}
}

// know adds the playbook of a run whose text the log does not hold.
func (ev *evidence) know(r *evidenceRun) {
	if !slices.ContainsFunc(ev.Playbooks, func(p evidencePlaybook) bool { return p.Name == r.Playbook && p.Digest == r.Digest }) {
		ev.Playbooks = append(ev.Playbooks, evidencePlaybook{Name: r.Playbook, Digest: r.Digest, Entry: -1,
			Comments: "the log does not hold its text; the plan in the entry that opened the remediation says what it was to do"})
	}
}

func (p *pack) timelineJSON() []byte {
	type row struct {
		Entry int64         `json:"entry"`
		At    time.Time     `json:"at"`
		Kind  api.EntryKind `json:"kind"`
		Text  string        `json:"text"`
		Actor string        `json:"actor,omitempty"`
		Proof string        `json:"proof"`
	}
	rows := make([]row, len(p.entries))
	for i := range p.entries {
		e := &p.entries[i].Entry
		rows[i] = row{e.Seq, e.At, e.Kind, e.Text, e.Actor, proofName(e.Seq)}
	}
	return indented(rows)
}
