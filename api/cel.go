package api

import (
	"fmt"
	"math"
	"reflect"
	"slices"
	"strings"
	"sync"
	"time"

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/common/ast"
	"cel.dev/cel-go/common/operators"
	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/common/types/ref"
	"cel.dev/cel-go/common/types/traits"
)

// Limits of conditions. There are no macros, so nothing loops; the cost limit is a second fence.
const (
	conditionMax     = 4096 // characters of one condition
	conditionCostMax = 10_000
)

// Vars are what a condition may ask about.
type Vars struct {
	Root      string        // the incident's root node: integration/NAME or workflow/NAME/STEP
	Workflows []string      // workflows that the incident touches
	Waiting   int64         // items at risk in the incident
	OpenedFor time.Duration // since the incident opened
	Anomalies []string      // open anomalies, PROBE/DETECTOR

	Items  int64   // what the step would touch, by its Estimate
	Amount Money   // and the money
	Share  Percent // and the share of the work in progress
	Limits Limits  // the playbook's
}

// Condition is a compiled CEL condition. It is safe for concurrent use. The same Vars always give the same answer.
type Condition struct {
	text    string
	program cel.Program
	names   []string // variables that it reads, sorted
}

// ConditionError is one mistake in a condition, with its place within the text.
type ConditionError struct {
	Line, Col int // from 1, in characters
	Message   string
	Hint      string
}

// Error prints line:col: message (hint).
func (e ConditionError) Error() string {
	s := fmt.Sprintf("%d:%d: %s", e.Line, e.Col, e.Message)
	if e.Hint != "" {
		s += " (" + e.Hint + ")"
	}
	return s
}

// ConditionErrors are all mistakes of one condition.
type ConditionErrors []ConditionError

// Error prints one line each.
func (es ConditionErrors) Error() string {
	lines := make([]string, len(es))
	for i, e := range es {
		lines[i] = e.Error()
	}
	return strings.Join(lines, "\n")
}

// conditionVars are the variables of conditions, in the order of the reference pages.
var conditionVars = []struct {
	name, doc string
	typ       *cel.Type
}{
	{"incident.root", `what is the cause: the integration's name, or WORKFLOW/STEP`, cel.StringType},
	{"incident.node", `the same in full: integration/NAME or workflow/NAME/STEP`, cel.StringType},
	{"incident.workflows", `names of the workflows that it touches`, cel.ListType(cel.StringType)},
	{"incident.items", `items at risk`, cel.IntType},
	{"incident.openedFor", `time since it opened, such as incident.openedFor > duration("10m")`, cel.DurationType},
	{"incident.anomalies", `open anomalies, such as "capture-queue/backlog" in incident.anomalies`, cel.ListType(cel.StringType)},
	{"items", `items that the step would touch`, cel.IntType},
	{"amount", `money that the step would touch; compare it with limits.amount or money(50000, "EUR")`, moneyType},
	{"share", `share of the work in progress that the step would touch, from 0.0 to 1.0`, cel.DoubleType},
	{"limits.items", `the playbook's limit; the greatest number where there is none`, cel.IntType},
	{"limits.amount", `the playbook's limit; nothing exceeds it where there is none`, moneyType},
	{"limits.share", `the playbook's limit; 1.0 where there is none`, cel.DoubleType},
}

// conditionEnv is built once: it costs milliseconds.
var conditionEnv = sync.OnceValues(func() (*cel.Env, error) {
	moneyPair := []*cel.Type{moneyType, moneyType}
	opts := []cel.EnvOption{
		cel.StdLib(),
		cel.ClearMacros(),
		cel.ParserExpressionSizeLimit(conditionMax),
		cel.ParserRecursionLimit(60),
		cel.DefaultUTCTimeZone(true),
		cel.Function(operators.Less, cel.Overload("less_money", moneyPair, cel.BoolType)),
		cel.Function(operators.LessEquals, cel.Overload("less_equals_money", moneyPair, cel.BoolType)),
		cel.Function(operators.Greater, cel.Overload("greater_money", moneyPair, cel.BoolType)),
		cel.Function(operators.GreaterEquals, cel.Overload("greater_equals_money", moneyPair, cel.BoolType)),
		cel.Function("money", cel.Overload("money_int_string", []*cel.Type{cel.IntType, cel.StringType}, moneyType, cel.BinaryBinding(newMoney))),
		cel.ASTValidators(cel.ValidateDurationLiterals(), cel.ValidateTimestampLiterals(), cel.ValidateRegexLiterals(), cel.ValidateRegexProgramSizeLimit(1000)),
	}
	for _, v := range conditionVars {
		opts = append(opts, cel.VariableWithDoc(v.name, v.typ, v.doc))
	}
	return cel.NewCustomEnv(opts...)
})

