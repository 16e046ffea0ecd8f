package api

import (
	"errors"
	"math"
	"strings"
	"testing"
	"time"
)

func TestConditions(t *testing.T) {
	vars := Vars{
		Root: "integration/card-gateway", Workflows: []string{"order-to-cash"}, Waiting: 40, OpenedFor: 7 * time.Minute,
		Anomalies: []string{"auth/down", "queue/backlog"},
		Items:     12, Amount: Money{"EUR": 60000, "USD": 10}, Share: Percent{250_000},
		Limits: Limits{Items: 10, Amount: Money{"EUR": 50000, "USD": 500}, Share: Percent{200_000}},
	}
	for expr, want := range map[string]bool{
		`amount > limits.amount`:                                                 true, // EUR is over, though USD is not
		`amount <= limits.amount`:                                                false,
		`limits.amount > amount`:                                                 true, // and in USD the limit is over the amount
		`amount >= amount && amount == amount && !(amount < amount)`:             true,
		`amount != limits.amount`:                                                true,
		`amount > money(70000, "EUR")`:                                           true, // a limit in EUR alone allows no USD
		`money(5, "EUR") < money(6, "EUR")`:                                      true,
		`money(5, "EUR") <= money(5, "EUR") && !(money(5,"EUR") > amount)`:       true,
		`incident.root == "card-gateway"`:                                        true,
		`incident.node == "integration/card-gateway"`:                            true,
		`"order-to-cash" in incident.workflows && incident.items >= 40`:          true,
		`incident.openedFor > duration("5m") && share > limits.share`:            true,
		`"queue/backlog" in incident.anomalies && items > limits.items`:          true,
		`incident.root.startsWith("card") || incident.root.matches("^x+$")`:      true,
		`size(incident.anomalies) == 2 && (share == 0.25 ? items == 12 : false)`: true,
	} {
		c, err := CompileCondition(expr)
		if err != nil {
			t.Errorf("%s: %v", expr, err)
			continue
		}
		for range 3 {
			if got, err := c.Eval(vars); err != nil || got != want {
				t.Errorf("%s = %v, %v; want %v", expr, got, err, want)
			}
		}
	}
}

func TestReadsStep(t *testing.T) {
	for expr, want := range map[string]bool{
		`amount > limits.amount`: true, `items > 1`: true, `0.5 < share`: true,
		`incident.items > 1`: false, `limits.items > 5`: false, `"amount" == incident.root`: false,
	} {
		c, err := CompileCondition(expr)
		if err != nil {
			t.Fatal(err)
		}
		if got := c.ReadsStep(); got != want {
			t.Errorf("%s reads the step: %v, want %v", expr, got, want)
		}
	}
}

// TestConditionsWithoutLimits holds that nothing exceeds a limit that is not set.
func TestConditionsWithoutLimits(t *testing.T) {
	for _, expr := range []string{`amount > limits.amount`, `items > limits.items`, `share > limits.share`} {
		c, err := CompileCondition(expr)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := c.Eval(Vars{Items: math.MaxInt64, Amount: Money{"EUR": math.MaxInt64}, Share: Percent{1_000_000}}); err != nil || got {
			t.Errorf("%s = %v, %v; want false", expr, got, err)
		}
	}
}

