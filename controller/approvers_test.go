package controller

import (
	"strings"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"
)

// keyLine is the public half of a key as files have it.
func keyLine(key ssh.Signer) string {
	return strings.TrimSpace(string(ssh.MarshalAuthorizedKey(key.PublicKey())))
}

func TestParseApprovers(t *testing.T) {
	one, two := newKey(t, "ed25519"), newKey(t, "sk-p256")
	a, findings := parseApprovers("approvers", []byte("# who may approve\n\n# backstay: scope production\r\n#backstay: require people=2 roles=payments,treasury playbooks=card-*,!card-test\n"+
		"alice@example.com NameSpaces=\"git,playbook-approval@*\",valid-after=\"20260101Z\" "+keyLine(one)+" laptop roles=payments,sre\n"+
		"bob\t"+keyLine(two)+" roles=treasury\n"))
	if len(findings) > 0 {
		t.Fatal(findings)
	}
	if a.scope != "production" || len(a.rules) != 1 || a.rules[0].people != 2 || len(a.signers) != 2 {
		t.Fatalf("%+v", a)
	}
	alice, bob := a.signers[0], a.signers[1]
	if alice.person != "alice@example.com" || !alice.here || strings.Join(alice.roles, " ") != "payments sre" || !alice.after.Equal(time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)) {
		t.Errorf("%+v", alice)
	}
	if bob.person != "bob" || !bob.here || bob.key != string(two.PublicKey().Marshal()) {
		t.Errorf("%+v", bob)
	}
	for name, want := range map[string]bool{"card-gateway": true, "card-test": false, "ach": false} {
		if matchList(a.rules[0].playbooks, name) != want {
			t.Errorf("the rule on %s: want %t", name, want)
		}
	}
}

// TestApproversFailClosed: a line that cannot be read is an error, because it may be the one that demands a second person.
func TestApproversFailClosed(t *testing.T) {
	key, other := keyLine(newKey(t, "ed25519")), newKey(t, "ed25519")
	for text, want := range map[string]string{
		"alice":                                                           "no key",
		"alice ssh-ed25519 AAAA":                                          "cannot be read",
		"alice " + keyLine(newKey(t, "rsa")):                              "do not count",
		"*@example.com " + key:                                            "not one person",
		"alice,bob " + key:                                                "not one person",
		"alice cert-authority " + key:                                     "not supported",
		"alice valid-before=\"20271231\" " + key:                          "with the Z",
		"alice valid-before=\"2027Z\" " + key:                             "not a time",
		"alice " + key + " roles=Payments":                                "not a role",
		"alice " + key + "\nbob " + key:                                   "the same key",
		"alice namespaces=git " + key:                                     "in quotes",
		"# backstay: requires people=2":                                   "no order",
		"# backstay: require":                                             "no order",
		"# backstay: require people=0":                                    "not a number",
		"# backstay: require peopel=2":                                    "does not know",
		"# backstay: require roles=":                                      "not a role",
		"# backstay: scope Production":                                    "scope",
		"# backstay: scope a\n# backstay:scope b":                         "scope",
		"# backstay: require people=1 roles=ops\nalice " + keyLine(other): "nobody has the role",
	} {
		_, findings := parseApprovers("approvers", []byte(text))
		if len(findings) != 1 || !strings.Contains(findings[0].Message, want) || findings[0].Line < 1 {
			t.Errorf("%q: %v, want one with %q", text, findings, want)
		}
	}
}

func FuzzParseApprovers(f *testing.F) {
	key := keyLine(newKey(f, "ed25519"))
	f.Add([]byte("# backstay: require people=2 roles=a playbooks=b-*\n# backstay: scope c\nalice namespaces=\"x*,!y\",valid-after=\"20260101Z\" " + key + " roles=a\n"))
	f.Add([]byte("alice " + key + "\nAlice " + key))
	f.Fuzz(func(t *testing.T, data []byte) {
		a, findings := parseApprovers("approvers", data)
		if findings.Failed() {
			return
		}
		for i, s := range a.signers {
			if s.person == "" || s.key == "" || strings.ContainsAny(s.person, " \t,*?") {
				t.Errorf("signer %d: %+v", i, s)
			}
			for _, o := range a.signers[:i] {
				if o.key == s.key && !samePerson(o.person, s.person) {
					t.Errorf("%s and %s share a key", o.person, s.person)
				}
			}
		}
		for _, r := range a.rules {
			if r.people < 1 {
				t.Errorf("a rule demands nobody: %+v", r)
			}
		}
	})
}
