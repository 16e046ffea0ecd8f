package controller

import (
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"github.com/backstay/backstay/api"
)

// instant is a time as people compare it with other logs.
func instant(t time.Time) string { return t.UTC().Format("2006-01-02 15:04:05.000") }

// cell makes a text fit into a cell of a Markdown table, as text: what a log holds is never markup.
func cell(text string) string {
	return strings.NewReplacer("\r", " ", "\n", " ", "|", "\\|", "<", "&lt;", "`", "'", "[", "\\[", "*", "\\*", "_", "\\_").Replace(text)
}

// timeline writes the whole story in Markdown.
func (p *pack) timeline(ev *evidence) []byte {
	var b strings.Builder
	put := func(format string, args ...any) { fmt.Fprintf(&b, format, args...) }
	put("# Incident %s\n\n%s\n\n", ev.Incident, cell(ev.Title))
	put("| | |\n|---|---|\n| root cause | %s |\n| opened | %s UTC |\n", cell(ev.Root), instant(ev.Opened))
	if ev.Closed.IsZero() {
		put("| closed | not by the time of the checkpoint |\n")
	} else {
		put("| closed | %s UTC, after %s |\n", instant(ev.Closed), ev.Closed.Sub(ev.Opened).Round(time.Millisecond))
	}
	if len(ev.Merged) > 0 {
		put("| took in | %s |\n", strings.Join(ev.Merged, ", "))
	}
	put("| log | %s, %d entries at the checkpoint, %d of them here |\n\n", cell(p.origin), p.size, len(p.entries))

	put("## What happened\n\nTimes are UTC. The number is that of the log entry; its proof is in proofs/.\n\n| entry | time | kind | what | who |\n|---:|---|---|---|---|\n")
	for i := range p.entries {
		e := &p.entries[i].Entry
		put("| %d | %s | %s | %s%s | %s |\n", e.Seq, instant(e.At), e.Kind, cell(e.Text), refusalText(e.Refusal), cell(e.Actor))
	}
	put("\n## Playbooks in force\n\n")
	if len(ev.Playbooks) == 0 {
		put("No playbook ran.\n")
	}
	for _, q := range ev.Playbooks {
		put("- **%s**, digest `%s`", cell(q.Name), q.Digest)
		if q.File != "" {
			put(": %s (entry %d)", q.File, q.Entry)
		}
		if q.Comments != "" {
			put("; %s", q.Comments)
		}
		put("\n")
	}
	put("\n## Approvals and decisions of people\n\n")
	none := true
	for _, a := range ev.Approvals {
		if a.Kind != api.EntryConfigured {
			none = false
			put("- entry %d, %s: %s\n", a.Entry, instant(a.At), cell(a.Text))
		}
		for _, f := range a.Facts {
			if name, is := strings.CutPrefix(f.Name, "approval/"); is {
				none = false
				put("- entry %d, %s: playbook %s: %s\n", a.Entry, instant(a.At), cell(name), cell(f.Value))
			}
		}
	}
	if none {
		put("None: nobody was asked, and the playbooks needed no signature.\n")
	}
	for i := range ev.Remediations {
		ev.Remediations[i].write(put)
	}
	return []byte(b.String())
}

func refusalText(r *api.Refusal) string {
	if r == nil || r.Next.IsZero() {
		return ""
	}
	return " Next possible: " + instant(r.Next) + "."
}

