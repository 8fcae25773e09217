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

// cel-go counts the cost of a call after it, by the overload that the checker
// chose. Over dyn values, as everything in a predicate is, there is often none, and
// the call counts one whatever it does: text doubles without end. So calls that
// can take long are bounded before they run, and all are counted by their values.

const (
	maxMatched  = 64 << 10 // bytes of a text that matches looks at
	maxCompared = 100_000  // values in what == and in look through
)

// bounds puts calls that can take long behind a check of their arguments.
func bounds(i interpreter.InterpretableV2) (interpreter.InterpretableV2, error) {
	call, ok := i.(interpreter.InterpretableCall)
	if !ok {
		return i, nil
	}
	var impl func(args ...ref.Val) ref.Val
	switch call.Function() {
	case operators.Equals:
		impl = compared(types.Equal)
	case operators.NotEquals:
		impl = compared(func(a, b ref.Val) ref.Val { return types.Bool(types.Equal(a, b) != types.True) })
	case operators.In:
		impl = compared(in)
	case overloads.Matches:
		args := call.Args()
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
		impl = matches(compiled)
	default:
		return i, nil
	}
	return interpreter.NewCall(call.ID(), call.Function(), call.OverloadID(), call.Args(), impl), nil
}

// compared runs a comparison when one of its sides is small; no more is looked at
// of the other.
func compared(compare func(a, b ref.Val) ref.Val) func(args ...ref.Val) ref.Val {
	return func(args ...ref.Val) ref.Val {
		if len(args) != 2 {
			return types.NoSuchOverloadErr()
		}
		if lesser(args[0], args[1]) > maxCompared {
			return types.NewErr("more than %d values are compared at once", maxCompared)
		}
		return compare(args[0], args[1])
	}
}

func in(v, container ref.Val) ref.Val {
	if c, ok := container.(traits.Container); ok {
		return c.Contains(v)
	}
	return types.MaybeNoSuchOverloadErr(container)
}

// matches runs a pattern, compiled once, on short texts: RE2 takes time in
// proportion to the text times the pattern, and nothing stops it midway.
func matches(pattern *regexp.Regexp) func(args ...ref.Val) ref.Val {
	return func(args ...ref.Val) ref.Val {
		text, ok := args[0].(types.String)
		if !ok {
			return types.MaybeNoSuchOverloadErr(args[0])
		}
		if len(text) > maxMatched {
			return types.NewErr("matches is given a text of %d bytes, at most %d are looked at", len(text), maxMatched)
		}
		return types.Bool(pattern.MatchString(string(text)))
	}
}

// lesser is the weight of the lighter of two values, or more than maxCompared.
func lesser(a, b ref.Val) int {
	left := maxCompared
	if weigh(a, &left); left >= 0 {
		return maxCompared - left
	}
	left = maxCompared
	weigh(b, &left)
	return maxCompared - left
}

// weigh takes one for each value in v from left, and stops when nothing is left.
// Lists in an expression can hold one value many times, so only counting tells.
func weigh(v ref.Val, left *int) {
	*left--
	switch v := v.(type) {
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

// counter counts calls by what they are given and what they make.
type counter struct{}

// CallCost is one, and one for each ten bytes of text and ten items of lists that
// are read or made, and what comparisons and patterns look through.
func (counter) CallCost(function, _ string, args []ref.Val, result ref.Val) *uint64 {
	cost := 1 + length(result)/10
	for _, a := range args {
		cost += length(a) / 10
	}
	switch {
	case len(args) != 2:
	case function == overloads.Matches:
		cost += length(args[0]) * length(args[1]) / 40
	case function == operators.Equals || function == operators.NotEquals || function == operators.In:
		cost += uint64(lesser(args[0], args[1]))
	}
	return &cost
}

// length is the length of a text in bytes or of a list in items.
func length(v ref.Val) uint64 {
	switch v := v.(type) {
	case types.String:
		return uint64(len(v))
	case types.Bytes:
		return uint64(len(v))
	case traits.Lister:
		if n, ok := v.Size().(types.Int); ok && n > 0 {
			return uint64(n)
		}
	}
	return 0
}
