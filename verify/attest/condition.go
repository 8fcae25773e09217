package attest

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/google/cel-go/common/types"
	"github.com/google/cel-go/common/types/ref"
	"github.com/google/cel-go/interpreter"
)

// Holds reports whether the statement is about the image and the condition is true
// for it. The error says why nothing else could be found out: the statement cannot
// be read, a member is missing, a type is wrong, the budget is spent, the result is
// no bool. One that wraps [ErrLocal] is no finding about the statement.
func (c *Condition) Holds(ctx context.Context, in Input) (bool, error) {
	if c == nil || c.program == nil && !c.always {
		return false, errors.New("no condition was compiled")
	}
	s, err := ParseStatement(in.Statement)
	if err != nil {
		return false, err
	}
	if !s.About(in.Digest) {
		return false, errNotAbout
	}
	if c.always {
		return true, nil
	}
	if in.Now.IsZero() {
		return false, fmt.Errorf("%w: it was not told what time it is", ErrLocal)
	}
	// The one context cannot be told from the other afterwards.
	bound, cancel := context.WithTimeoutCause(ctx, MaxTime, errTooSlow)
	defer cancel()
	result, _, err := c.program.Eval(map[string]any{
		budgetName:        newBudget(bound),
		"predicate":       s.Predicate(),
		"statement":       s.document,
		"image.reference": in.Reference,
		"image.digest":    in.Digest.String(),
		"now":             in.Now.UTC(),
	})
	if bound.Err() != nil {
		return false, fmt.Errorf("%w: %w", ErrLocal, context.Cause(bound))
	}
	if err != nil {
		return false, reason(err)
	}
	return verdict(result)
}

var errTooSlow = fmt.Errorf("it took longer than %s", MaxTime)

// verdict takes a bool and nothing that only looks like one.
func verdict(v ref.Val) (bool, error) {
	b, ok := v.(types.Bool)
	if !ok {
		return false, fmt.Errorf("the condition is neither true nor false but of type %s; compare it with something, like == true", plain(typeName(v)))
	}
	return bool(b), nil
}

func typeName(v ref.Val) string {
	if v == nil {
		return "nothing"
	}
	return v.Type().TypeName()
}

// reason says in words why an evaluation ended without a result.
func reason(err error) error {
	var cancelled interpreter.EvalCancelledError
	if errors.As(err, &cancelled) && cancelled.Cause == interpreter.CostLimitExceeded {
		return fmt.Errorf("the condition costs more than %d steps for this statement and was stopped", MaxCost)
	}
	text := plain(err.Error())
	if strings.Contains(text, "no such key") || strings.Contains(text, "no such attribute") {
		return fmt.Errorf("the statement lacks a member that the condition reads: %s; has(…) asks whether there is one", text)
	}
	return fmt.Errorf("the condition cannot be evaluated for this statement: %s", text)
}
