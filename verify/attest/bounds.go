package attest

import (
	"regexp"

	"github.com/google/cel-go/common/operators"
	"github.com/google/cel-go/common/overloads"
	"github.com/google/cel-go/common/types"
	"github.com/google/cel-go/common/types/ref"
	"github.com/google/cel-go/common/types/traits"
	"github.com/google/cel-go/interpreter"
)

// Bounds of single steps, which nothing can stop midway.
const (
	maxMatched  = 64 << 10 // bytes of a text that matches looks at
	maxCompared = 100_000  // values that one == or in looks through
)

// bounds makes every step pay for itself, and puts those that can take long behind a
// check of what they are given.
func bounds(i interpreter.InterpretableV2) (interpreter.InterpretableV2, error) {
	switch i := i.(type) {
	case step, attribute, interpreter.InterpretableConst: // paid for, or free
		return i, nil
	case interpreter.InterpretableAttribute:
		return attribute{i}, nil
	case interpreter.InterpretableCall:
		checked, err := check(i)
		return step{checked}, err
	}
	return step{i}, nil
}

func check(c interpreter.InterpretableCall) (interpreter.InterpretableV2, error) {
	switch c.Function() {
	case operators.Equals:
		return checked{c, compared, types.Equal}, nil
	case operators.NotEquals:
		return checked{c, compared, func(a, b ref.Val) ref.Val { return types.Bool(types.Equal(a, b) != types.True) }}, nil
	case operators.In:
		return checked{c, searched, in}, nil
	case overloads.Matches:
		args := c.Args()
		constant, ok := args[len(args)-1].(interpreter.InterpretableConst)
		if !ok {
			return nil, errPattern
		}
		pattern, ok := constant.Value().(types.String)
		if !ok {
			return nil, errPattern
		}
		compiled, err := regexp.Compile(string(pattern))
		if err != nil {
			return nil, err
		}
		return checked{c, matched, func(text, _ ref.Val) ref.Val {
			return types.Bool(compiled.MatchString(string(text.(types.String))))
		}}, nil
	}
	return c, nil
}

// checked is a call of two arguments that is weighed before it is run.
type checked struct {
	interpreter.InterpretableCall
	// weight is what running it costs; the error value says why it is not run.
	weight func(a, b ref.Val) (int, ref.Val)
	run    func(a, b ref.Val) ref.Val
}

// Exec implements interpreter.InterpretableV2.
func (c checked) Exec(frame *interpreter.ExecutionFrame) ref.Val {
	args := c.Args()
	if len(args) != 2 {
		return types.NoSuchOverloadErr()
	}
	var values [2]ref.Val
	for i, arg := range args {
		v := arg.Exec(frame)
		if types.IsUnknownOrError(v) {
			return v
		}
		values[i] = v
	}
	n, refused := c.weight(values[0], values[1])
	if refused != nil {
		return refused
	}
	pay(frame, n)
	return c.run(values[0], values[1])
}

// Eval implements interpreter.Interpretable.
func (c checked) Eval(vars interpreter.Activation) ref.Val { return c.Exec(interpreter.AsFrame(vars)) }

func tooMuch() ref.Val { return types.NewErr("more than %d values are compared at once", maxCompared) }

// compared weighs a comparison: no more is looked at of one side than the other has.
func compared(a, b ref.Val) (int, ref.Val) {
	n := min(weight(a), weight(b))
	if n > maxCompared {
		return 0, tooMuch()
	}
	return n, nil
}

// searched weighs looking for a value: in a list, each item is compared with it.
func searched(v, container ref.Val) (int, ref.Val) {
	list, ok := container.(traits.Lister)
	if !ok {
		return 1, nil
	}
	n := weight(list)
	if size, ok := list.Size().(types.Int); ok && weight(v) == 1 {
		n = int(min(size, maxCompared+1))
	}
	if n > maxCompared {
		return 0, tooMuch()
	}
	return 1 + n/10, nil
}

func in(v, container ref.Val) ref.Val {
	if c, ok := container.(traits.Container); ok {
		return c.Contains(v)
	}
	return types.MaybeNoSuchOverloadErr(container)
}

// matched weighs a regular expression: RE2 takes time in proportion to the text
// times the pattern.
func matched(text, pattern ref.Val) (int, ref.Val) {
	t, ok := text.(types.String)
	p, ok2 := pattern.(types.String)
	switch {
	case !ok || !ok2:
		return 0, types.MaybeNoSuchOverloadErr(text)
	case len(t) > maxMatched:
		return 0, types.NewErr("matches is given a text of %d bytes, at most %d are looked at", len(t), maxMatched)
	}
	return len(t) * len(p) / 40, nil
}

// weight is how many values there are in v, a text counting once more for each KiB, and
// a little more than maxCompared where it is more. Lists in an expression can hold one
// value many times, so only counting tells.
func weight(v ref.Val) int {
	left := maxCompared
	weigh(v, &left)
	return maxCompared - left
}

func weigh(v ref.Val, left *int) {
	*left--
	switch v := v.(type) {
	case types.String: // compared byte by byte
		*left -= len(v) >> 10
	case traits.Mapper:
		for it := v.Iterator(); *left >= 0 && it.HasNext() == types.True; {
			if item, ok := v.Find(it.Next()); ok {
				weigh(item, left)
			}
		}
	case traits.Lister:
		for it := v.Iterator(); *left >= 0 && it.HasNext() == types.True; {
			weigh(it.Next(), left)
		}
	}
}
