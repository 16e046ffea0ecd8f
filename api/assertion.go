package api

import (
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/common/ast"
	"cel.dev/cel-go/common/operators"
	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/common/types/ref"
)

// Variants lists the variants in the order of the reference pages.
var Variants = []Variant{VariantNone, VariantCurrent, VariantCandidate, VariantNaive}

// Assertions compiles what scenarios expect. Making one costs milliseconds; it is safe for concurrent use.
type Assertions struct {
	env   *cel.Env
	known []string
}

// Assertion is a compiled expectation, such as detected <= 60s && late <= 20. It is safe for concurrent use.
type Assertion struct {
	text    string
	program cel.Program
	reads   []string
	bound   string
}

// comparisons are the operators that are false wherever a side never happened: CEL itself knows no order of such a value, and finds it
// unequal to everything.
var comparisons = []struct {
	operator, sign, name string
	holds                func(a, b float64) bool
}{
	{operators.Less, "<", "is_less", func(a, b float64) bool { return a < b }},
	{operators.LessEquals, "<=", "is_at_most", func(a, b float64) bool { return a <= b }},
	{operators.Greater, ">", "is_greater", func(a, b float64) bool { return a > b }},
	{operators.GreaterEquals, ">=", "is_at_least", func(a, b float64) bool { return a >= b }},
	{operators.Equals, "==", "is_equal", func(a, b float64) bool { return a == b }},
	{operators.NotEquals, "!=", "is_other", func(a, b float64) bool { return a < b || a > b }},
}

// NewAssertions takes the names of the figures (Catalog.Figures): FIGURE is that of the variant under test, VARIANT.FIGURE that of
// another one.
func NewAssertions(figures []string) (*Assertions, error) {
	x := &Assertions{}
	opts := []cel.EnvOption{cel.StdLib(), cel.ClearMacros(), cel.ParserExpressionSizeLimit(conditionMax), cel.ParserRecursionLimit(60)}
	pair := []*cel.Type{cel.DoubleType, cel.DoubleType}
	for _, c := range comparisons {
		opts = append(opts, cel.Function(c.name, cel.Overload(c.name+"_double", pair, cel.BoolType, cel.BinaryBinding(func(a, b ref.Val) ref.Val {
			return types.Bool(c.holds(float64(a.(types.Double)), float64(b.(types.Double))))
		}))))
	}
	x.known = append(x.known, figures...)
	for _, v := range Variants {
		for _, name := range figures {
			x.known = append(x.known, string(v)+"."+name)
		}
	}
	for _, name := range x.known {
		opts = append(opts, cel.Variable(name, cel.DoubleType))
	}
	var err error
	if x.env, err = cel.NewCustomEnv(opts...); err != nil {
		return nil, fmt.Errorf("make the CEL environment of expectations: %w", err)
	}
	return x, nil
}

// Compile parses and type-checks one expectation. Its error is a ConditionErrors.
func (x *Assertions) Compile(text string) (*Assertion, error) {
	if len(text) > conditionMax {
		return nil, ConditionErrors{{1, 1, fmt.Sprintf("the expectation has %d characters; the most is %d", len(text), conditionMax), "write several"}}
	}
	plain, mistakes := plainNumbers(text)
	if len(mistakes) > 0 {
		return nil, mistakes
	}
	parsed, issues := x.env.Parse(plain.text)
	if issues.Err() != nil {
		return nil, x.mistakes(issues, plain)
	}
	useComparisons(parsed.NativeRep().Expr())
	checked, issues := x.env.Check(parsed)
	if issues.Err() != nil {
		return nil, x.mistakes(issues, plain)
	}
	if checked.OutputType() != cel.BoolType {
		return nil, ConditionErrors{{1, 1, "an expectation must be true or false; this is a number", "compare it with something, such as late <= 20"}}
	}
	program, err := x.env.Program(checked, cel.CostLimit(conditionCostMax))
	if err != nil {
		return nil, ConditionErrors{{1, 1, err.Error(), ""}}
	}
	e := &Assertion{text: text, program: program, reads: namesOf(checked), bound: boundOf(checked.NativeRep().Expr())}
	if len(e.reads) == 0 {
		return nil, ConditionErrors{{1, 1, "it asks about no figure, so every day gives the same answer", "name a figure: " + strings.Join(x.known[:min(6, len(x.known))], ", ") + " ..."}}
	}
	return e, nil
}