// CompileCondition parses and type-checks a condition, such as amount > limits.amount. Its error is a ConditionErrors.
func CompileCondition(expr string) (*Condition, error) {
	env, err := conditionEnv()
	if err != nil {
		return nil, fmt.Errorf("make the CEL environment: %w", err)
	}
	if len(expr) > conditionMax {
		return nil, ConditionErrors{{1, 1, fmt.Sprintf("the condition has %d characters; the most is %d", len(expr), conditionMax), "use several playbooks"}}
	}
	checked, issues := env.Compile(expr)
	if issues.Err() != nil {
		return nil, conditionErrors(issues)
	}
	if checked.OutputType() != cel.BoolType {
		return nil, ConditionErrors{{1, 1, "a condition must be true or false; this is a value of type " + cel.FormatCELType(checked.OutputType()), "compare it with something, such as amount > limits.amount"}}
	}
	if mistakes := checkCurrencies(checked); len(mistakes) > 0 {
		return nil, mistakes
	}
	program, err := env.Program(checked, cel.CostLimit(conditionCostMax), cel.EvalOptions(cel.OptOptimize))
	if err != nil {
		return nil, ConditionErrors{{1, 1, err.Error(), ""}}
	}
	return &Condition{expr, program, namesOf(checked)}, nil
}

