package controller

import (
	"bufio"
	"bytes"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/crypto/ssh"

	"github.com/backstay/backstay/api"
)

// approversFile is the name of the file, in the configuration's folder, that says who may approve playbooks. Where it lies, approvals are
// enforced. It is an allowed_signers file of OpenSSH (ssh-keygen(1)), so that ssh-keygen -Y verify -f approvers reads it too:
//
//	# backstay: scope production
//	# backstay: require people=2 roles=payments playbooks=card-*,ach-*
//	alice@example.com namespaces="playbook-approval@backstay.dev" ssh-ed25519 AAAA... roles=payments,treasury
//	bob@example.com valid-before="20271231Z" sk-ssh-ed25519@openssh.com AAAA...
//
// The principal is the person, one on a line; a person may have several lines, a key may not have several persons. The words after the
// key are a comment to OpenSSH; roles=... among them are the person's roles. Lines that begin with "# backstay:" are comments to
// OpenSSH too: require demands that many people, each with one of the roles, for the playbooks whose names match (every one
// when left out); all that match must be met. scope names this place, for approvals that hold in one place only.
const approversFile = "approvers"

const approversMax = 1 << 20 // bytes

// approvers is what an approvers file says.
type approvers struct {
	signers []signer
	rules   []approvalRule
	scope   string
}

// signer is one key of one person.
type signer struct {
	person        string
	key           string // as it travels in signatures
	roles         []string
	here          bool      // its namespaces admit approvals
	after, before time.Time // zero: no bound
}

// approvalRule demands signatures.
type approvalRule struct {
	people    int
	roles     []string // one of them; any when empty
	playbooks []string // patterns; every playbook when empty
}

var roleName = regexp.MustCompile(`^[a-z0-9][a-z0-9-]{0,62}$`)

// parseApprovers reads an approvers file. Whatever cannot be read is an error: a line that is left out might be the one that demands
// a second person.
func parseApprovers(file string, data []byte) (*approvers, api.Findings) {
	a, findings := &approvers{}, api.Findings{}
	report := func(line int, message, hint string) {
		findings = append(findings, api.Finding{Pos: api.Pos{File: file, Line: line, Col: 1}, Severity: api.SeverityError, Rule: "approvers", Message: message, Hint: hint})
	}
	if len(data) > approversMax {
		report(1, fmt.Sprintf("the file has %d bytes; the most is %d", len(data), approversMax), "")
		return a, findings
	}
	lines := bufio.NewScanner(bytes.NewReader(data))
	lines.Buffer(nil, approversMax+1)
	for n := 1; lines.Scan(); n++ {
		text := strings.TrimSpace(lines.Text())
		comment, isComment := strings.CutPrefix(text, "#")
		order, isOrder := strings.CutPrefix(strings.TrimSpace(comment), "backstay:")
		var err error
		switch {
		case text == "" || isComment && !isOrder:
		case isComment:
			err = a.order(strings.Fields(order))
		default:
			err = a.signer(text)
		}
		if err != nil {
			report(n, err.Error(), "write PERSON [OPTIONS] KEYTYPE KEY [roles=...], or # backstay: require|scope ...")
		}
	}
	if err := lines.Err(); err != nil {
		report(1, err.Error(), "")
	}
	for _, r := range a.rules {
		for _, role := range r.roles {
			if !slices.ContainsFunc(a.signers, func(s signer) bool { return slices.Contains(s.roles, role) }) {
				findings = append(findings, api.Finding{Pos: api.Pos{File: file, Line: 1, Col: 1}, Severity: api.SeverityWarning, Rule: "no-such-role",
					Message: fmt.Sprintf("nobody has the role %q that a rule demands", role), Hint: "add roles=" + role + " after the key of somebody who has it"})
			}
		}
	}
	return a, findings
}

// order takes a line for Backstay: require or scope.
func (a *approvers) order(words []string) error {
	if len(words) == 2 && words[0] == "scope" {
		if a.scope != "" || !roleName.MatchString(words[1]) {
			return fmt.Errorf("scope %s: there is one scope, of lower-case letters, digits and '-'", words[1])
		}
		a.scope = words[1]
		return nil
	}
	if len(words) < 2 || words[0] != "require" {
		return fmt.Errorf("%q is no order", strings.Join(words, " "))
	}
	rule := approvalRule{people: 1}
	for _, word := range words[1:] {
		key, value, _ := strings.Cut(word, "=")
		list := strings.Split(value, ",")
		switch key {
		case "people":
			n, err := strconv.Atoi(value)
			if err != nil || n < 1 || n > 20 {
				return fmt.Errorf("people=%s is not a number from 1 to 20", value)
			}
			rule.people = n
		case "roles":
			if err := rolesOf(list); err != nil {
				return err
			}
			rule.roles = list
		case "playbooks":
			if slices.Contains(list, "") {
				return fmt.Errorf("%s: a name is empty", word)
			}
			rule.playbooks = list
		default:
			return fmt.Errorf("require does not know %q: people=, roles= and playbooks=", word)
		}
	}
	a.rules = append(a.rules, rule)
	return nil
}