// useComparisons puts our comparisons in place of CEL's, wherever numbers are compared; == and != of two conditions stay CEL's.
func useComparisons(root ast.Expr) {
	make := ast.NewExprFactory()
	ast.PostOrderVisit(root, ast.NewExprVisitor(func(e ast.Expr) {
		if e.Kind() != ast.CallKind {
			return
		}
		call := e.AsCall()
		for _, c := range comparisons {
			if call.FunctionName() == c.operator && len(call.Args()) == 2 && !(isTruth(call.Args()[0]) && isTruth(call.Args()[1])) {
				e.SetKindCase(make.NewCall(e.ID(), c.name, call.Args()...))
				return
			}
		}
	}))
}

// isTruth tells whether an expression is true or false by its form.
func isTruth(e ast.Expr) bool {
	switch e.Kind() {
	case ast.LiteralKind:
		_, is := e.AsLiteral().(types.Bool)
		return is
	case ast.CallKind:
		name := e.AsCall().FunctionName()
		return name == operators.LogicalAnd || name == operators.LogicalOr || name == operators.LogicalNot || name == operators.Equals || name == operators.NotEquals ||
			strings.HasPrefix(name, "is_")
	}
	return false
}

// boundOf tells which way an expectation that only compares one figure with a number bounds it: "most", "least", or "" for others.
func boundOf(e ast.Expr) string {
	if e.Kind() != ast.CallKind || len(e.AsCall().Args()) != 2 {
		return ""
	}
	swapped := e.AsCall().Args()[0].Kind() == ast.LiteralKind
	switch e.AsCall().FunctionName() {
	case "is_less", "is_at_most":
		return map[bool]string{false: "most", true: "least"}[swapped]
	case "is_greater", "is_at_least":
		return map[bool]string{false: "least", true: "most"}[swapped]
	}
	return ""
}

// mistakes puts CEL's words into ours, and its places into those of the text as it was written.
func (x *Assertions) mistakes(issues *cel.Issues, plain plainText) ConditionErrors {
	var out ConditionErrors
	for _, e := range issues.Errors() {
		if len(out) == 10 {
			break
		}
		m := ConditionError{Message: strings.TrimSpace(strings.TrimSuffix(e.Message, "(in container '')"))}
		m.Line, m.Col = plain.origin(max(e.Location.Line(), 1), max(e.Location.Column(), 0))
		for _, c := range comparisons {
			m.Message = strings.ReplaceAll(m.Message, "'"+c.name+"'", "'"+c.sign+"'")
		}
		switch {
		case strings.HasPrefix(m.Message, "undeclared reference to '"):
			name, _, _ := strings.Cut(strings.TrimPrefix(m.Message, "undeclared reference to '"), "'")
			m.Message, m.Hint = x.explain(name)
		case strings.Contains(m.Message, "undefined field"):
			m.Hint = "write FIGURE, or VARIANT.FIGURE such as naive.doubled"
		case strings.Contains(m.Message, "no matching overload"):
			m.Hint = "compare figures with numbers or durations: late <= 20, detected <= 60s"
		case strings.HasPrefix(m.Message, "Syntax error"):
			m.Message, _, _ = strings.Cut(m.Message, " expecting ")
			m.Message = strings.ReplaceAll(m.Message, "'<EOF>'", "end of the expectation")
			m.Hint = "expectations are CEL: == != < <= > >= && || ! + - * / ( )"
		}
		out = append(out, m)
	}
	return out
}

// explain says what is wrong with a name.
func (x *Assertions) explain(name string) (message, hint string) {
	if slices.Contains(Variants, Variant(name)) {
		return "there is no such figure of variant " + name, "figures: " + strings.Join(x.known[:len(x.known)/(len(Variants)+1)], ", ")
	}
	known := x.known
	if !strings.Contains(name, ".") {
		known = known[:len(known)/(len(Variants)+1)]
	}
	return fmt.Sprintf("there is no figure %q", name), suggest(name, known, "figures")
}

