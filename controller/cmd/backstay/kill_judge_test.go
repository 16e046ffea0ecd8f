package main

import (
	"github.com/backstay/backstay/api"
)

// judge holds the log against the ledgers of the targets, once everything has come to rest.
func (l *lane) judge() {
	steps := map[string]*paidStep{}
	var order []*paidStep
	for _, e := range l.log {
		l.count(e)
		if e.Step != "pay" {
			continue
		}
		id := e.Remediation + "/" + e.Step
		s := steps[id]
		if s == nil {
			s = &paidStep{remediation: e.Remediation}
			steps[id], order = s, append(order, s)
		}
		s.take(e)
	}
	known := map[string]bool{}
	for _, s := range order {
		if s.key != "" {
			known[s.key] = true
			l.judgeStep(s)
		}
	}
	for _, till := range l.tills {
		l.judgeTill(till, known)
	}
}

func (l *lane) count(e api.Entry) {
	switch e.Kind {
	case api.EntryRemediationOpened:
		l.remediations++
	case api.EntryRemediationEnded:
		l.ends = append(l.ends, e.End)
	case api.EntryStepRepeated:
		l.repeated++
	case api.EntryStepReconciled:
		l.reconciled++
	case api.EntryInvariant:
		l.fail("the engine halted: %s", e.Text)
	case api.EntryStepUncertain:
		for _, f := range e.Facts {
			if f.Name == "cause" && f.Value == "restart" {
				l.restarted++
			}
		}
	}
}

// paidStep is what the log says of one step.
type paidStep struct {
	remediation string
	key         string
	class       api.Repeat
	attempts    int
	result      api.Result // what it came to, by the log
	keys        int        // more than one is a find
}

func (s *paidStep) take(e api.Entry) {
	switch e.Kind {
	case api.EntryStepIntended, api.EntryStepRepeated:
		if e.Intent.Key != s.key {
			s.keys++
		}
		s.key, s.class, s.result = e.Intent.Key, e.Intent.Repeat, ""
		s.attempts++
	case api.EntryStepEnded, api.EntryStepReconciled:
		s.result = e.Outcome.Result
	case api.EntryStepUncertain, api.EntryStepHandedOver:
		s.result = api.ResultUnknown
	case api.EntryDecided:
		if e.Decision.Verb == api.VerbSettled {
			s.result = api.ResultDone
		} else {
			s.result = api.ResultFailed
		}
	}
}

func (l *lane) judgeStep(s *paidStep) {
	till := l.till(s.class)
	till.mu.Lock()
	landed, received := till.landed[s.key], till.received[s.key]
	till.mu.Unlock()
	switch {
	case s.keys > 1:
		l.fail("%s step of %s went under %d keys:\n%s", s.class, s.remediation, s.keys, l.story(s.remediation))
	case s.class == api.Blind && (s.attempts > 1 || received > 1):
		l.fail("a blind step of %s was attempted %d times, and its target got %d requests:\n%s", s.remediation, s.attempts, received, l.story(s.remediation))
	case s.result == api.ResultDone && landed == 0:
		l.fail("lost: the %s step of %s counts as done, and nothing happened:\n%s", s.class, s.remediation, l.story(s.remediation))
	case (s.result == api.ResultFailed || s.result == api.ResultRefused) && landed > 0:
		l.fail("the %s step of %s counts as not done, and it happened:\n%s", s.class, s.remediation, l.story(s.remediation))
	case s.result == "" || s.result == api.ResultUnknown:
		l.fail("lost: the %s step of %s was left at %q:\n%s", s.class, s.remediation, s.result, l.story(s.remediation))
	}
}

func (l *lane) judgeTill(till *till, known map[string]bool) {
	if n := till.doubled(); n > 0 {
		l.fail("%d items were paid twice at the %s target", n, till.class)
	}
	till.mu.Lock()
	defer till.mu.Unlock()
	l.mended, l.late = l.mended+till.mended, l.late+till.late
	for key := range till.received { // order does not matter: each is judged by itself
		if l.effects += till.landed[key]; !known[key] {
			l.fail("the %s target got a request with key %s, which the log never intended", till.class, key)
		}
	}
}
