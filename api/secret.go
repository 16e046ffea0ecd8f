package api

import (
	"encoding/json"
	"fmt"
	"regexp"
	"strconv"
	"strings"
)

// Secret is a text that may hold a credential: written plainly, or as {env: NAME} or {file: PATH}.
// Only the reference is kept; it is resolved at the border, when used, and never printed, logged or stored.
//
// +kubebuilder:pruning:PreserveUnknownFields
type Secret struct {
	Text string // plain text from the spec; check warns where it looks like a credential
	Env  string
	File string
}

// IsZero tells whether nothing was given.
func (s Secret) IsZero() bool { return s == Secret{} }

// String prints the reference, or the text with its credentials blotted out: a Secret that ends up in a message gives nothing away.
func (s Secret) String() string {
	switch {
	case s.Env != "":
		return "{env: " + s.Env + "}"
	case s.File != "":
		return "{file: " + s.File + "}"
	}
	return Redact(s.Text)
}

// GoString does the same for %#v.
func (s Secret) GoString() string { return "api.Secret(" + strconv.Quote(s.String()) + ")" }

// MarshalJSON writes the reference; a plain text is written as it stands in the spec, with its credentials
// blotted out.
func (s Secret) MarshalJSON() ([]byte, error) {
	switch {
	case s.Env != "":
		return json.Marshal(map[string]string{"env": s.Env})
	case s.File != "":
		return json.Marshal(map[string]string{"file": s.File})
	}
	return json.Marshal(Redact(s.Text))
}

// UnmarshalJSON reads a plain text, {env: NAME} or {file: PATH}.
func (s *Secret) UnmarshalJSON(b []byte) error {
	*s = Secret{}
	if string(b) == "null" {
		return nil
	}
	if len(b) > 0 && b[0] == '"' {
		return json.Unmarshal(b, &s.Text)
	}
	var ref struct{ Env, File string }
	if err := json.Unmarshal(b, &ref); err != nil || (ref.Env == "") == (ref.File == "") {
		return fmt.Errorf("want a text, {env: NAME} or {file: PATH}")
	}
	s.Env, s.File = ref.Env, ref.File
	return nil
}

// blot stands where a credential stood.
const blot = "xxxxx"

// Credentials outside of a URL's user part: key=value of query strings and connection strings, the user part of MySQL's
// own notation, and authorization headers.
var (
	keyedSecret  = regexp.MustCompile(`(?i)([a-z0-9_.-]*(?:passw(?:or)?d|passphrase|pwd|secret|token|api[_-]?key|access[_-]?key|signature)[a-z0-9_]*=)('[^']*'|"[^"]*"|[^&\s"'#;,)]+)`)
	mysqlSecret  = regexp.MustCompile(`([^\s:/@"']+):\S+@(tcp|tcp6|unix)\(`)
	headerSecret = regexp.MustCompile(`(?i)(authorization["']?\s*[:=]\s*["']?(?:bearer|basic|token)\s+)[^\s"']+`)
)

// Redact blots out credentials in a text: the password of every URL (amqp://user:secret@host becomes
// amqp://user:xxxxx@host), secrets in query and connection strings (?token=, password=), authorization headers, keys that
// show by their form, and card numbers (see MaskCards). It is for error texts and logs, and errs on the side of blotting out too
// much. Redacting twice changes nothing. It costs a few microseconds a sentence.
func Redact(text string) string { return MaskCards(redactCredentials(text)) }

func redactCredentials(text string) string {
	if strings.Contains(text, "://") {
		text = redactURLs(text)
	}
	if strings.Contains(text, "=") {
		text = keyedSecret.ReplaceAllString(text, "${1}"+blot)
	}
	if strings.Contains(text, "@") {
		text = mysqlSecret.ReplaceAllString(text, "${1}:"+blot+"@${2}(")
	}
	if strings.Contains(text, "uthorization") || strings.Contains(text, "UTHORIZATION") {
		text = headerSecret.ReplaceAllString(text, "${1}"+blot)
	}
	if len(text) > len("Bearer ") {
		text = redactShapes(text)
	}
	return text
}

// redactURLs blots out the password between :// and @.
func redactURLs(text string) string {
	var out strings.Builder
	for rest := text; ; {
		i := strings.Index(rest, "://")
		if i < 0 {
			return out.String() + rest
		}
		out.WriteString(rest[:i+3])
		rest = rest[i+3:]
		colon, at := userPart(rest)
		if at < 0 {
			continue
		}
		out.WriteString(rest[:colon] + ":" + blot)
		rest = rest[at:]
	}
}

// userPart finds the colon before the password and the @ after it, in what follows ://; at is -1 where there is no password.
// A password with an unescaped / or ? makes no valid URL but is a password all the same: what follows the colon is taken
// for a port only where it is a number.
func userPart(s string) (colon, at int) {
	word := s
	if end := strings.IndexAny(word, " \t\r\n\"'<>`"); end >= 0 {
		word = word[:end]
	}
	authority := word
	if end := strings.IndexAny(authority, "/?#"); end >= 0 {
		authority = authority[:end]
	}
	if at = strings.LastIndexByte(authority, '@'); at >= 0 {
		if colon = strings.IndexByte(authority[:at], ':'); colon < 0 {
			at = -1
		}
		return colon, at
	}
	colon = strings.IndexByte(authority, ':')
	if colon < 0 || strings.HasPrefix(authority, "[") || strings.Trim(authority[colon+1:], "0123456789") == "" && colon+1 < len(authority) {
		return 0, -1
	}
	return colon, strings.LastIndexByte(word, '@')
}
