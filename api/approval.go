package api

import (
	"fmt"
	"regexp"
	"strings"
	"time"
	"unicode"
)

// ApprovalNamespace is the namespace of the SSH signatures on approvals: a signature that was made for another purpose,
// such as a commit, never counts as one.
const ApprovalNamespace = "playbook-approval@backstay.dev"

// KindApproval is the kind of document that allows a playbook its mode.
const KindApproval Kind = "Approval"

// Approval says that people have read exactly one version of one playbook and allow it a mode until a time. It lies beside the
// playbook, or is given to a running controller. What it says is worth as much as the signatures under its Message.
type Approval struct {
	Metadata Metadata     `json:"metadata" rule:"required" doc:"Names the object; backstay sign names it like its playbook."`
	Spec     ApprovalSpec `json:"spec" rule:"required" doc:"What is approved, and by whom."`
	Pos      Pos          `json:"-"`
}

// ApprovalSpec is the part of an Approval that backstay sign writes. All but the signatures is signed.
type ApprovalSpec struct {
	// +kubebuilder:validation:MaxLength=63
	// +kubebuilder:validation:Pattern=`^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$`
	Playbook string `json:"playbook" rule:"required,name" doc:"The playbook."`
	// +kubebuilder:validation:MinLength=1
	Digest string `json:"digest" rule:"required" doc:"The playbook's digest: sha256: and 64 hexadecimal digits. backstay playbook digest prints it."`
	Author string `json:"author,omitempty" doc:"Who wrote the playbook, as its label author says; the author's own signature never counts."`
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:Enum=approve;auto
	Mode Mode `json:"mode" rule:"required,oneof=approve|auto" doc:"The highest mode that is allowed."`
	// +kubebuilder:validation:MinLength=1
	Expires    string   `json:"expires" rule:"required" doc:"Until when, in UTC: 2027-02-20T00:00:00Z."`
	Scope      string   `json:"scope,omitempty" doc:"Where it holds, as the approvers file there calls it, such as production; anywhere when left out."`
	Report     string   `json:"report,omitempty" doc:"Digest of the scenario report that the approvers read."`
	Comment    string   `json:"comment,omitempty" doc:"One line for the next reader, such as a ticket's number."`
	Signatures []string `json:"signatures,omitempty" rule:"max=20" doc:"Armored SSH signatures over the message, as ssh-keygen -Y sign makes them."`
}

var validDigest = regexp.MustCompile(`^sha256:[0-9a-f]{64}$`)

// Check holds the texts to one line each, so that the signed message can be read only one way.
func (s *ApprovalSpec) Check(report func(field, rule, message, hint string)) {
	if !validDigest.MatchString(s.Digest) {
		report("digest", "bad-value", fmt.Sprintf("%q is not a digest", s.Digest), "write sha256: and 64 hexadecimal digits, as backstay playbook digest prints them")
	}
	if s.Report != "" && !validDigest.MatchString(s.Report) {
		report("report", "bad-value", fmt.Sprintf("%q is not a digest", s.Report), "write sha256: and 64 hexadecimal digits")
	}
	if t := s.Until(); t.IsZero() || t.Format(time.RFC3339) != s.Expires {
		report("expires", "bad-value", fmt.Sprintf("%q is not a time in UTC", s.Expires), "write it like 2027-02-20T00:00:00Z")
	}
	if s.Scope != "" && !validName.MatchString(s.Scope) {
		report("scope", "bad-name", fmt.Sprintf("%q is not a name", s.Scope), nameHint(s.Scope))
	}
	for _, line := range []struct{ field, text string }{{"author", s.Author}, {"comment", s.Comment}} {
		if !isLine(line.text) {
			report(line.field, "bad-value", "it must be one line of printable text, at most 200 bytes, without blanks at its ends", "keep it short: it is part of what people sign")
		}
	}
}

func isLine(text string) bool {
	return len(text) <= 200 && text == strings.TrimSpace(text) && text != "-" && !strings.ContainsFunc(text, func(c rune) bool { return !unicode.IsPrint(c) })
}

// Until is when the approval ends; the zero time where its text cannot be read.
func (s *ApprovalSpec) Until() time.Time {
	t, err := time.Parse(time.RFC3339, s.Expires)
	if err != nil {
		return time.Time{}
	}
	return t.UTC()
}

// Message is what approvers sign: UTF-8 text, one line for each fact, in this order, each ended by a newline; "-" stands
// for what is not given.
//
//	backstay playbook approval v1
//	playbook: card-gateway-failover
//	digest: sha256:9b3c...
//	author: bob@example.com
//	mode: auto
//	expires: 2027-02-20T00:00:00Z
//	scope: production
//	report: -
//	comment: CHG-1042
//
// Compatibility: the text of version 1 never changes, or signatures would be void. Another fact needs another first line.
func (s *ApprovalSpec) Message() []byte {
	var b strings.Builder
	b.WriteString("backstay playbook approval v1\n")
	for _, line := range []struct{ key, value string }{{"playbook", s.Playbook}, {"digest", s.Digest}, {"author", s.Author}, {"mode", string(s.Mode)},
		{"expires", s.Expires}, {"scope", s.Scope}, {"report", s.Report}, {"comment", s.Comment}} {
		if line.value == "" {
			line.value = "-"
		}
		b.WriteString(line.key + ": " + line.value + "\n")
	}
	return []byte(b.String())
}

// Rank orders the modes from least to most trust; an unknown mode has the least.
func (m Mode) Rank() int {
	switch m {
	case ModeSuggest:
		return 1
	case ModeApprove:
		return 2
	case ModeAuto:
		return 3
	}
	return 0
}

// Lesser is the one of two modes that trusts less.
func (m Mode) Lesser(o Mode) Mode {
	if o.Rank() < m.Rank() {
		return o
	}
	return m
}

// Author is who wrote the playbook, as its label author says; empty where it has none.
func (p *Playbook) Author() string { return p.Metadata.Labels["author"] }

// Place is where a value of an object stands in its file, by a path such as spec.mode; the object's own place where the value is
// not written, and the zero Pos for an object that was read from no file.
func (s *Set) Place(kind Kind, name, path string) Pos {
	src, known := s.places[object{kind, name}]
	if !known {
		return Pos{}
	}
	n := src.read().at(path)
	return Pos{src.file, int(n.line), int(n.col)}
}
