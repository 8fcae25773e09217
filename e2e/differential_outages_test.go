//go:build e2e

package e2e

import (
	"maps"
	"slices"
)

// whereCases: signatures are looked for where registries.d says.
func whereCases(g *diffGenerator) {
	for i, where := range slices.Sorted(maps.Keys(diffWhere)) {
		if where == "duplicate" {
			g.add(diffCase{where: where, unusable: "registries.d"})
			continue
		}
		g.add(diffCase{where: where})
		if g.in(1, 2) {
			g.add(diffCase{where: where, place: []string{"port", "hub", "deep", "ip"}[i%4], ref: "image-digest"})
		}
	}
	g.add(diffCase{where: "file"})
	g.add(diffCase{where: "file", state: "none"})
	g.add(diffCase{where: "file", place: "hub", state: "nine bad, good"})
	g.add(diffCase{where: "file", state: "wrong key"})
}

// outageCases: a place cannot be asked.
func outageCases(g *diffGenerator) {
	for _, fault := range slices.Sorted(maps.Keys(diffFaults)) {
		f := diffFaults[fault]
		g.add(diffCase{fault: fault, unread: !f.harmless})
		if !f.slow && g.in(1, 2) {
			list := g.oneOf("accept", "and reject", "two", "and accept")
			g.add(diffCase{fault: fault, ref: "image-digest", list: list, state: "bad, good", unread: !f.harmless && diffLists[list].asks})
		}
	}
	for _, fault := range []string{"404", "500", "garbage"} {
		g.add(diffCase{fault: fault, ref: "index", unread: fault != "404"})
		g.add(diffCase{fault: fault, shape: "other tag", decoy: "accept"}) // no scope asks for signatures
		g.add(diffCase{fault: fault, where: "nested, reversed"})           // another place is asked
	}
	// Each manifest of an index has signatures of its own, which may be out of reach.
	g.add(diffCase{fault: "500", ref: "index", failing: "arm64"})
	g.add(diffCase{fault: "500", ref: "index", failing: "index", unread: true, differs: "the index's signatures cannot be read"})
	g.add(diffCase{fault: "500", ref: "index", failing: "amd64", differs: "one platform's signatures cannot be read, the index is signed"})
	g.add(diffCase{fault: "500", ref: "index", signed: "platforms", failing: "arm64", unread: true, differs: "one platform's signatures cannot be read"})
	g.add(diffCase{fault: "500", ref: "index", signed: "platforms", failing: "amd64", unread: true})

	g.add(diffCase{fault: "directory", where: "file", unread: true})
	g.add(diffCase{fault: "refused", unread: true})
	g.add(diffCase{fault: "refused", list: "accept"})
}

// attachmentCases: sigstore signatures, beside the image in the registry.
func attachmentCases(g *diffGenerator) {
	for _, state := range slices.Sorted(maps.Keys(diffSigstoreStates)) {
		g.add(diffCase{key: "p256", state: state})
	}
	for _, matcher := range slices.Sorted(maps.Keys(diffMatchers)) {
		g.add(diffCase{key: "p256", matcher: matcher, state: g.oneOf("good", "good", "wrong repository"), ref: g.oneOf("image", "image-digest")})
		g.add(diffCase{key: "p256", matcher: matcher, state: "no tag"}) // as cosign writes it
	}
	for _, state := range []string{"wrong tag", "moved tag", "digest", "bad, good", "good, bad", "junk, good", "nine bad, good", "none", "wrong key"} {
		g.add(diffCase{key: "p256", state: state, place: g.oneOf("name", "port", "hub")})
	}
	for _, fault := range []string{"401", "403", "429", "500", "HTML", "garbage", "empty", "truncated", "reset", "404"} {
		g.add(diffCase{key: "p256", place: "front", on: "attachment", fault: fault, unread: fault != "404"})
	}
	for _, fault := range []string{"404", "403", "500", "garbage", "truncated", "empty"} {
		g.add(diffCase{key: "p256", place: "front", on: "payload", fault: fault, unread: true})
	}
	// Signature servers are asked too.
	g.add(diffCase{key: "p256", place: "front", fault: "500", unread: true})
	g.add(diffCase{key: "p256", place: "front", fault: "404"})
	g.add(diffCase{place: "front", on: "attachment", fault: "500", differs: "an attachment that no requirement asks for"})
}

// extensionCases: a registry that keeps signatures itself, as OpenShift's does.
func extensionCases(g *diffGenerator) {
	for _, state := range []string{"good", "none", "wrong key", "wrong tag", "bad, good", "junk, good", "moved tag"} {
		g.add(diffCase{place: "ext", state: state})
	}
	g.add(diffCase{place: "ext", ref: "image-digest"})
	g.add(diffCase{place: "ext", ref: "index"})
	g.add(diffCase{place: "ext", ref: "index", signed: "none"})
	g.add(diffCase{place: "ext", key: "p256"})
	g.add(diffCase{place: "ext", key: "p256", state: "none"})
	for _, fault := range []string{"404", "401", "403", "500", "HTML", "garbage", "empty", "truncated", "reset"} {
		g.add(diffCase{place: "ext", on: "extension", fault: fault, unread: true})
	}
	g.add(diffCase{place: "ext", on: "extension", fault: "500", list: "accept"})
}