func rolesOf(list []string) error {
	for _, role := range list {
		if !roleName.MatchString(role) {
			return fmt.Errorf("%q is not a role: lower-case letters, digits and '-'", role)
		}
	}
	return nil
}

// signer takes a line with a key.
func (a *approvers) signer(text string) error {
	end := strings.IndexAny(text, " \t")
	if end < 0 {
		return fmt.Errorf("there is no key after %q", text)
	}
	s := signer{person: text[:end], here: true}
	if strings.ContainsAny(s.person, `,*?!"`) {
		return fmt.Errorf("%q is not one person: lists, patterns and quotes cannot be counted", s.person)
	}
	key, comment, options, rest, err := ssh.ParseAuthorizedKey([]byte(text[end:]))
	if err != nil || len(rest) > 0 {
		return fmt.Errorf("the key of %s cannot be read", s.person)
	}
	if err := acceptable(key); err != nil {
		return fmt.Errorf("%s: %w", s.person, err)
	}
	s.key = string(key.Marshal())
	for _, o := range options {
		if err := s.option(o); err != nil {
			return fmt.Errorf("%s: %w", s.person, err)
		}
	}
	for _, word := range strings.Fields(comment) {
		if roles, found := strings.CutPrefix(word, "roles="); found {
			list := strings.Split(roles, ",")
			if err := rolesOf(list); err != nil {
				return fmt.Errorf("%s: %w", s.person, err)
			}
			s.roles = append(s.roles, list...)
		}
	}
	for _, o := range a.signers {
		if o.key == s.key && !samePerson(o.person, s.person) {
			return fmt.Errorf("%s and %s have the same key: nobody could tell who signed", o.person, s.person)
		}
	}
	a.signers = append(a.signers, s)
	return nil
}

// option takes one option of a key. Those that OpenSSH knows and that would change whose signature counts are refused.
func (s *signer) option(text string) error {
	name, quoted, _ := strings.Cut(text, "=")
	value := strings.Trim(quoted, `"`)
	var err error
	switch name = strings.ToLower(name); name {
	case "namespaces":
		s.here = matchList(strings.Split(value, ","), api.ApprovalNamespace)
	case "valid-after":
		s.after, err = signerTime(value)
	case "valid-before":
		s.before, err = signerTime(value)
	default:
		return fmt.Errorf("the option %s is not supported: namespaces, valid-after and valid-before are", name)
	}
	if quoted != `"`+value+`"` {
		return fmt.Errorf("the option %s needs its value in quotes, or OpenSSH would not read the line", name)
	}
	return err
}

// signerTime reads OpenSSH's times. Without a Z they are in the zone of the machine that reads them, which is a trap: refused.
func signerTime(text string) (time.Time, error) {
	digits, utc := strings.CutSuffix(text, "Z")
	layouts := map[int]string{8: "20060102", 12: "200601021504", 14: "20060102150405"}
	t, err := time.Parse(layouts[len(digits)], digits)
	if err != nil || !utc {
		return t, fmt.Errorf("%q is not a time: write 20271231Z or 202712312359Z, with the Z for UTC", text)
	}
	return t, nil
}

// samePerson compares names; a capital makes nobody a second person.
func samePerson(a, b string) bool { return strings.EqualFold(a, b) }

// matchList is OpenSSH's pattern list: * and ?, and a pattern after ! that matches refuses whatever the others say.
func matchList(patterns []string, text string) bool {
	yes := false
	for _, p := range patterns {
		p, not := strings.CutPrefix(strings.TrimSpace(p), "!")
		if match(p, text) {
			if not {
				return false
			}
			yes = true
		}
	}
	return yes
}

// match holds a text against a pattern with * and ?, in time proportional to the product of their lengths at most.
func match(pattern, text string) bool {
	p, t, star, mark := 0, 0, -1, 0
	for t < len(text) {
		switch {
		case p < len(pattern) && pattern[p] == '*':
			star, mark = p, t
			p++
		case p < len(pattern) && (pattern[p] == '?' || pattern[p] == text[t]):
			p++
			t++
		case star >= 0:
			mark++
			p, t = star+1, mark
		default:
			return false
		}
	}
	return strings.Trim(pattern[p:], "*") == ""
}
