package attest

import (
	"errors"
	"fmt"
	"regexp/syntax"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/google/cel-go/cel"
	"github.com/google/cel-go/common/ast"
	"github.com/google/cel-go/common/overloads"
	"github.com/google/cel-go/ext"
)

// Bounds of conditions.
const (
	maxExpression = 8 << 10 // bytes
	maxNodes      = 5000    // of the syntax tree, macros expanded
	maxNesting    = 64      // parentheses, calls and operators in each other
	maxLoops      = 4       // macros in each other
	maxPattern    = 500     // instructions of one compiled regular expression
	// MaxCost is what one evaluation may cost: one for each step, for each ten bytes
	// of text that a step makes and for each value that it compares. It is what
	// Kubernetes grants an expression (k8s.io/apiserver, cel.PerCallLimit).
	MaxCost = 1_000_000
	// MaxTime is how long one evaluation may take.
	MaxTime = 5 * time.Second
)

// Condition is a compiled expression, safe for concurrent use. The zero value
// holds for nothing.
type Condition struct {
	program cel.Program
	always  bool // of the empty expression
	now     bool // it reads the time
}

// ReadsNow tells whether what the condition says may depend on the time of day.
func (c *Condition) ReadsNow() bool { return c != nil && c.now }

// Compile checks and plans an expression. The empty one holds for every statement
// that is about the judged image. The error says where it is wrong.
func Compile(expression string) (*Condition, error) {
	if expression == "" {
		return &Condition{always: true}, nil
	}
	if len(expression) > maxExpression {
		return nil, fmt.Errorf("expected at most %d bytes, found %d", maxExpression, len(expression))
	}
	env, err := environment()
	if err != nil {
		return nil, fmt.Errorf("CEL cannot be set up: %w", err)
	}
	tree, issues := env.Compile(expression)
	if err := issues.Err(); err != nil {
		return nil, fmt.Errorf("expected a CEL expression over predicate, statement, image.reference, image.digest and now: %s", plain(err.Error()))
	}
	if t := tree.OutputType(); !t.IsExactType(cel.BoolType) && !t.IsExactType(cel.DynType) {
		return nil, fmt.Errorf("expected an expression that is true or false, found one of type %s; compare it with something", t)
	}
	if err := bounded(tree.NativeRep()); err != nil {
		return nil, err
	}
	// Not with cel.OptOptimize: it puts its own unbounded calls in place of ours.
	program, err := env.Program(tree, cel.CustomDecoratorV2(bounds))
	if err != nil {
		return nil, errors.New(plain(err.Error()))
	}
	return &Condition{program: program, now: readsNow(tree.NativeRep())}, nil
}

// readsNow looks for the variable now. A loop's own variable of that name counts as
// well: that only makes the answer be asked for again.
func readsNow(tree *ast.AST) bool {
	for _, ident := range ast.MatchDescendants(ast.NavigateAST(tree), ast.KindMatcher(ast.IdentKind)) {
		if strings.TrimPrefix(ident.AsIdent(), ".") == "now" {
			return true
		}
	}
	return false
}

// environment is what every condition is compiled in. It takes milliseconds to make
// and never changes.
var environment = sync.OnceValues(func() (*cel.Env, error) {
	return cel.NewEnv(
		cel.Variable("predicate", cel.DynType),
		cel.Variable("statement", cel.MapType(cel.StringType, cel.DynType)),
		cel.Variable("image.reference", cel.StringType),
		cel.Variable("image.digest", cel.StringType),
		cel.Variable("now", cel.TimestampType),
		ext.Strings(),
		cel.CrossTypeNumericComparisons(true),
		cel.DefaultUTCTimeZone(true),
		cel.ParserExpressionSizeLimit(maxExpression),
		cel.ParserRecursionLimit(maxNesting),
		cel.ParserErrorRecoveryLimit(4),
		cel.ExpressionNodeLimit(maxNodes),
		cel.ASTValidators(
			cel.ValidateComprehensionNestingLimit(maxLoops),
			cel.ValidateDurationLiterals(),
			cel.ValidateTimestampLiterals(),
			cel.ValidateRegexLiterals(),
		),
	)
})

var errPattern = errors.New("the pattern of matches must be written out, like matches('^v[0-9]+$'); it cannot come from the statement")

// unbounded are functions of the strings extension of which one call can fill the
// memory or take time in proportion to a product: cost is counted only after it.
func unbounded() []string {
	return []string{"replace", "join", "format", "split", "indexOf", "lastIndexOf", "strings.quote", "reverse", "charAt"}
}

// bounded refuses calls whose work the cost limit would notice too late.
func bounded(tree *ast.AST) error {
	for _, call := range ast.MatchDescendants(ast.NavigateAST(tree), ast.KindMatcher(ast.CallKind)) {
		c := call.AsCall()
		name := c.FunctionName()
		if slices.Contains(unbounded(), name) {
			return fmt.Errorf("%s cannot be used here, as nothing bounds what it takes; startsWith, endsWith, contains, matches and substring can", name)
		}
		if name != overloads.Matches {
			continue
		}
		last := c.Args()[len(c.Args())-1] // both of text.matches(pattern) and matches(text, pattern)
		pattern, written := "", last.Kind() == ast.LiteralKind
		if written {
			pattern, written = last.AsLiteral().Value().(string)
		}
		if !written {
			return errPattern
		}
		if err := smallPattern(pattern); err != nil {
			return err
		}
	}
	return nil
}

// smallPattern bounds the program of a regular expression. cel-go's own
// RegexProgramSizeLimit panics on repetitions like a{3}, as of v0.31.0: it compiles
// without simplifying first.
func smallPattern(pattern string) error {
	tree, err := syntax.Parse(pattern, syntax.Perl)
	if err != nil {
		return fmt.Errorf("the pattern of matches cannot be read: %s", plain(err.Error()))
	}
	program, err := syntax.Compile(tree.Simplify())
	if err != nil {
		return fmt.Errorf("the pattern of matches cannot be read: %s", plain(err.Error()))
	}
	if n := len(program.Inst); n > maxPattern {
		return fmt.Errorf("the pattern of matches has %d steps, at most %d are allowed; use smaller repetitions", n, maxPattern)
	}
	return nil
}
