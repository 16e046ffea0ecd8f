package api

import (
	"bytes"
	"regexp"
)

// PlaybookText is the canonical text that PlaybookDigest is taken of: one line of JSON with sorted keys. Its SHA-256 is the digest,
// so whoever has both can check that this is what ran.
//
// A text that holds a credential in plain sight is given with the credential blotted out, and exact is false: secrets are
// never stored, and the digest of what is left is another.
func PlaybookText(p Playbook, plans []StepPlan) (text string, exact bool) {
	full := canonicalPlaybook(p, plans)
	n, err := nodeFromJSON(full)
	if err != nil {
		return "", false // cannot be: it was just written
	}
	var b bytes.Buffer
	n.withoutSecrets().canonical(&b)
	return b.String(), bytes.Equal(b.Bytes(), full)
}

// secretName are names of parameters whose value is a credential, wherever it stands.
var secretName = regexp.MustCompile(`(?i)^(.*[-_.])?(authorization|proxy-authorization|cookie|passw(or)?d|passphrase|pwd|secret|token|api[-_]?key|access[-_]?key|routing[-_]?key|private[-_]?key|sign)$|(password|passwd|secret|token|apikey|routingkey)$`)

// withoutSecrets is a copy without credentials: those that Redact finds in a text, and plain texts under a name that says so.
func (n *node) withoutSecrets() *node {
	c := *n
	if c.kind == nodeText {
		c.value = redactCredentials(c.value)
	}
	c.items = make([]node, len(n.items))
	for i := range n.items {
		c.items[i] = *n.items[i].withoutSecrets()
		if n.kind == nodeMap && i%2 == 1 && n.items[i].kind == nodeText && n.items[i].value != "" && secretName.MatchString(n.items[i-1].value) {
			c.items[i].value = blot
		}
	}
	return &c
}

// Shown is a copy for people to look at: without credentials, also without those in plain texts under a name that says what they are.
func (in Integration) Shown() Integration {
	for _, d := range []**Driver{&in.Spec.Route, &in.Spec.Channel} {
		if *d != nil && (*d).With.node != nil {
			shown := **d
			shown.With.node = shown.With.node.withoutSecrets()
			*d = &shown
		}
	}
	return in
}
