package verify

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/distribution/reference"

	"github.com/pullgate/pullgate/verify/discover"
)

// Bounds of anyOf.
const (
	maxAlternatives = 32
	maxTogether     = 32
	maxAnyOfDepth   = 3
)

// anyOf is met when one of its alternatives is.
type anyOf struct{ of []alternative }

// alternative is met when all its requirements are.
type alternative struct {
	all []*requirement
	// until is when the alternative ends to count, whatever was signed when; zero:
	// never.
	until time.Time
	// before is when what it rests on must have been signed, proven by a
	// transparency log or a timestamp authority; zero: whenever.
	before time.Time
}

// ended tells whether the alternative counts no longer at a time.
func (a alternative) ended(at time.Time) bool { return !a.until.IsZero() && !at.Before(a.until) }

// anyOf reads {"type":"anyOf","of":[ALTERNATIVE,…]}, where an alternative is a list
// of requirements or {"type":"allOf","of":[REQUIREMENT,…],"until":…,"signedBefore":…}.
func (l *loader) anyOf(at string, raw json.RawMessage, depth int) (extension, object, error) {
	o, err := strictObject(raw, "type", "of")
	if err != nil {
		return nil, nil, err
	}
	if depth >= maxAnyOfDepth {
		return nil, nil, fmt.Errorf("expected at most %d levels of anyOf, found more", maxAnyOfDepth)
	}
	var list []json.RawMessage
	if err := json.Unmarshal(o["of"], &list); err != nil || len(list) == 0 || len(list) > maxAlternatives {
		return nil, nil, fmt.Errorf(`of: expected a list of 1 to %d alternatives, each a list of requirements or {"type": "allOf", …}`, maxAlternatives)
	}
	x := &anyOf{}
	for i, raw := range list {
		key := fmt.Sprintf("%s.of[%d]", at, i)
		alt, inlined, err := l.alternative(key, raw, depth)
		if err != nil {
			return nil, nil, fmt.Errorf("of[%d]: %w", i, err)
		}
		l.lintAlternative(key, alt)
		x.of = append(x.of, alt)
		list[i] = inlined
	}
	return x, o, o.set("of", list)
}

// lintAlternative warns about an alternative that counts no longer or always.
func (l *loader) lintAlternative(at string, alt alternative) {
	if alt.ended(l.now) {
		l.warn(at+".until", "this alternative has ended on "+alt.until.Format(time.RFC3339), "take it out")
	}
	if acceptAnything(alt.all) {
		l.warn(at, "needs nothing, so anyOf as a whole needs nothing", "take it out, or require a signature")
	}
}

// alternative reads one of anyOf.
func (l *loader) alternative(at string, raw json.RawMessage, depth int) (alternative, json.RawMessage, error) {
	var list []json.RawMessage
	if json.Unmarshal(raw, &list) == nil && list != nil {
		alt, err := l.together(at, list, depth)
		if err != nil {
			return alternative{}, nil, err
		}
		inlined, err := json.Marshal(list)
		return alt, inlined, err
	}
	if err := bare(raw); err != nil {
		return alternative{}, nil, err
	}
	o, err := strictObject(raw, "type", "of", "until", "signedBefore")
	if err != nil {
		return alternative{}, nil, err
	}
	if o.text("type") != typeAllOf {
		return alternative{}, nil, errors.New(`expected a list of requirements or an object of type "allOf"`)
	}
	if err := json.Unmarshal(o["of"], &list); err != nil {
		return alternative{}, nil, errors.New("of: expected a list of requirements")
	}
	alt, err := l.together(at+".of", list, depth)
	if err != nil {
		return alternative{}, nil, err
	}
	if alt.until, err = o.date("until"); err != nil {
		return alternative{}, nil, err
	}
	if alt.before, err = o.date("signedBefore"); err != nil {
		return alternative{}, nil, err
	}
	if !alt.before.IsZero() && !provesTimes(alt.all) {
		return alternative{}, nil, errors.New("signedBefore: nothing proves when these requirements' signatures were made; " +
			"it works with bundleSigned, notationSigned and attested")
	}
	if err := o.set("of", list); err != nil {
		return alternative{}, nil, err
	}
	inlined, err := json.Marshal(o)
	return alt, inlined, err
}

