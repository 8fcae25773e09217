package verify

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"time"

	"github.com/distribution/reference"
	"go.podman.io/image/v5/signature"

	"github.com/pullgate/pullgate/verify/discover"
)

// Requirement types beyond containers-policy.json(5). Other programs refuse a
// policy.json that has them.
const (
	typeBundle   = "bundleSigned"
	typeNotation = "notationSigned"
	typeAttested = "attested"
	typeAnyOf    = "anyOf"
)

var extensionTypes = map[string]bool{typeBundle: true, typeNotation: true, typeAttested: true, typeAnyOf: true}

// extension is what a requirement of these types does. It is only read after it is
// made.
type extension interface {
	// wants says which evidence has to be looked for to judge an image.
	wants(q *discover.Query, image *judged)
	// judge judges one image. An error means that nobody can tell.
	judge(ctx context.Context, in *judging) (outcome, error)
	// required says for people what is asked for.
	required() string
	// wouldPass says what evidence for ref would meet the requirement at a time; empty
	// when nothing would.
	wouldPass(ref reference.Named, at time.Time) string
}

// judging is one judgement with everything that was found for it.
type judging struct {
	engine *Engine
	policy *Policy
	image  *judged
	found  discover.Found
	looked []string // places that were asked for evidence about a base
	// before is when what is accepted must have been signed, proven; zero: whenever.
	before time.Time
}

// timely says why a signature that is good does not count: nothing proves that it was
// made in time. Each of the times is one at which it was there already. It is asked of
// each document, not of the first good one: who may push, without any key, can put a
// copy without its timestamps before the original.
func (in *judging) timely(times []time.Time) error {
	if in.before.IsZero() || slices.ContainsFunc(times, in.before.After) {
		return nil
	}
	found := "found no log entry or timestamp that counts"
	if len(times) > 0 {
		found = "the earliest time that is proven is " + slices.MinFunc(times, time.Time.Compare).UTC().Format(time.RFC3339)
	}
	return fmt.Errorf("nothing proves that it was signed before %s: %s", in.before.Format(time.RFC3339), found)
}

// extend reads one extension requirement and returns its form with all keys
// inlined, which counts into the revision.
func (l *loader) extend(at string, raw json.RawMessage, depth int) (*requirement, json.RawMessage, error) {
	r := &requirement{kind: typeOf(raw)}
	var o object
	var err error
	switch r.kind {
	case typeBundle:
		r.ext, o, err = l.bundleSigned(at, raw)
	case typeNotation:
		r.ext, o, err = l.notationSigned(at, raw)
	case typeAttested:
		r.ext, o, err = l.attested(at, raw)
	case typeAnyOf:
		r.ext, o, err = l.anyOf(at, raw, depth)
	default:
		err = fmt.Errorf("unknown requirement type %q", clean(r.kind))
	}
	if err != nil {
		return nil, nil, err
	}
	l.lintExtension(at, r)
	inlined, err := json.Marshal(o)
	return r, inlined, err
}

// inner reads a requirement that is part of another one, of any type.
func (l *loader) inner(at string, raw json.RawMessage, depth int) (*requirement, json.RawMessage, error) {
	if isExtension(raw) {
		return l.extend(at, raw, depth+1)
	}
	if problem, fix := typeProblem(raw); problem != "" {
		return nil, nil, fmt.Errorf("%s; %s", problem, fix)
	}
	if err := tryAlone(raw); err != nil {
		return nil, nil, err
	}
	r, inlined, err := l.requirement(at, raw)
	if err != nil {
		return nil, nil, err
	}
	if len(l.faults) == 0 {
		r.native, err = signature.NewPolicyFromBytes(fmt.Appendf(nil, `{"default":[%s]}`, inlined))
	}
	return r, inlined, err
}

// oneOf checks that a requirement names its keys in exactly one way.
func oneOf(o object, keys ...string) error {
	var found []string
	for _, k := range keys {
		if _, there := o[k]; there {
			found = append(found, k)
		}
	}
	if len(found) > 1 {
		return fmt.Errorf("expected one of %s, found %s", someOf(keys, ", "), someOf(found, " and "))
	}
	return nil
}

// pathAndData are the names of a member for files and for their content, one or
// several.
func pathAndData(base string) []string {
	return []string{base + "Path", base + "Paths", base + "Data", base + "Datas"}
}

// judgeExtension judges one extension requirement and completes what is said.
func (in *judging) judgeExtension(ctx context.Context, r *requirement) (outcome, error) {
	o, err := r.ext.judge(ctx, in)
	o.looked = append(o.looked, in.looked...)
	if err != nil {
		return outcome{looked: o.looked}, err
	}
	o.Type, o.Required = r.kind, r.required()
	if o.Allowed {
		o.Found = nil
		return o, nil
	}
	o.Found = limited(o.Found)
	o.WouldPass = r.wouldPass(in.image.ref(), in.image.at)
	return o, nil
}
