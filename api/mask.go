package api

import (
	"regexp"
	"strings"
)

// Credentials that show by their form, without a name before them.
var (
	bearer  = regexp.MustCompile(`(?i)\b((?:bearer|basic)\s+)([A-Za-z0-9+/_.~-]{12,}=*)`)
	jwt     = regexp.MustCompile(`\beyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]*`)
	awsID   = regexp.MustCompile(`\b(?:AKIA|ASIA)[A-Z0-9]{16}\b`)
	live    = regexp.MustCompile(`\b(?:sk|rk|pk)_(?:live|test)_[A-Za-z0-9]{10,}\b|\bgh[pousr]_[A-Za-z0-9]{20,}\b|\bxox[abprs]-[A-Za-z0-9-]{10,}`)
	quoted  = regexp.MustCompile(`(?i)("[a-z0-9_.-]*(?:passw(?:or)?d|passphrase|pwd|secret|token|api[_-]?key|access[_-]?key)[a-z0-9_]*\\?"\s*:\s*\\?")((?:[^"\\]|\\[^"])+)`)
	pem     = regexp.MustCompile(`(?s)(-----BEGIN [A-Z ]*PRIVATE KEY-----).*?(-----END [A-Z ]*PRIVATE KEY-----|$)`)
	sayings = regexp.MustCompile(`(?i)\b(passw(?:or)?d|passphrase|secret|token|api[ _-]?key|secret access key)(\s*(?::|\bis\b)\s*)([^\s"',;{}]{6,})`)
)

// redactShapes blots out credentials by their form. Each expression is tried only where a cheap look says that it may match.
func redactShapes(text string) string {
	low := strings.ToLower(text)
	if strings.Contains(low, "bearer") || strings.Contains(low, "basic") {
		text = bearer.ReplaceAllString(text, "${1}"+blot)
	}
	if strings.Contains(text, "eyJ") {
		text = jwt.ReplaceAllString(text, blot)
	}
	if strings.Contains(text, "AKIA") || strings.Contains(text, "ASIA") {
		text = awsID.ReplaceAllString(text, blot)
	}
	if strings.Contains(text, "_live_") || strings.Contains(text, "_test_") || strings.Contains(text, "gh") || strings.Contains(text, "xox") {
		text = live.ReplaceAllString(text, blot)
	}
	if strings.Contains(text, "PRIVATE KEY-----") {
		text = pem.ReplaceAllString(text, "${1}"+blot+"${2}")
	}
	for _, word := range [...]string{"pass", "pwd", "secret", "token", "key"} {
		if strings.Contains(low, word) {
			text = quoted.ReplaceAllString(text, "${1}"+blot)
			return sayings.ReplaceAllStringFunc(text, blotSaying)
		}
	}
	return text
}

// blotSaying blots out what follows "password is" or "token:" where it has a digit: "the password is incorrect" names none.
func blotSaying(saying string) string {
	m := sayings.FindStringSubmatch(saying)
	if !strings.ContainsAny(m[3], "0123456789") {
		return saying
	}
	return m[1] + m[2] + blot
}

// The lengths of card numbers.
const cardMin, cardMax = 13, 19

// MaskCards hides card numbers: runs of 13 to 19 digits, plain or in groups with one blank or hyphen between them, whose check
// digit (Luhn) is right. The last four digits stay, so that people can tell two cards apart.
//
// One number in ten has a right check digit by chance. So as not to maim times and sequence numbers, a number counts only if it
// begins as cards do: with 2 to 6, or with 1 at a length of 15. Fractions and hexadecimal digests are left alone.
func MaskCards(text string) string {
	if !manyDigits(text) {
		return text
	}
	for i := 0; i < len(text); {
		if !isDigit(text[i]) {
			i++
			continue
		}
		end, digits := cardAt(text, i)
		if digits > 0 && !withinNumber(text, i, end) {
			out := []byte(text)
			hide(out[i:end], digits-4)
			text = string(out)
			for i < end && !isDigit(text[i]) { // another number may begin with the digits that stay
				i++
			}
			continue
		}
		i = end
	}
	return text
}

// manyDigits tells whether there are enough digits at all: most texts have too few, and end here.
func manyDigits(text string) bool {
	n := 0
	for i := 0; i < len(text); i++ {
		if isDigit(text[i]) {
			if n++; n >= cardMin {
				return true
			}
		} else if text[i] != ' ' && text[i] != '-' {
			n = 0
		}
	}
	return false
}

func isDigit(c byte) bool { return '0' <= c && c <= '9' }

// cardAt looks for a card number that begins at i: one plain run of digits, or groups of at least three with the same single separator
// between them. It gives the end of the longest one and how many digits it has; where there is none, 0 and the end of the first
// group: another one may begin after it.
func cardAt(text string, i int) (end, n int) {
	var buf [cardMax + 1]byte
	digits := buf[:0]
	group := func(from int) int {
		for ; from < len(text) && isDigit(text[from]); from++ {
			if len(digits) <= cardMax {
				digits = append(digits, text[from])
			}
		}
		return from
	}
	first := group(i)
	end = first
	for next := first; ; {
		if len(digits) >= cardMin && len(digits) <= cardMax && isCard(digits) {
			end, n = next, len(digits)
		}
		if first-i < 3 || first-i > 6 || len(digits) >= cardMax || next+3 >= len(text) || text[next] != ' ' && text[next] != '-' || text[next] != text[first] ||
			!isDigit(text[next+1]) || !isDigit(text[next+2]) || !isDigit(text[next+3]) {
			return end, n
		}
		next = group(next + 1)
	}
}

func isCard(digits []byte) bool {
	if d := digits[0]; (d < '2' || d > '6') && (d != '1' || len(digits) != 15) {
		return false
	}
	sum := 0
	for i := range digits {
		d := int(digits[len(digits)-1-i] - '0')
		if i%2 == 1 {
			if d *= 2; d > 9 {
				d -= 9
			}
		}
		sum += d
	}
	return sum%10 == 0
}

// withinNumber tells whether the digits are the fraction of a number, or part of a hexadecimal digest.
func withinNumber(text string, from, to int) bool {
	if from >= 2 && text[from-1] == '.' && isDigit(text[from-2]) {
		return true
	}
	hex := func(c byte) bool { return isDigit(c) || 'a' <= c && c <= 'f' }
	for from > 0 && hex(text[from-1]) {
		from--
	}
	for to < len(text) && hex(text[to]) {
		to++
	}
	return to-from >= 32
}

// hide blots out the first n digits.
func hide(b []byte, n int) {
	for i := range b {
		if n > 0 && isDigit(b[i]) {
			b[i] = 'x'
			n--
		}
	}
}
