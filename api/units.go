package api

import (
	"fmt"
	"math"
	"math/bits"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Duration is a time span, written 250ms, 30s, 5m, 2h or 7d. It is a struct so that CRD generators accept it.
//
// +kubebuilder:validation:Type=string
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

// String writes the duration as ParseDuration reads it, without the zeros of Go's notation: 2h and 7d, not 2h0m0s and 168h0m0s.
func (d Duration) String() string {
	const day = 24 * time.Hour
	if d.Duration >= 2*day && d.Duration%day == 0 {
		return strconv.FormatInt(int64(d.Duration/day), 10) + "d"
	}
	s := d.Duration.String()
	if strings.HasSuffix(s, "m0s") {
		s = s[:len(s)-2]
	}
	if strings.HasSuffix(s, "h0m") {
		s = s[:len(s)-2]
	}
	return s
}

// MarshalText writes the duration as ParseDuration reads it.
func (d Duration) MarshalText() ([]byte, error) { return []byte(d.String()), nil }

// UnmarshalText reads what MarshalText wrote.
func (d *Duration) UnmarshalText(b []byte) (err error) {
	*d, err = ParseDuration(string(b))
	return err
}

// Percent is a share in parts per million: 20% is 200,000. Exact, so that digests agree everywhere.
//
// +kubebuilder:validation:Type=string
type Percent struct{ PPM int64 }

// ParsePercent reads 20% or 99.95%. At most four digits follow the point: more would be rounded, and a share is exact.
func ParsePercent(s string) (Percent, error) {
	bad := fmt.Errorf("%q is not a share: write 0%% to 100%%, such as 20%% or 99.95%%", s)
	number, found := strings.CutSuffix(s, "%")
	whole, fraction, point := strings.Cut(strings.TrimSpace(number), ".")
	if !found || len(fraction) > 4 || point && fraction == "" {
		return Percent{}, bad
	}
	n, err := strconv.ParseUint(whole, 10, 16)
	f, errFraction := strconv.ParseUint((fraction + "0000")[:4], 10, 16)
	ppm := int64(n)*10_000 + int64(f)
	if err != nil || errFraction != nil || ppm > 1_000_000 {
		return Percent{}, bad
	}
	return Percent{ppm}, nil
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
//
// +kubebuilder:validation:Type=string
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
	if r.N == 0 || r.Per <= 0 {
		return 0
	}
	return float64(r.N) / r.Per.Seconds()
}

// String writes the rate as ParseRate reads it.
func (r Rate) String() string {
	if r.N == 0 {
		return ""
	}
	switch r.Per {
	case time.Second:
		return fmt.Sprintf("%d/s", r.N)
	case time.Minute:
		return fmt.Sprintf("%d/m", r.N)
	}
	return fmt.Sprintf("%d per %s", r.N, Duration{r.Per})
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

// Plus adds n to m in a new Money. A sum beyond the range of int64 stays at its end: a guard that compares it with a limit
// then refuses, where a wrapped sum would have let it through.
func (m Money) Plus(n Money) Money {
	sum := make(Money, len(m)+len(n))
	for _, c := range m.Currencies() {
		sum[c] = m[c]
	}
	for _, c := range n.Currencies() {
		sum[c] = addSaturated(sum[c], n[c])
	}
	return sum
}

func addSaturated(a, b int64) int64 {
	switch {
	case b > 0 && a > math.MaxInt64-b:
		return math.MaxInt64
	case b < 0 && a < math.MinInt64-b:
		return math.MinInt64
	}
	return a + b
}

// Times multiplies each amount in a new Money. Like Plus it stays at the end of the range.
func (m Money) Times(n int64) Money {
	out := make(Money, len(m))
	for _, c := range m.Currencies() {
		out[c] = timesSaturated(m[c], n)
	}
	return out
}

func timesSaturated(a, b int64) int64 {
	hi, lo := bits.Mul64(magnitude(a), magnitude(b))
	negative := (a < 0) != (b < 0)
	switch {
	case negative && (hi > 0 || lo >= 1<<63):
		return math.MinInt64
	case negative:
		return -int64(lo)
	case hi > 0 || lo > math.MaxInt64:
		return math.MaxInt64
	}
	return int64(lo)
}

func magnitude(n int64) uint64 {
	if n < 0 {
		return -uint64(n)
	}
	return uint64(n)
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
	u := magnitude(n)
	if n < 0 {
		sign = "-"
	}
	if digits == 0 {
		return fmt.Sprintf("%s%d %s", sign, u, currency)
	}
	unit := uint64(math.Pow10(digits))
	return fmt.Sprintf("%s%d.%0*d %s", sign, u/unit, digits, u%unit, currency)
}
