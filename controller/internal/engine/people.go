package engine

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/backstay/backstay/api"
)

// ask puts a question to people: about a remediation (i is -1) or about one of its steps.
func (s *State) ask(r *remediation, i int, e *api.Estimate, text string, n int, wait time.Duration) {
	def := "deny"
	entry := api.Entry{Kind: api.EntryAsked, Incident: r.Incident, Remediation: r.ID, Playbook: r.Plan.Name, Digest: r.Plan.Digest, Estimate: e, Text: text}
	if i >= 0 {
		entry.Step = r.Plan.Steps[i].Name
		if q := r.Plan.Steps[i].Plan.Control.Ask; q != nil && q.Default == "approve" {
			def = "approve"
		}
	}
	until := s.now.Add(wait)
	entry.Facts = []api.Fact{{Name: "question", Value: text}, {Name: "deadline", Value: until.Format(time.RFC3339Nano)},
		{Name: "default", Value: def}, {Name: "people", Value: strconv.Itoa(n)}}
	if s.emit(entry) {
		s.tell(r.Plan.Notify, Message{Title: "Needs a yes: " + r.Plan.Name, Dedup: r.Incident, Severity: "warning",
			Text: fmt.Sprintf("%s Answer by %s; without an answer the default is %s.", text, until.Format("15:04:05 on 2 January MST"), def)}, r.Incident, r)
	}
}

// awaitYes looks after a remediation that people have not approved yet.
func (s *State) awaitYes(r *remediation) {
	switch {
	case r.Denied != "":
		s.end(r, api.EndCancelled, fmt.Sprintf("Playbook %s did not begin, because %s said no.", r.Plan.Name, r.Denied))
	case r.Cancel != "":
		s.end(r, api.EndCancelled, fmt.Sprintf("Playbook %s did not begin, because %s called it off.", r.Plan.Name, r.Cancel))
	case s.moot(r):
		s.end(r, api.EndCancelled, fmt.Sprintf("Playbook %s did not begin, because %s cleared while it waited for a yes.", r.Plan.Name, r.Trigger))
	case r.AskUntil.IsZero(): // a crash cannot part the two entries, but asking again is the safe way
		s.ask(r, -1, nil, r.Text, r.Plan.People, answerWait)
	case !s.now.Before(r.AskUntil):
		s.emit(api.Entry{Kind: api.EntryLapsed, Incident: r.Incident, Remediation: r.ID, Playbook: r.Plan.Name, Digest: r.Plan.Digest,
			Text: fmt.Sprintf("Nobody approved playbook %s in time, which means no.", r.Plan.Name)})
		s.end(r, api.EndCancelled, fmt.Sprintf("Playbook %s did not begin, because nobody approved it in time.", r.Plan.Name))
	default:
		r.at(r.AskUntil)
	}
}

// awaitAnswer looks after a step about which people were asked.
func (s *State) awaitAnswer(r *remediation, i int) {
	st, q := &r.Steps[i], &r.Plan.Steps[i]
	if s.now.Before(st.AskUntil) {
		r.at(st.AskUntil)
		return
	}
	c := q.Plan.Control.Ask
	if c != nil && c.Default == "approve" {
		s.step(r, i, api.Entry{Kind: api.EntryLapsed, Text: fmt.Sprintf("Nobody answered step %s in time; its default is yes.", q.Name)})
		s.step(r, i, api.Entry{Kind: api.EntryStepEnded, Outcome: &api.Outcome{Result: api.ResultDone, Text: "Approved by default."}, Text: fmt.Sprintf("Step %s is done: approved by default.", q.Name)})
		return
	}
	s.step(r, i, api.Entry{Kind: api.EntryLapsed, Text: fmt.Sprintf("Nobody answered step %s in time, which means no.", q.Name)})
	s.refuseStep(r, i, *refusal(api.GuardApproval, time.Time{}, "nobody answered in time"))
}

// question is what a remediation asks of people now; empty where it asks nothing.
func (r *remediation) question() string {
	if r.End != "" {
		return ""
	}
	if r.Claim == 0 {
		return r.Text
	}
	for i := range r.Steps {
		if r.Steps[i].State == api.StepAsking {
			return r.Steps[i].Question
		}
	}
	return ""
}

// digest is the digest of what people are asked; empty where they are asked nothing.
func (r *remediation) digest() string {
	if r.End != "" {
		return ""
	}
	if r.Claim == 0 {
		return digestOf(r.Plan, "", nil)
	}
	for i := range r.Steps {
		if r.Steps[i].State == api.StepAsking {
			return digestOf(r.Plan, r.Plan.Steps[i].Name, r.Steps[i].Asked)
		}
	}
	return ""
}

