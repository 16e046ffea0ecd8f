package detect

import (
	"math"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"
)

// number prints a figure as people say it: 5,000 or 12.5 or 0.0342.
func number(v float64) string {
	v = within(v)
	abs := math.Abs(v)
	switch {
	case abs >= 1e15 || abs != 0 && abs < 1e-4:
		return strconv.FormatFloat(v, 'g', 4, 64)
	case v == math.Trunc(v) || abs >= 1000:
		return grouped(strconv.FormatFloat(v, 'f', 0, 64))
	case abs >= 100:
		return trim(strconv.FormatFloat(v, 'f', 1, 64))
	case abs >= 1:
		return trim(strconv.FormatFloat(v, 'f', 2, 64))
	}
	return trim(strconv.FormatFloat(v, 'f', 4, 64))
}

func trim(s string) string { return strings.TrimSuffix(strings.TrimRight(s, "0"), ".") }

func grouped(s string) string {
	sign := ""
	if strings.HasPrefix(s, "-") {
		sign, s = "-", s[1:]
	}
	for i := len(s) - 3; i > 0; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return sign + s
}

// amount prints a figure with its unit.
func amount(v float64, unit string) string {
	switch unit {
	case "":
		return number(v)
	case "%":
		return number(v) + "%"
	}
	return number(v) + " " + unit
}

// share prints a ratio as a percentage.
func share(v float64) string { return number(math.Round(v*10_000)/100) + "%" }

// span prints a time span in at most two units: 350ms, 12s, 2m30s, 3h5m, 2d4h.
func span(d time.Duration) string {
	const day = 24 * time.Hour
	switch {
	case d < 0:
		return "0s"
	case d < time.Second:
		return d.Round(time.Millisecond).String()
	case d < 10*time.Second:
		return d.Round(100 * time.Millisecond).String()
	case d.Round(time.Second) < time.Hour:
		return pair(d.Round(time.Second), time.Minute, "m", time.Second, "s")
	case d.Round(time.Minute) < day:
		return pair(d.Round(time.Minute), time.Hour, "h", time.Minute, "m")
	}
	return pair(d.Round(time.Hour), day, "d", time.Hour, "h")
}

func pair(d, big time.Duration, bigName string, small time.Duration, smallName string) string {
	b, s := int64(d/big), int64(d%big/small)
	switch {
	case b == 0:
		return strconv.FormatInt(s, 10) + smallName
	case s == 0:
		return strconv.FormatInt(b, 10) + bigName
	}
	return strconv.FormatInt(b, 10) + bigName + strconv.FormatInt(s, 10) + smallName
}

// clip bounds a text that came from outside, on a rune boundary, in one line.
func clip(s string, most int) string {
	s = strings.ToValidUTF8(s[:min(len(s), 4*most)], "?")
	s = strings.Join(strings.Fields(s), " ")
	if utf8.RuneCountInString(s) <= most {
		return s
	}
	return string([]rune(s)[:most]) + "…"
}
