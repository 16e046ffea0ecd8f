package api

import (
	"encoding/json"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Duration is a time span, written 250ms, 30s, 5m, 2h or 7d. It is a struct so that CRD generators accept it.
type Duration struct{ time.Duration }

// Seconds makes a Duration of n seconds.
func Seconds(n float64) Duration { return Duration{time.Duration(n * float64(time.Second))} }

// ParseDuration reads Go's notation, and d for days of 24 hours.
func ParseDuration(s string) (Duration, error) {
	if n, found := strings.CutSuffix(s, "d"); found {
		if days, err := strconv.ParseUint(n, 10, 16); err == nil {
			return Duration{time.Duration(days) * 24 * time.Hour}, nil
		}
	}
	d, err := time.ParseDuration(s)
	if err != nil || d < 0 {
		return Duration{}, fmt.Errorf("%q is not a duration: write 250ms, 30s, 5m, 2h or 7d", s)
	}
	return Duration{d}, nil
}

// MarshalText writes the duration as ParseDuration reads it.
func (d Duration) MarshalText() ([]byte, error) { return []byte(d.String()), nil }

// UnmarshalText reads what MarshalText wrote.
func (d *Duration) UnmarshalText(b []byte) (err error) {
	*d, err = ParseDuration(string(b))
	return err
}

// Percent is a share in parts per million: 20% is 200,000. Exact, so that digests agree everywhere.
type Percent struct{ PPM int64 }

// ParsePercent reads 20% or 99.95%.
func ParsePercent(s string) (Percent, error) {
	n, found := strings.CutSuffix(s, "%")
	f, err := strconv.ParseFloat(strings.TrimSpace(n), 64)
	if !found || err != nil || f < 0 || f > 100 || math.IsNaN(f) {
		return Percent{}, fmt.Errorf("%q is not a share: write 0%% to 100%%, such as 20%% or 99.95%%", s)
	}
	return Percent{int64(math.Round(f * 10_000))}, nil
}

// Ratio is the share as a number from 0 to 1.
func (p Percent) Ratio() float64 { return float64(p.PPM) / 1e6 }

// String writes the share as ParsePercent reads it.
func (p Percent) String() string {
	return strconv.FormatFloat(float64(p.PPM)/10_000, 'f', -1, 64) + "%"
}

// MarshalText writes the share as ParsePercent reads it.
func (p Percent) MarshalText() ([]byte, error) { return []byte(p.String()), nil }

// UnmarshalText reads what MarshalText wrote.
func (p *Percent) UnmarshalText(b []byte) (err error) { *p, err = ParsePercent(string(b)); return err }

// Rate is a number of things in a time.
type Rate struct {
	N   int64
	Per time.Duration
}

// ParseRate reads 20/s, 600/m, 2/1h or 2 per 1h.
func ParseRate(s string) (Rate, error) {
	n, per, found := strings.Cut(strings.Replace(s, " per ", "/", 1), "/")
	count, err := strconv.ParseInt(strings.TrimSpace(n), 10, 64)
	per = strings.TrimSpace(per)
	if per != "" && (per[0] < '0' || per[0] > '9') {
		per = "1" + per
	}
	d, derr := ParseDuration(per)
	if !found || err != nil || derr != nil || count < 1 || d.Duration <= 0 {
		return Rate{}, fmt.Errorf("%q is not a rate: write 20/s, 600/m or 2 per 1h", s)
	}
	return Rate{count, d.Duration}, nil
}

// IsZero tells whether no rate was given.
func (r Rate) IsZero() bool { return r.N == 0 }

// PerSecond is the rate as a number; 0 where none was given.
func (r Rate) PerSecond() float64 {
	if r.N == 0 {
		return 0
	}
	return float64(r.N) / r.Per.Seconds()
}

// String writes the rate as ParseRate reads it.
func (r Rate) String() string {
	if r.N == 0 {
		return ""
	}
	return fmt.Sprintf("%d per %s", r.N, r.Per)
}

// MarshalText writes the rate as ParseRate reads it.
func (r Rate) MarshalText() ([]byte, error) { return []byte(r.String()), nil }

// UnmarshalText reads what MarshalText wrote.
func (r *Rate) UnmarshalText(b []byte) (err error) {
	if len(b) == 0 {
		*r = Rate{}
		return nil
	}
	*r, err = ParseRate(string(b))
	return err
}

// Money is amounts in minor units per ISO 4217 currency: {"EUR": 50000} is 500.00 EUR (JPY has no minor unit: 500 is 500 JPY).
// Amounts of different currencies never mix.
type Money map[string]int64

// Currencies lists the currencies in order: the only way to walk a Money, so that nothing depends on map order.
func (m Money) Currencies() []string {
	keys := make([]string, 0, len(m))
	for k := range m { // sorted below
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}

// Plus adds n to m in a new Money.
func (m Money) Plus(n Money) Money {
	if len(n) == 0 {
		return m
	}
	sum := Money{}
	for _, c := range m.Currencies() {
		sum[c] = m[c]
	}
	for _, c := range n.Currencies() {
		sum[c] += n[c]
	}
	return sum
}

// Times multiplies each amount.
func (m Money) Times(n int64) Money {
	out := Money{}
	for _, c := range m.Currencies() {
		out[c] = m[c] * n
	}
	return out
}

// Exceeds tells whether m is over limit in any currency that limit bounds. A currency that a non-empty
// limit does not name is not allowed at all: an unbounded currency would be a hole in the guard.
func (m Money) Exceeds(limit Money) bool {
	if len(limit) == 0 {
		return false
	}
	for _, c := range m.Currencies() {
		if m[c] > limit[c] {
			return true
		}
	}
	return false
}

// equal tells whether all amounts agree; a currency that is not named counts as 0.
func (m Money) equal(n Money) bool {
	for _, c := range append(m.Currencies(), n.Currencies()...) {
		if m[c] != n[c] {
			return false
		}
	}
	return true
}

// String prints 500.00 EUR, several joined by " + ".
func (m Money) String() string {
	parts := make([]string, 0, len(m))
	for _, c := range m.Currencies() {
		parts = append(parts, formatAmount(m[c], c))
	}
	return strings.Join(parts, " + ")
}

// minorDigits lists the currencies of ISO 4217 whose minor unit is not 1/100.
var minorDigits = map[string]int{
	"BIF": 0, "CLP": 0, "DJF": 0, "GNF": 0, "ISK": 0, "JPY": 0, "KMF": 0, "KRW": 0, "PYG": 0, "RWF": 0, "UGX": 0, "VND": 0, "VUV": 0, "XAF": 0, "XOF": 0, "XPF": 0,
	"BHD": 3, "IQD": 3, "JOD": 3, "KWD": 3, "LYD": 3, "OMR": 3, "TND": 3,
}

func formatAmount(n int64, currency string) string {
	digits, odd := minorDigits[currency]
	if !odd {
		digits = 2
	}
	sign := ""
	u := uint64(n)
	if n < 0 {
		sign, u = "-", -uint64(n)
	}
	if digits == 0 {
		return fmt.Sprintf("%s%d %s", sign, u, currency)
	}
	unit := uint64(math.Pow10(digits))
	return fmt.Sprintf("%s%d.%0*d %s", sign, u/unit, digits, u%unit, currency)
}

// Secret is a text that may hold a credential: written plainly, or as {env: NAME} or {file: PATH}.
// Only the reference is kept; it is resolved at the border, when used, and never printed, logged or stored.
type Secret struct {
	Text string // plain text from the spec; check warns where it looks like a credential
	Env  string
	File string
}

// IsZero tells whether nothing was given.
func (s Secret) IsZero() bool { return s == Secret{} }

// MarshalJSON writes the reference; a plain text is written as it stands in the spec, with any
// password in a URL blotted out.
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

// Redact blots out the password of every URL in a text: amqp://user:secret@host becomes amqp://user:xxxxx@host.
// For error texts and logs.
func Redact(text string) string {
	out, rest := "", text
	for {
		i := strings.Index(rest, "://")
		if i < 0 {
			return out + rest
		}
		authority := rest[i+3:]
		if end := strings.IndexAny(authority, "/?# \t\n\"'"); end >= 0 {
			authority = authority[:end]
		}
		at := strings.LastIndexByte(authority, '@')
		colon := -1
		if at >= 0 {
			colon = strings.IndexByte(authority[:at], ':')
		}
		if colon < 0 {
			out, rest = out+rest[:i+3], rest[i+3:]
			continue
		}
		out += rest[:i+3] + authority[:colon] + ":xxxxx"
		rest = rest[i+3+at:]
	}
}