// bare says what to write where an alternative is an object that is no allOf.
func bare(raw json.RawMessage) error {
	t := typeOf(raw)
	switch {
	case slices.Contains(requirementTypes, t):
		return fmt.Errorf(`an alternative is a list of requirements, found a requirement of type %q: write each alternative in brackets, like "of": [[{"type": %[1]q, …}], [{"type": …}]]`, t)
	case t == "" || t == typeAllOf:
		return nil
	case nearest(t, []string{typeAllOf}) != "":
		return fmt.Errorf("unknown type %q; did you mean %q?", clean(t), typeAllOf)
	case nearest(t, requirementTypes) != "":
		problem, _ := typeProblem(raw)
		return fmt.Errorf("%s Write each alternative in brackets, too", problem)
	}
	return nil
}

// together reads the requirements of one alternative and inlines them in list.
func (l *loader) together(at string, list []json.RawMessage, depth int) (alternative, error) {
	if len(list) == 0 || len(list) > maxTogether {
		return alternative{}, fmt.Errorf("expected a list of 1 to %d requirements, found %d", maxTogether, len(list))
	}
	var alt alternative
	for i, raw := range list {
		r, inlined, err := l.inner(fmt.Sprintf("%s[%d]", at, i), raw, depth)
		if err != nil {
			return alternative{}, fmt.Errorf("[%d]: %w", i, err)
		}
		alt.all = append(alt.all, r)
		list[i] = inlined
	}
	return alt, nil
}

// provesTimes tells whether every requirement that looks at signatures can prove
// when they were made.
func provesTimes(reqs []*requirement) bool {
	any := false
	for _, r := range reqs {
		switch {
		case r.kind == typeBundle, r.kind == typeNotation, r.kind == typeAttested:
			any = true
		case r.needsSignatures():
			return false
		}
	}
	return any
}

// date reads a member that must be a time when it is there (RFC 3339).
func (o object) date(key string) (time.Time, error) {
	s, err := o.strictText(key)
	if err != nil || s == "" && o[key] == nil {
		return time.Time{}, err
	}
	t, err := time.Parse(time.RFC3339, s)
	if err != nil || t.IsZero() {
		return time.Time{}, fmt.Errorf("%s: expected a time like 2027-01-31T00:00:00Z", key)
	}
	return t, nil
}

func (x *anyOf) wants(q *discover.Query, image *judged) {
	for _, alt := range x.of {
		if alt.ended(image.at) {
			continue // judge does not look at it either: its places may be gone
		}
		for _, r := range alt.all {
			r.wants(q, image)
		}
	}
}

func (x *anyOf) required() string {
	var out []string
	for _, alt := range x.of {
		out = append(out, alt.required())
	}
	return "any of: " + strings.Join(out, "; or ")
}

func (a alternative) required() string {
	var out []string
	for _, r := range a.all {
		out = append(out, r.required())
	}
	text := strings.Join(out, " and ")
	if !a.until.IsZero() {
		text += ", until " + a.until.Format(time.RFC3339)
	}
	if !a.before.IsZero() {
		text += ", signed before " + a.before.Format(time.RFC3339)
	}
	return text
}

func (x *anyOf) wouldPass(ref reference.Named, at time.Time) string {
	var out []string
	for _, alt := range x.of {
		if pass := alt.wouldPass(ref, at); pass != "" {
			out = append(out, pass)
		}
	}
	return strings.Join(out, "; or ")
}

func (a alternative) wouldPass(ref reference.Named, at time.Time) string {
	if a.hopeless(at) {
		return ""
	}
	var all []string
	for _, r := range a.all {
		pass := r.wouldPass(ref, at)
		if pass == "" {
			return "" // one of them can never be met
		}
		all = append(all, pass)
	}
	return strings.Join(all, " and ") + a.signed()
}