// decision takes a person's word. One that fits nothing is refused, and that is recorded too.
func (s *State) decision(d api.Decision) {
	if d.Verb == api.VerbAck {
		s.acknowledge(d)
		return
	}
	id, name, _ := strings.Cut(d.Target, "/")
	r := s.rems[id]
	if r == nil {
		s.refuseWord(d, nil, "there is no remediation %q, or it ended a while ago", id)
		return
	}
	i := -1
	if name != "" {
		if i = slices.IndexFunc(r.Plan.Steps, func(q planned) bool { return q.Name == name }); i < 0 {
			s.refuseWord(d, r, "remediation %s has no step %q", id, name)
			return
		}
	}
	if d.By == "" {
		s.refuseWord(d, r, "it does not say whose word it is")
		return
	}
	if d.Plan != "" && (d.Verb == api.VerbApprove || d.Verb == api.VerbDeny) && d.Plan != r.digest() {
		s.refuseWord(d, r, "the plan is not the one that was shown; look at it again")
		return
	}
	switch d.Verb {
	case api.VerbSettled, api.VerbVoid:
		s.word(r, i, d)
	case api.VerbCancel:
		if r.End != "" {
			s.refuseWord(d, r, "remediation %s has ended", id)
		} else {
			s.decided(r, -1, d, fmt.Sprintf("%s called off playbook %s.", d.By, r.Plan.Name))
			if r.pend != nil && (r.pend.kind == Plan || r.pend.kind == Expect) {
				r.pend = nil // it only reads: nobody need wait for it
			}
		}
	case api.VerbApprove, api.VerbDeny:
		s.answer(r, i, d)
	default:
		s.refuseWord(d, r, "%q is no decision: say approve, deny, cancel, settled, void or ack", d.Verb)
	}
}

// answer takes a yes or a no to the open question.
func (s *State) answer(r *remediation, i int, d api.Decision) {
	if r.End != "" {
		s.refuseWord(d, r, "remediation %s has ended", r.ID)
		return
	}
	if d.BreakGlass && (d.Verb != api.VerbApprove || d.Reason == "") {
		s.refuseWord(d, r, "breaking the glass is a yes and needs a reason")
		return
	}
	verb := map[api.Verb]string{api.VerbApprove: "approved", api.VerbDeny: "said no to"}[d.Verb]
	if r.Claim == 0 {
		switch {
		case i >= 0:
			s.refuseWord(d, r, "remediation %s waits for a word on all of it, not on step %s", r.ID, r.Plan.Steps[i].Name)
		case d.Verb == api.VerbApprove && slices.Contains(r.Yes, d.By) && !d.BreakGlass:
			s.refuseWord(d, r, "%s has said yes already and counts once", d.By)
		case !s.now.Before(r.AskUntil):
			s.refuseWord(d, r, "the time to answer is over")
		case d.BreakGlass:
			s.breakGlass(r, -1, d)
		default:
			s.decided(r, -1, d, fmt.Sprintf("%s %s playbook %s.", d.By, verb, r.Plan.Name))
		}
		return
	}
	k := slices.IndexFunc(r.Steps, func(st step) bool { return st.State == api.StepAsking })
	if k < 0 || i >= 0 && i != k {
		s.refuseWord(d, r, "remediation %s asks nothing of that sort now", r.ID)
		return
	}
	st, q := &r.Steps[k], &r.Plan.Steps[k]
	switch {
	case d.Verb == api.VerbApprove && slices.Contains(st.Yes, d.By) && !d.BreakGlass:
		s.refuseWord(d, r, "%s has said yes already and counts once", d.By)
		return
	case !s.now.Before(st.AskUntil):
		s.refuseWord(d, r, "the time to answer is over")
		return
	}
	if d.BreakGlass {
		s.breakGlass(r, k, d)
	} else if !s.decided(r, k, d, fmt.Sprintf("%s %s step %s.", d.By, verb, q.Name)) {
		return
	}
	switch {
	case d.Verb == api.VerbDeny:
		s.refuseStep(r, k, *refusal(api.GuardApproval, time.Time{}, "%s said no", d.By))
	case st.Approved && q.Plan.Control.Ask != nil:
		s.step(r, k, api.Entry{Kind: api.EntryStepEnded, Outcome: &api.Outcome{Result: api.ResultDone, Text: "Approved."}, Text: fmt.Sprintf("Step %s is done: approved.", q.Name)})
	}
}