// String gives the text as it was written.
func (e *Assertion) String() string { return e.text }

// Reads lists the figures that it asks about, sorted: FIGURE or VARIANT.FIGURE.
func (e *Assertion) Reads() []string { return e.reads }

// Bound tells which way a plain comparison bounds its figure: "most" for late <= 20, "least" for finished >= 100, "" for anything else.
func (e *Assertion) Bound() string { return e.bound }

// Holds answers the expectation. Value gives the figures that Reads lists; NaN is one that never happened, and each comparison with it
// is false.
func (e *Assertion) Holds(value func(name string) float64) (bool, error) {
	vars := make(map[string]any, len(e.reads))
	for _, name := range e.reads {
		vars[name] = value(name)
	}
	result, _, err := e.program.Eval(vars)
	if err != nil {
		return false, fmt.Errorf("evaluate %q: %w", e.text, err)
	}
	truth, ok := result.Value().(bool)
	if !ok {
		return false, fmt.Errorf("evaluate %q: the result is %v, not true or false", e.text, result)
	}
	return truth, nil
}

// plainText is an expectation in which every number is a CEL double. It knows where each of its characters came from.
type plainText struct {
	text  string
	lines [][]int // for each line: the column of origin of each character, from 1
}

func (p plainText) origin(line, col int) (int, int) {
	if line > len(p.lines) || len(p.lines[line-1]) == 0 {
		return line, col + 1
	}
	from := p.lines[line-1]
	if col >= len(from) {
		return line, from[len(from)-1] + 1 + col - len(from)
	}
	return line, from[col]
}

// plainNumbers writes durations as seconds and whole numbers as doubles: 5m becomes 300.0, and 20 becomes 20.0.
func plainNumbers(text string) (plainText, ConditionErrors) {
	var out strings.Builder
	var mistakes ConditionErrors
	p := plainText{lines: [][]int{nil}}
	col := 0
	put := func(s string, from int) {
		for _, c := range s {
			out.WriteRune(c)
			p.lines[len(p.lines)-1] = append(p.lines[len(p.lines)-1], from)
		}
	}
	runes := []rune(text)
	for i := 0; i < len(runes); {
		end := i + 1
		switch c := runes[i]; {
		case c == '\n':
			out.WriteRune(c)
			p.lines = append(p.lines, nil)
			i, col = end, 0
			continue
		case c == '"' || c == '\'':
			for end < len(runes) && runes[end] != c && runes[end] != '\n' {
				end++
			}
			end = min(end+1, len(runes))
		case inName(c) && !digit(c):
			for end < len(runes) && inName(runes[end]) {
				end++
			}
		case digit(c) || c == '.' && end < len(runes) && digit(runes[end]):
			for end < len(runes) && (inName(runes[end]) || runes[end] == '.') {
				end++
			}
			number, err := celNumber(string(runes[i:end]))
			if err != nil {
				mistakes = append(mistakes, ConditionError{len(p.lines), col + 1, err.Error(), "write 20, 0.5, 250ms, 60s, 5m, 2h or 1d"})
			}
			put(number, col+1)
			col += end - i
			i = end
			continue
		}
		for ; i < end; i++ {
			if runes[i] == '\n' { // only after a text that does not end, which is an error of its own
				break
			}
			col++
			put(string(runes[i]), col)
		}
	}
	p.text = out.String()
	return p, mistakes
}

func inName(c rune) bool {
	return digit(c) || c == '_' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z'
}

// celNumber gives a number or duration as a CEL double, in seconds.
func celNumber(word string) (string, error) {
	value, err := 0.0, error(nil)
	if strings.Trim(word, "0123456789.") == "" {
		value, err = strconv.ParseFloat(word, 64)
	} else {
		var d Duration
		d, err = ParseDuration(word)
		value = d.Seconds()
	}
	if err != nil || math.IsInf(value, 0) {
		return "", fmt.Errorf("%q is neither a number nor a duration", word)
	}
	text := strconv.FormatFloat(value, 'f', -1, 64)
	if !strings.Contains(text, ".") {
		text += ".0"
	}
	return text, nil
}

func digit(c rune) bool { return c >= '0' && c <= '9' }