// hopeless tells whether the dates let nothing meet the alternative: it has ended, or
// asks for times that nothing can prove.
func (a alternative) hopeless(at time.Time) bool {
	return a.ended(at) || !a.before.IsZero() && slices.ContainsFunc(a.all, func(r *requirement) bool { return timeless(r) != "" })
}

// signed adds to what would pass when it has to have been signed.
func (a alternative) signed() string {
	if a.before.IsZero() {
		return ""
	}
	return ", signed before " + a.before.Format(time.RFC3339) + ", as a log or timestamp authority proves"
}

func (x *anyOf) judge(ctx context.Context, in *judging) (outcome, error) {
	var o outcome
	var doubt error // about one alternative; another one may be met all the same
	found := make([][]string, len(x.of))
	for i, alt := range x.of {
		one, err := alt.judge(ctx, in)
		o.looked = append(o.looked, one.looked...)
		if err != nil {
			doubt = err
			continue
		}
		if one.Allowed {
			one.looked = o.looked
			return one, nil
		}
		found[i] = one.Found
	}
	if doubt != nil {
		return outcome{looked: o.looked}, doubt
	}
	o.Found = byAlternative(found)
	return o, nil
}

// byAlternative lists the reasons of all alternatives: the first of each before the
// others of any, since who reads may be shown only some, and a reason of several once.
func byAlternative(found [][]string) []string {
	of := map[string][]int{} // reason to alternatives
	var order []string
	add := func(i int, reasons []string) {
		for _, r := range reasons {
			if of[r] == nil {
				order = append(order, r)
			}
			if !slices.Contains(of[r], i+1) {
				of[r] = append(of[r], i+1)
			}
		}
	}
	for i, reasons := range found {
		add(i, reasons[:min(len(reasons), 1)])
	}
	for i, reasons := range found {
		add(i, reasons[min(len(reasons), 1):])
	}
	for i, r := range order {
		slices.Sort(of[r])
		names, plural := make([]string, len(of[r])), ""
		for n, alternative := range of[r] {
			names[n] = strconv.Itoa(alternative)
		}
		if len(names) > 1 {
			plural = "s"
		}
		order[i] = fmt.Sprintf("alternative%s %s: %s", plural, strings.Join(names, ", "), r)
	}
	return order
}

// judge judges one alternative. Its outcome ends with the first of what it rests on.
func (a alternative) judge(ctx context.Context, in *judging) (outcome, error) {
	o := outcome{Result: Result{Allowed: len(a.all) > 0}, expires: a.until}
	if a.ended(in.image.at) {
		return outcome{Result: Result{Found: []string{"it has ended on " + a.until.Format(time.RFC3339)}}}, nil
	}
	for _, r := range a.all {
		one, err := a.one(ctx, in, r)
		o.looked = append(o.looked, one.looked...)
		if err != nil {
			return outcome{looked: o.looked}, err
		}
		if !one.Allowed {
			o.Allowed = false
			o.Found = append(o.Found, one.Found...)
			continue
		}
		o.Signers = append(o.Signers, one.Signers...)
		o.Evidence = append(o.Evidence, one.Evidence...)
		o.expires = earliest(o.expires, one.expires)
	}
	if !o.Allowed {
		return outcome{Result: Result{Found: o.Found}, looked: o.looked}, nil
	}
	return o, nil
}

// one judges one requirement. With signedBefore all that look at signatures are
// extensions that can prove when (see provesTimes).
func (a alternative) one(ctx context.Context, in *judging, r *requirement) (outcome, error) {
	if a.before.IsZero() || r.ext == nil {
		return in.engine.evaluateOne(ctx, in.policy, in.image, r, in.found, false)
	}
	with := *in
	with.before = a.before
	return with.judgeExtension(ctx, r)
}

// earliest is the earlier of two times, of which zero is none.
func earliest(a, b time.Time) time.Time {
	if a.IsZero() || !b.IsZero() && b.Before(a) {
		return b
	}
	return a
}
