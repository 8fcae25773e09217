package main

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/pullgate/pullgate/verify"
)

// proposal is a policy for the repositories of some images.
type proposal struct {
	transports map[string]map[string][]wanted
	scopes     []scopeProposal
	files      *placeholders
}

// scopeProposal says what was made of the images of one repository.
type scopeProposal struct {
	transport, scope string
	accepted, left   []string // images
	either           bool     // no one signer stands for all
	attestations     []string // that all carry beside what is required
}

// propose makes the tightest requirements for each repository that accept all of its
// images. What all of them carry is required all together, so that evidence which
// somebody planted can only deny. The trust root is the only one that is configured;
// without it the name is left open.
func propose(images []carried, root string) proposal {
	p := proposal{transports: map[string]map[string][]wanted{}, files: &placeholders{root: root}}
	groups := map[[2]string][]carried{}
	for _, c := range images {
		key := [2]string{c.transport, c.ref.Name()}
		groups[key] = append(groups[key], c)
	}
	keys := slices.SortedFunc(maps.Keys(groups), func(a, b [2]string) int {
		return cmp.Or(strings.Compare(a[0], b[0]), strings.Compare(a[1], b[1]))
	})
	for _, key := range keys {
		if p.transports[key[0]] == nil {
			p.transports[key[0]] = map[string][]wanted{}
		}
		s := scopeProposal{transport: key[0], scope: key[1]}
		p.transports[key[0]][key[1]] = p.files.requirements(groups[key], &s)
		p.scopes = append(p.scopes, s)
	}
	return p
}

func (p proposal) acceptsAll() bool {
	return !slices.ContainsFunc(p.scopes, func(s scopeProposal) bool { return len(s.left) > 0 })
}

type offered = map[offer][]verify.Evidence

// requirements are those for the images of one repository.
func (f *placeholders) requirements(images []carried, s *scopeProposal) []wanted {
	f.scope = s.scope
	var sets []offered
	for _, c := range images {
		if set := c.offers(); len(set) > 0 {
			sets, s.accepted = append(sets, set), append(s.accepted, c.ref.String())
		} else {
			s.left = append(s.left, c.ref.String())
		}
	}
	if len(sets) == 0 {
		return []wanted{{Type: "reject"}}
	}
	signatures := make([]offered, len(sets))
	all := true
	for i, set := range sets {
		signatures[i] = maps.Clone(set)
		maps.DeleteFunc(signatures[i], func(o offer, _ []verify.Evidence) bool { return o.requirement == typeAttested })
		all = all && len(signatures[i]) > 0
	}
	if all {
		for _, o := range common(sets) {
			if o.requirement == typeAttested {
				s.attestations = append(s.attestations, o.predicate+" by "+o.who())
			}
		}
		sets = signatures
	}
	if every := common(sets); len(every) > 0 {
		var out []wanted
		for _, o := range every {
			out = append(out, f.requirement([]offer{o}, sets))
		}
		// The one who stands for all may be the one who planted his evidence on all, beside
		// publishers who sign by turns.
		if rest := others(sets, every); !slices.ContainsFunc(rest, func(s offered) bool { return len(s) == 0 }) {
			s.either = true
			out = append(out, f.either(cover(rest), rest)...)
		}
		return out
	}
	s.either = true
	return f.either(cover(sets), sets)
}

// offers is what a requirement has to name to accept the image: evidence about itself,
// or, for an index without any, what all images in it have.
func (c carried) offers() offered {
	if len(c.manifests) == 0 {
		return nil
	}
	set := offersOf(c.ref, c.manifests[0].evidence)
	if len(set) > 0 || len(c.manifests) == 1 {
		return set
	}
	var sets []offered
	for _, m := range c.manifests[1:] {
		sets = append(sets, offersOf(c.ref, m.evidence))
	}
	out := offered{}
	for o := range sets[0] {
		if !slices.ContainsFunc(sets, func(s offered) bool { return s[o] == nil }) {
			for _, s := range sets {
				out[o] = append(out[o], s[o]...)
			}
		}
	}
	return out
}

// common lists the offers of all sets, sorted, each signer's tightest only.
func common(sets []offered) []offer {
	var out []offer
	for _, o := range sorted(sets[0]) {
		if slices.ContainsFunc(sets, func(s offered) bool { return s[o] == nil }) {
			continue
		}
		same := func(x offer) bool { return x.wide() == o.wide() }
		if i := slices.IndexFunc(out, same); i < 0 { // sorted: the tightest comes first
			out = append(out, o)
		}
	}
	return out
}

// others are the sets without the signers of some offers.
func others(sets []offered, of []offer) []offered {
	out := make([]offered, len(sets))
	for i, set := range sets {
		out[i] = maps.Clone(set)
		maps.DeleteFunc(out[i], func(o offer, _ []verify.Evidence) bool {
			return slices.ContainsFunc(of, func(x offer) bool { return x.wide() == o.wide() })
		})
	}
	return out
}

// wide is the offer without its signedIdentity.
func (o offer) wide() offer {
	o.match = identityMatch{}
	return o
}

// who names the signer for people.
func (o offer) who() string {
	switch {
	case o.subject != "":
		return o.subject + " (issuer " + o.issuer + ")"
	case o.signer != "":
		return "key " + o.signer
	}
	return "a key"
}

// cover chooses few offers so that each set has one of them: always the one that most
// sets have which have none yet.
func cover(sets []offered) []offer {
	left := slices.Clone(sets)
	var out []offer
	for len(left) > 0 {
		counts := map[offer]int{}
		for _, set := range left {
			for o := range set {
				counts[o]++
			}
		}
		best := slices.MaxFunc(slices.SortedFunc(maps.Keys(counts), compareOffers), func(a, b offer) int {
			return cmp.Or(cmp.Compare(counts[a], counts[b]), compareOffers(b, a))
		})
		out = append(out, best)
		left = slices.DeleteFunc(left, func(s offered) bool { return s[best] != nil })
	}
	slices.SortFunc(out, compareOffers)
	return out
}

func sorted(set offered) []offer { return slices.SortedFunc(maps.Keys(set), compareOffers) }

// compareOffers puts signatures before attestations, and the tightest of one signer
// first.
func compareOffers(a, b offer) int {
	attested := func(o offer) int {
		if o.requirement == typeAttested {
			return 1
		}
		return 0
	}
	return cmp.Or(
		cmp.Compare(attested(a), attested(b)), strings.Compare(a.requirement, b.requirement), strings.Compare(a.predicate, b.predicate),
		strings.Compare(a.authority, b.authority), cmp.Compare(fmt.Sprint(a.byAuthority), fmt.Sprint(b.byAuthority)),
		strings.Compare(a.issuer, b.issuer), strings.Compare(a.subject, b.subject), strings.Compare(a.signer, b.signer),
		cmp.Compare(slices.Index(widths, a.match.Type), slices.Index(widths, b.match.Type)),
		strings.Compare(a.match.DockerRepository+a.match.SignedPrefix, b.match.DockerRepository+b.match.SignedPrefix))
}