// namesOf lists the variables that a condition reads.
func namesOf(checked *cel.Ast) []string {
	var names []string
	for _, r := range checked.NativeRep().ReferenceMap() { // sorted below
		if r.Name != "" && len(r.OverloadIDs) == 0 {
			names = append(names, r.Name)
		}
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// checkCurrencies finds money() of a currency that cannot be one, before it is ever evaluated.
func checkCurrencies(checked *cel.Ast) ConditionErrors {
	var out ConditionErrors
	native := checked.NativeRep()
	ast.PostOrderVisit(native.Expr(), ast.NewExprVisitor(func(e ast.Expr) {
		if e.Kind() != ast.CallKind || e.AsCall().FunctionName() != "money" || len(e.AsCall().Args()) != 2 {
			return
		}
		arg := e.AsCall().Args()[1]
		if arg.Kind() != ast.LiteralKind {
			return
		}
		if code, ok := arg.AsLiteral().(types.String); ok && !validCurrency.MatchString(string(code)) {
			at := native.SourceInfo().GetStartLocation(arg.ID())
			out = append(out, ConditionError{at.Line(), at.Column() + 1, fmt.Sprintf("%q is not a currency", string(code)), "write the three capitals of ISO 4217, such as EUR"})
		}
	}))
	return out
}

// conditionErrors puts CEL's words into ours.
func conditionErrors(issues *cel.Issues) ConditionErrors {
	var out ConditionErrors
	for _, e := range issues.Errors() {
		if len(out) == 10 {
			break
		}
		ce := ConditionError{Line: max(e.Location.Line(), 1), Col: max(e.Location.Column()+1, 1), Message: e.Message}
		ce.Message = strings.TrimSpace(strings.TrimSuffix(ce.Message, "(in container '')"))
		switch {
		case strings.HasPrefix(ce.Message, "undeclared reference to '"):
			name, _, _ := strings.Cut(strings.TrimPrefix(ce.Message, "undeclared reference to '"), "'")
			ce.Message, ce.Hint = explainName(name)
			if macroNames[name] { // what follows only complains about the macro's own variable
				return ConditionErrors{ce}
			}
		case strings.Contains(ce.Message, "no matching overload"):
			ce.Hint = "both sides must be of one type"
			if strings.Contains(ce.Message, "money") {
				ce.Hint = `compare money with money: limits.amount or money(50000, "EUR")`
			}
		case strings.HasPrefix(ce.Message, "Syntax error"):
			ce.Message, _, _ = strings.Cut(ce.Message, " expecting ")
			ce.Message = strings.ReplaceAll(ce.Message, "'<EOF>'", "end of the condition")
			ce.Hint = "conditions are CEL: == != < > && || ! in ( )"
		}
		out = append(out, ce)
	}
	return out
}

var macroNames = map[string]bool{"exists": true, "all": true, "map": true, "filter": true, "exists_one": true, "has": true}

// explainName says what is wrong with a name that a condition uses.
func explainName(name string) (message, hint string) {
	switch {
	case macroNames[name]:
		return "conditions have no " + name + "()", `use "x" in incident.anomalies`
	case name == "incident" || name == "limits":
		var inner []string
		for _, v := range conditionVars {
			if strings.HasPrefix(v.name, name+".") {
				inner = append(inner, v.name)
			}
		}
		return "there is no such value of " + name, "known: " + strings.Join(inner, ", ")
	}
	known := make([]string, len(conditionVars))
	for i, v := range conditionVars {
		known[i] = v.name
	}
	return fmt.Sprintf("there is no %q in conditions", name), suggest(name, known, "known")
}

// stepVariables are known only once a step was planned: in a step's ask.
var stepVariables = []string{"items", "amount", "share"}

// ReadsStep tells whether the answer depends on what a step would touch (items, amount, share), so that it
// cannot be given before the step was planned.
func (c *Condition) ReadsStep() bool {
	return slices.ContainsFunc(c.names, func(n string) bool { return slices.Contains(stepVariables, n) })
}

// String gives the text that was compiled.
func (c *Condition) String() string { return c.text }

// Eval answers the condition. An error means that it cannot be answered (a cost limit, a division by zero): the
// caller must take the safe way.
func (c *Condition) Eval(vars Vars) (bool, error) {
	name := strings.TrimPrefix(strings.TrimPrefix(vars.Root, "integration/"), "workflow/")
	limits := vars.Limits
	itemsMax, shareMax := limits.Items, limits.Share.Ratio()
	if itemsMax == 0 {
		itemsMax = math.MaxInt64
	}
	if shareMax == 0 {
		shareMax = 1
	}
	result, _, err := c.program.Eval(map[string]any{
		"incident.root": name, "incident.node": vars.Root,
		"incident.workflows": nonNil(vars.Workflows), "incident.anomalies": nonNil(vars.Anomalies),
		"incident.items": vars.Waiting, "incident.openedFor": vars.OpenedFor,
		"items": vars.Items, "amount": moneyVal{vars.Amount}, "share": vars.Share.Ratio(),
		"limits.items": itemsMax, "limits.amount": moneyVal{limits.Amount}, "limits.share": shareMax,
	})
	if err != nil {
		return false, fmt.Errorf("evaluate %q: %w", c.text, err)
	}
	truth, ok := result.Value().(bool)
	if !ok {
		return false, fmt.Errorf("evaluate %q: the result is %v, not true or false", c.text, result)
	}
	return truth, nil
}

func nonNil(s []string) []string {
	if s == nil {
		return []string{}
	}
	return s
}

// moneyType is Money within CEL. a > b means that a exceeds b in any currency (see Money.Exceeds), a <= b that it does not;
// a < b is a <= b without equality, and a >= b is a > b or equality.
var moneyType = types.NewObjectType("money", traits.ComparerType)

// moneyVal is a Money as a CEL value.
type moneyVal struct{ money Money }

func newMoney(amount, currency ref.Val) ref.Val {
	n, code := int64(amount.(types.Int)), string(currency.(types.String))
	if !validCurrency.MatchString(code) {
		return types.NewErr("%q is not a currency: write the three capitals of ISO 4217, such as EUR", code)
	}
	return moneyVal{Money{code: n}}
}

// Compare orders money for CEL's operators: 1 where it exceeds other in any currency.
func (m moneyVal) Compare(other ref.Val) ref.Val {
	o, ok := other.(moneyVal)
	switch {
	case !ok:
		return types.MaybeNoSuchOverloadErr(other)
	case m.money.Exceeds(o.money):
		return types.IntOne
	case m.money.equal(o.money):
		return types.IntZero
	}
	return types.IntNegOne
}

// Equal tells whether all amounts agree.
func (m moneyVal) Equal(other ref.Val) ref.Val {
	o, ok := other.(moneyVal)
	return types.Bool(ok && m.money.equal(o.money))
}

// ConvertToNative is CEL's way out of the value.
func (m moneyVal) ConvertToNative(t reflect.Type) (any, error) {
	if t == reflect.TypeFor[Money]() {
		return m.money, nil
	}
	return nil, fmt.Errorf("money is no %s", t)
}

// ConvertToType knows no conversion but the type itself.
func (m moneyVal) ConvertToType(t ref.Type) ref.Val {
	switch t {
	case types.TypeType:
		return moneyType
	case moneyType:
		return m
	}
	return types.NewErr("money cannot become %s", t.TypeName())
}

// Type is money.
func (m moneyVal) Type() ref.Type { return moneyType }

// Value is the Money.
func (m moneyVal) Value() any { return m.money }