func TestBadConditions(t *testing.T) {
	for _, c := range []struct {
		expr      string
		line, col int
		message   string
	}{
		{`amount > 500`, 1, 8, "money, int"},
		{`amount == 500`, 1, 8, "money, int"},
		{"items > 1 &&\n  amout > 2", 2, 3, `no "amout"`},
		{`limits.runs > 1`, 1, 1, "no such value of limits"},
		{`items`, 1, 1, "type int"},
		{``, 1, 1, "end of the condition"},
		{`items > 1 )`, 1, 11, "Syntax error"},
		{`incident.anomalies.exists(a, a == "x")`, 1, 26, "no exists()"},
		{`[1,2,3].map(x, x * 2) == [2]`, 1, 12, "no map()"},
		{`money(5, "euro") < amount`, 1, 10, "not a currency"},
		{`incident.openedFor > duration("5 minutes")`, 1, 31, "duration"},
		{`incident.root.matches("(")`, 1, 23, "matches"},
		{`items > ` + strings.Repeat("1+", 3000) + "1", 1, 1, "characters"},
		{strings.Repeat("(", 500) + "true" + strings.Repeat(")", 500), 1, 1, ""},
	} {
		_, err := CompileCondition(c.expr)
		var mistakes ConditionErrors
		if !errors.As(err, &mistakes) || len(mistakes) == 0 {
			t.Errorf("%.60s: no mistakes: %v", c.expr, err)
			continue
		}
		m := mistakes[0]
		if c.message != "" && (m.Line != c.line || m.Col != c.col || !strings.Contains(m.Message, c.message)) {
			t.Errorf("%.60s: %v, want %d:%d with %q", c.expr, m, c.line, c.col, c.message)
		}
	}
}

// TestConditionThatCannotBeAnswered holds that there is an error, not a guess.
func TestConditionThatCannotBeAnswered(t *testing.T) {
	for _, expr := range []string{`items / (items - items) > 1`, `incident.anomalies[5] == "x"`, `items + 9223372036854775807 > 0`} {
		c, err := CompileCondition(expr)
		if err != nil {
			t.Errorf("%s: %v", expr, err)
			continue
		}
		if got, err := c.Eval(Vars{Items: 3}); err == nil || got {
			t.Errorf("%s = %v, want an error", expr, got)
		}
	}
	c, err := CompileCondition(`incident.root.matches(incident.node) || ` + strings.Repeat(`incident.root.contains(incident.node) || `, 50) + `false`)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.Eval(Vars{Root: "integration/" + strings.Repeat("x", 100_000)}); err == nil {
		t.Error("the cost limit does not bite")
	}
}

func BenchmarkCondition(b *testing.B) {
	c, err := CompileCondition(`amount > limits.amount && incident.root == "card-gateway"`)
	if err != nil {
		b.Fatal(err)
	}
	vars := Vars{Root: "integration/card-gateway", Amount: Money{"EUR": 2}, Limits: Limits{Amount: Money{"EUR": 1}}}
	b.ReportAllocs()
	for b.Loop() {
		if ok, err := c.Eval(vars); err != nil || !ok {
			b.Fatal(ok, err)
		}
	}
}

func FuzzCondition(f *testing.F) {
	for _, s := range []string{`amount > limits.amount`, `incident.root == "x"`, `"a" in incident.anomalies`, `money(1, "EUR") < amount`,
		`items > `, `incident.openedFor > duration("5m")`, "items > 1 &&\n foo", `"a".matches("(a*)*")`, `[1,2].all(x, x > 1)`, `{"a": amount}["a"] > amount`} {
		f.Add(s)
	}
	vars := Vars{Root: "integration/x", Anomalies: []string{"a/b"}, Items: 3, Amount: Money{"EUR": 5}, Limits: Limits{Amount: Money{"EUR": 4}}}
	f.Fuzz(func(t *testing.T, expr string) {
		c, err := CompileCondition(expr)
		if err != nil {
			var mistakes ConditionErrors
			if !errors.As(err, &mistakes) || len(mistakes) == 0 || mistakes[0].Line < 1 || mistakes[0].Col < 1 {
				t.Fatalf("%q: a mistake without a place: %v", expr, err)
			}
			return
		}
		one, errOne := c.Eval(vars)
		two, errTwo := c.Eval(vars)
		if one != two || (errOne == nil) != (errTwo == nil) || errOne != nil && one {
			t.Fatalf("%q answers %v, %v and then %v, %v", expr, one, errOne, two, errTwo)
		}
	})
}