// write tells one remediation: before and after of each step, and what proved it.
func (r *evidenceRun) write(put func(format string, args ...any)) {
	put("\n## Remediation %s: playbook %s\n\n%s\n\n", r.ID, cell(r.Playbook), cell(r.Text))
	put("### Before and after\n\n")
	for i := range r.Steps {
		st := &r.Steps[i]
		put("- entry %d, %s, %s", st.Entry, st.Kind, cell(st.Step))
		if est := st.Estimate; est != nil {
			put("; before: %s%s", cell(est.Text), counted(est.Items, est.Amount))
			if len(est.Before) > 0 {
				put(" Before-image: `%s`", strings.ReplaceAll(string(est.Before), "`", "'"))
			}
		}
		if out := st.Outcome; out != nil {
			put("; after: %s: %s%s", out.Result, cell(out.Text), counted(out.Items, out.Amount))
			for _, f := range out.Facts {
				put("\n  - %s: %s", cell(f.Name), cell(f.Value))
			}
		}
		put("\n")
	}
	put("\n### Verification and reconciliation\n\n")
	for i := range r.Verified {
		st := &r.Verified[i]
		put("- entry %d: %s\n", st.Entry, cell(st.Text))
		if st.Outcome == nil {
			continue
		}
		for _, f := range st.Outcome.Facts {
			put("  - %s: %s\n", cell(f.Name), cell(f.Value))
		}
	}
	if len(r.Verified) == 0 {
		put("It did not come to a verification.\n")
	}
	if r.Ended >= 0 {
		put("\nEnd (entry %d): **%s**\n", r.Ended, r.End)
	}
}

func counted(items int64, amount api.Money) string {
	if items == 0 && len(amount) == 0 {
		return ""
	}
	money := ""
	if len(amount) > 0 {
		if b, err := json.Marshal(amount); err == nil {
			money = ", minor units " + string(b)
		}
	}
	return fmt.Sprintf(" (%d items%s)", items, money)
}

// readme says in plain words what the pack is, how to check it, and what a check does and does not prove.
func (p *pack) readme(ev *evidence) []byte {
	var b strings.Builder
	put := func(format string, args ...any) { fmt.Fprintf(&b, format, args...) }
	put("EVIDENCE OF INCIDENT %s\n\n%s\n\n", ev.Incident, ev.Title)
	put("This folder holds what Backstay, an automaton that repairs back-office systems, decided and did about one\nincident, as its audit log has it: %d entries out of %d in the log called\n%s.\n\n", len(p.entries), p.size, p.origin)
	put(`WHAT IS HERE
  timeline.md      the whole story, to read first
  timeline.json    the same times and sentences for programs
  evidence.json    by question: playbooks, approvals, before and after, verification, refusals
  playbooks/       the text of each playbook as it was in force; its SHA-256 is the digest that people approved
  entries.jsonl    the entries themselves, one a line, byte for byte as they were hashed
  proofs/          for each entry a proof that it is in the log (format: c2sp.org/tlog-proof)
  checkpoint       the signed head of the log (format: c2sp.org/tlog-checkpoint)
  key.pub          the key that it claims; trust only a copy that came to you another way
  manifest.json    names, sizes and SHA-256 of these files

HOW TO CHECK IT, on any machine, without a network
  backstay audit verify THIS-FILE.tar.gz --key key.pub      (your own copy of key.pub)
By hand: the leaf of an entry is SHA-256 of a zero byte and its line in entries.jsonl without the line end; (of a
line longer than 65,535 bytes: of its digest), any tool for c2sp.org/tlog-proof checks it against the checkpoint, and the checkpoint against the key. For a
playbook, sha256sum of its file is the digest.

WHAT A CHECK PROVES
  - Each entry is in the log that the checkpoint signs, unchanged since it was written, at its place.
  - Timeline, evidence and playbooks say what the entries say and nothing else: they are made again from the
    proven entries and compared byte by byte.
  - No entry of the incident is missing between its first and its last one here: they are numbered within the
    incident (nth), and a gap shows. Entries from before such numbers existed have none; a check says so.

WHAT IT DOES NOT PROVE
  - That nothing more was written about the incident after its last entry here. Once it is closed only late
    results and notifications follow.
  - That entries about no incident (starts, configurations, pauses) are all here. Ask for the whole log for that.
  - That the clock was right. The order of entries is proven, their times are what the machine believed.
  - Anything against somebody who holds both the data folder and the signing key, unless an earlier checkpoint
    was kept elsewhere or a witness signed it: compare with one that you have.
`)
	return []byte(b.String())
}
