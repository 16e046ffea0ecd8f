package api

import (
	"errors"
	"math"
	"strings"
	"testing"
)

var testFigures = []string{"detected", "recovered", "late", "doubled", "actions"}

func testAssertions(t testing.TB) *Assertions {
	x, err := NewAssertions(testFigures)
	if err != nil {
		t.Fatal(err)
	}
	return x
}

func TestAssertionHolds(t *testing.T) {
	x := testAssertions(t)
	values := map[string]float64{"detected": 42.5, "recovered": math.NaN(), "late": 20, "doubled": 0, "actions": 3, "naive.doubled": 7, "none.late": 300, "none.recovered": math.NaN(), "current.recovered": 90}
	for text, want := range map[string]bool{
		`detected <= 60s`: true, `detected <= 42s`: false, `detected <= 42500ms`: true, `detected < 1m && detected > .5`: true,
		`detected <= 1d && detected <= 2h && 1m >= detected`: true,
		`doubled == 0`: true, `doubled == 0.0`: true, `doubled != 0`: false, `late <= 20 && actions < 5`: true,
		`naive.doubled > 0`: true, `none.late >= late * 10`: true, `none.late - late == 280`: true,
		// What never happened is neither less nor more nor other than anything, nor equal to itself.
		`recovered <= 5m`: false, `recovered > 5m`: false, `recovered != 5m`: false, `recovered == recovered`: false,
		`!(recovered <= 5m)`: true, `recovered <= 5m || doubled == 0`: true, `recovered - none.recovered <= 0`: false,
		`current.recovered == 1m30s`: true, `(late == 20) == (doubled == 0)`: true, `late > 5 ? doubled == 0 : false`: true,
		"late <= 20\n  && doubled == 0": true,
	} {
		e, err := x.Compile(text)
		if err != nil {
			t.Errorf("%s: %v", text, err)
			continue
		}
		got, err := e.Holds(func(name string) float64 {
			v, found := values[name]
			if !found {
				t.Errorf("%s asks for %s", text, name)
			}
			return v
		})
		if err != nil || got != want {
			t.Errorf("%s = %v, %v; want %v", text, got, err, want)
		}
	}
}

func TestAssertionReadsAndBounds(t *testing.T) {
	x := testAssertions(t)
	for _, c := range []struct{ text, reads, bound string }{
		{"detected <= 60s", "detected", "most"}, {"60s >= detected", "detected", "most"}, {"late > 3", "late", "least"},
		{"naive.doubled > 0 && late < 5", "late naive.doubled", ""}, {"doubled == 0", "doubled", ""},
	} {
		e, err := x.Compile(c.text)
		if err != nil {
			t.Fatal(err)
		}
		if got := strings.Join(e.Reads(), " "); got != c.reads || e.Bound() != c.bound || e.String() != c.text {
			t.Errorf("%s reads %q and is bounded at %q; want %q, %q", c.text, got, e.Bound(), c.reads, c.bound)
		}
	}
}

// TestAssertionMistakes holds places against the text as it was written, not as CEL saw it.
func TestAssertionMistakes(t *testing.T) {
	x := testAssertions(t)
	for text, want := range map[string]string{
		`detcted <= 60s`:                     `1:1: there is no figure "detcted" (did you mean "detected"?)`,
		`doubled == 0 && lte < 5`:            `1:17: there is no figure "lte" (did you mean "late"?)`,
		"late <= 60s\n&& detected < 5m && x": `2:21: there is no figure "x" (figures: detected, recovered, late, doubled, actions)`,
		`naive.dubled > 0`:                   `1:6: there is no figure "naive.dubled" (did you mean "naive.doubled"?)`,
		`late`:                               `1:1: an expectation must be true or false; this is a number (compare it with something, such as late <= 20)`,
		`true`:                               `1:1: it asks about no figure, so every day gives the same answer (name a figure: detected, recovered, late, doubled, actions, none.detected ...)`,
		`late <= 20x`:                        `1:9: "20x" is neither a number nor a duration (write 20, 0.5, 250ms, 60s, 5m, 2h or 1d)`,
		`late <= "20"`:                       `1:6: found no matching overload for '<=' applied to '(double, string)' (compare figures with numbers or durations: late <= 20, detected <= 60s)`,
		`60s < late && late <= true`:         `1:20: found no matching overload for '<=' applied to '(double, bool)' (compare figures with numbers or durations: late <= 20, detected <= 60s)`,
		`naive > 1`:                          `1:1: there is no such figure of variant naive (figures: detected, recovered, late, doubled, actions)`,
		`late <=`:                            `1:8: Syntax error: mismatched input end of the expectation (expectations are CEL: == != < <= > >= && || ! + - * / ( ))`,
		`[1, 2].exists(x, x == 1)`:           `exists`,
		strings.Repeat("late < 1 || ", 1000): `1:1: the expectation has 12000 characters; the most is 4096 (write several)`,
		`late < 99999999999999999999999999d`: `1:8: "99999999999999999999999999d" is neither a number nor a duration`,
		`'late' == "late`:                    `Syntax error`,
		"late < 1 'a\nb' < 2":                `Syntax error`,
		`late < 1e9`:                         `"1e9" is neither`,
		`late < 1.2.3`:                       `"1.2.3" is neither`,
		`(late < 1`:                          `Syntax error`,
		`late ++ 1`:                          `1:7: Syntax error`,
		`string(late) == "1"`:                `1:14: found no matching overload for '=='`,
	} {
		_, err := x.Compile(text)
		var mistakes ConditionErrors
		if !errors.As(err, &mistakes) || !strings.Contains(err.Error(), want) {
			t.Errorf("%q:\n got %v\nwant %s", text, err, want)
		}
	}
}

func FuzzAssertion(f *testing.F) {
	x := testAssertions(f)
	for _, s := range []string{"detected <= 60s", "a\n1m'", `"`, ".5 < late", "1..2", "late < 1h30m || naive.late != 0", "\x00é1s"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		e, err := x.Compile(text)
		if err != nil {
			var mistakes ConditionErrors
			if !errors.As(err, &mistakes) || len(mistakes) == 0 {
				t.Fatalf("%q: %v", text, err)
			}
			for _, m := range mistakes {
				if m.Line < 1 || m.Col < 1 || m.Line > strings.Count(text, "\n")+2 {
					t.Fatalf("%q: a mistake at %d:%d", text, m.Line, m.Col)
				}
			}
			return
		}
		never := func(string) float64 { return math.NaN() }
		first, err1 := e.Holds(never)
		second, err2 := e.Holds(never)
		if first != second || (err1 == nil) != (err2 == nil) {
			t.Fatalf("%q answers %v, then %v", text, first, second)
		}
	})
}
