package attest

import (
	"context"

	"github.com/google/cel-go/common/types"
	"github.com/google/cel-go/common/types/ref"
	"github.com/google/cel-go/interpreter"
)

// cel-go's own cost limit is not used. It counts a call by the overload that the
// checker chose, and over untyped values, as everything in a predicate is, there is
// often none: doubling a text counts one. And it keeps a record of every step, which
// makes loops take time by the square of their length (v0.31.0). So each step of an
// evaluation is wrapped, and pays for the value that it makes.

// budgetName is where an evaluation's budget stands among its variables. No
// expression can name it.
const budgetName = "@budget"

// checkEvery is how many steps are taken between looks at the context.
const checkEvery = 256

// budget is what is left of one evaluation.
type budget struct {
	ctx   context.Context // of this one evaluation
	left  int
	check int // what is left at the next look at ctx
}

func newBudget(ctx context.Context) *budget { return &budget{ctx: ctx, left: MaxCost, check: MaxCost} }

// take ends the evaluation when there is not as much left: with a panic that cel-go
// makes an error of, as an error value could be absorbed by an || and a loop go on.
func (b *budget) take(n int) {
	if n > b.left {
		panic(interpreter.EvalCancelledError{Cause: interpreter.CostLimitExceeded, Message: "cost limit exceeded"})
	}
	b.left -= n
	if b.left > b.check {
		return
	}
	b.check = b.left - checkEvery
	if b.ctx.Err() != nil {
		panic(interpreter.EvalCancelledError{Cause: interpreter.ContextCancelled, Message: "interrupted"})
	}
}

// pay takes from the budget of a frame. A frame without one has nothing.
func pay(frame *interpreter.ExecutionFrame, n int) {
	v, _ := frame.ResolveName(budgetName)
	b, ok := v.(*budget)
	if !ok {
		b = &budget{ctx: context.Background()}
	}
	b.take(n)
}

// payFor takes one for a step, and one for each ten bytes of text that it makes.
func payFor(frame *interpreter.ExecutionFrame, v ref.Val) ref.Val {
	n := 1
	switch v := v.(type) {
	case types.String:
		n += len(v) / 10
	case types.Bytes:
		n += len(v) / 10
	}
	pay(frame, n)
	return v
}

// step is a step that pays.
type step struct{ interpreter.InterpretableV2 }

// Exec implements interpreter.InterpretableV2.
func (s step) Exec(frame *interpreter.ExecutionFrame) ref.Val {
	return payFor(frame, s.InterpretableV2.Exec(frame))
}

// Eval implements interpreter.Interpretable.
func (s step) Eval(vars interpreter.Activation) ref.Val { return s.Exec(interpreter.AsFrame(vars)) }

// attribute is a step that reads a variable or a member. The planner adds to it what
// is read of it.
type attribute struct {
	interpreter.InterpretableAttribute
}

// Exec implements interpreter.InterpretableV2.
func (a attribute) Exec(frame *interpreter.ExecutionFrame) ref.Val {
	return payFor(frame, a.InterpretableAttribute.Exec(frame))
}

// Eval implements interpreter.Interpretable.
func (a attribute) Eval(vars interpreter.Activation) ref.Val {
	return a.Exec(interpreter.AsFrame(vars))
}
