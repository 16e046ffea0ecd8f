package live

import (
	"strings"

	"github.com/backstay/backstay/api"
)

// Border is what every text from outside passes before it is kept, decided on, shown or written to the log: answers of targets, rows,
// outcomes of actions, words of people. Zero means api.Redact, and keys as they are.
type Border struct {
	Clean    func(text string) string // blots out credentials and card numbers
	Personal func(key string) string  // hashes a key that names a person, with a key of its own
}

func (b Border) orDefault() Border {
	if b.Clean == nil {
		b.Clean = api.Redact
	}
	if b.Personal == nil {
		b.Personal = func(key string) string { return key }
	}
	return b
}

// observation cleans what a probe saw. Keys of a probe that is marked personal become keyed hashes, also where its reason names
// them; so do keys that are card numbers, whoever marked what: two cards must stay two keys.
func (b Border) observation(o *api.Observation, personal bool) {
	var pairs []string // what to replace in the reason
	hashed := func(key string) string {
		if !personal && api.MaskCards(key) == key {
			return b.Clean(key)
		}
		h := b.Personal(key)
		if h != key && o.Reason != "" && len(key) > 2 && strings.Contains(o.Reason, key) {
			pairs = append(pairs, key, h)
		}
		return h
	}
	for i := range o.Series {
		o.Series[i].Key = hashed(o.Series[i].Key)
	}
	for i := range o.Keys {
		o.Keys[i] = hashed(o.Keys[i])
	}
	if len(pairs) > 0 {
		o.Reason = strings.NewReplacer(pairs...).Replace(o.Reason)
	}
	if o.Reason != "" {
		o.Reason = b.Clean(o.Reason)
	}
}

// outcome cleans what an action says. Facts and calls are copied: the action may keep its own.
func (b Border) outcome(o *api.Outcome) {
	o.Text = b.Clean(o.Text)
	facts := make([]api.Fact, len(o.Facts))
	for i, f := range o.Facts {
		facts[i] = api.Fact{Name: b.Clean(f.Name), Value: b.Clean(f.Value)}
	}
	calls := make([]api.CallFact, len(o.Calls))
	for i, c := range o.Calls {
		c.Target, c.Status = b.Clean(c.Target), b.Clean(c.Status)
		calls[i] = c
	}
	if len(facts) > 0 {
		o.Facts = facts
	}
	if len(calls) > 0 {
		o.Calls = calls
	}
}

// estimate cleans what an action found. Its before-image stays as it is: undo restores exactly that, and a masked name would
// restore something else.
func (b Border) estimate(e *api.Estimate) { e.Text = b.Clean(e.Text) }

// decision, pause: what people write.
func (b Border) decision(d api.Decision) api.Decision {
	d.By, d.Reason = b.Clean(d.By), b.Clean(d.Reason)
	return d
}

func (b Border) pause(p api.Pause) api.Pause {
	p.Owner, p.Reason = b.Clean(p.Owner), b.Clean(p.Reason)
	return p
}