// word takes what a person says about a step in doubt.
func (s *State) word(r *remediation, i int, d api.Decision) {
	if i < 0 {
		s.refuseWord(d, r, "say which step: %s/STEP", r.ID)
		return
	}
	name := r.Plan.Steps[i].Name
	if !slices.ContainsFunc(s.d.Doubts, func(x doubt) bool { return x.Remediation == r.ID && x.Step == name }) {
		s.refuseWord(d, r, "step %s of %s is not in doubt", name, r.ID)
		return
	}
	if r.Steps[i].UndoState == api.StepHandedOver {
		s.undoWord(r, i, d)
		return
	}
	what := "happened"
	if d.Verb == api.VerbVoid {
		what = "did not happen"
		if in := r.Steps[i].Intent; in != nil && s.now.Before(in.Deadline) {
			s.refuseWord(d, r, "the call may still reach its target until %s; look again after that", in.Deadline.Format("15:04:05"))
			return
		}
	}
	s.decided(r, i, d, fmt.Sprintf("%s says that step %s of %s %s.", d.By, name, r.Plan.Name, what))
}

// undoWord takes what a person says about an undo in doubt.
func (s *State) undoWord(r *remediation, i int, d api.Decision) {
	what := "is undone"
	if d.Verb == api.VerbVoid {
		what = "is not undone and stays as it is"
	}
	s.decided(r, i, d, fmt.Sprintf("%s says that step %s of %s %s.", d.By, r.Plan.Steps[i].Name, r.Plan.Name, what))
}

func (s *State) decided(r *remediation, i int, d api.Decision, text string) bool {
	e := api.Entry{Kind: api.EntryDecided, Actor: d.By, Incident: r.Incident, Remediation: r.ID, Playbook: r.Plan.Name, Digest: r.Plan.Digest, Text: text}
	d.Target = r.ID
	if i >= 0 {
		e.Step = r.Plan.Steps[i].Name
		d.Target += "/" + e.Step
	}
	if d.Reason != "" {
		e.Text += " Reason: " + d.Reason
	}
	e.Decision = &d
	return s.emit(e)
}

func (s *State) refuseWord(d api.Decision, r *remediation, format string, args ...any) {
	no := refusal(api.GuardApproval, time.Time{}, format, args...)
	e := api.Entry{Kind: api.EntryWordRefused, Actor: d.By, Decision: &d, Refusal: no, Text: fmt.Sprintf("The decision %q on %q was not taken: %s.", d.Verb, d.Target, no.Reason)}
	if r != nil {
		e.Incident, e.Remediation, e.Playbook, e.Digest = r.Incident, r.ID, r.Plan.Name, r.Plan.Digest
	}
	s.emit(e)
}

// pause stops all new steps, on every playbook or on one.
func (s *State) pause(p api.Pause) {
	p.At = s.now
	p.Expires = p.Expires.UTC().Round(0)
	if !p.Expires.IsZero() && !p.Expires.After(s.now) {
		return // it is over before it began
	}
	what, until := "all automation", "until it is lifted"
	if p.Playbook != "" {
		what = "playbook " + p.Playbook
	}
	if !p.Expires.IsZero() {
		until = "until " + p.Expires.Format("15:04:05 on 2 January")
	}
	text := fmt.Sprintf("%s paused %s %s.", cmpText(p.Owner, "Somebody"), what, until)
	if p.Reason != "" {
		text += " Reason: " + p.Reason
	}
	s.emit(api.Entry{Kind: api.EntryPaused, Actor: p.Owner, Playbook: p.Playbook, Pause: &p, Text: text})
	s.stir()
}

// resume lifts a pause; a global one that names its owner also lifts a halt.
func (s *State) resume(p api.Pause) {
	p.At = s.now
	held := p.Playbook == "" && s.d.Halted != ""
	if !held && !slices.ContainsFunc(s.d.Pauses, func(q api.Pause) bool { return q.Playbook == p.Playbook }) {
		return
	}
	what := "all automation"
	if p.Playbook != "" {
		what = "playbook " + p.Playbook
	}
	s.emit(api.Entry{Kind: api.EntryResumed, Actor: p.Owner, Playbook: p.Playbook, Pause: &p, Text: fmt.Sprintf("%s resumed %s.", cmpText(p.Owner, "Somebody"), what)})
	s.stir()
}

// expirePauses lifts pauses whose time is over.
func (s *State) expirePauses() {
	for _, p := range slices.Clone(s.d.Pauses) {
		if p.Expires.IsZero() || s.now.Before(p.Expires) {
			continue
		}
		s.emit(api.Entry{Kind: api.EntryResumed, Playbook: p.Playbook, Pause: &p, Text: fmt.Sprintf("The pause by %s is over, because its time has come.", cmpText(p.Owner, "somebody"))})
		s.stir()
	}
}
