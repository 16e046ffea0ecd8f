package twin

import (
	"math"
	"strconv"

	"github.com/backstay/backstay/api"
)

// Number is a figure in a report: NaN where it is not known, infinity where it never happens. JSON has null and "never" for them, and
// nine significant digits for the others.
type Number float64

var notKnown = Number(math.NaN())

// MarshalJSON writes the number.
func (n Number) MarshalJSON() ([]byte, error) {
	switch f := float64(n); {
	case math.IsNaN(f):
		return []byte("null"), nil
	case math.IsInf(f, 0):
		return []byte(`"never"`), nil
	default:
		return strconv.AppendFloat(nil, f, 'g', 9, 64), nil
	}
}

// UnmarshalJSON reads what MarshalJSON wrote.
func (n *Number) UnmarshalJSON(b []byte) error {
	switch string(b) {
	case "null":
		*n = notKnown
		return nil
	case `"never"`:
		*n = Number(math.Inf(1))
		return nil
	}
	f, err := strconv.ParseFloat(string(b), 64)
	*n = Number(f)
	return err
}

// Text prints a figure with its unit, as people read it; currency is that of money.
func (n Number) Text(unit, currency string) string {
	f := float64(n)
	switch {
	case math.IsNaN(f):
		return "–"
	case math.IsInf(f, 0):
		return "never"
	case unit == "s":
		return secondsText(f)
	case unit == "money":
		return api.Money{currency: int64(math.Round(f))}.String()
	case f == math.Trunc(f):
		return strconv.FormatFloat(f, 'f', 0, 64)
	case math.Abs(f) >= 100:
		return strconv.FormatFloat(f, 'f', 0, 64)
	}
	return strconv.FormatFloat(f, 'g', 3, 64)
}

// secondsText prints 250 ms, 42.5 s, 5 min 3 s or 2 h 10 min.
func secondsText(f float64) string {
	if f < 0 {
		return "-" + secondsText(-f)
	}
	whole := int64(math.Round(f))
	number := func(n int64) string { return strconv.FormatInt(n, 10) }
	switch {
	case f == 0:
		return "0 s"
	case f < 1:
		return number(int64(math.Round(f*1000))) + " ms"
	case f < 59.95:
		return strconv.FormatFloat(f, 'f', 1, 64) + " s"
	case whole < 3600:
		return number(whole/60) + " min " + number(whole%60) + " s"
	case whole < 48*3600:
		return number(whole/3600) + " h " + number(whole%3600/60) + " min"
	}
	return number(whole/86400) + " d " + number(whole%86400/3600) + " h"
}
