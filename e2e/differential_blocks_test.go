//go:build e2e

package e2e

import (
	"maps"
	"slices"
	"strings"
)

// scopeCases: the right scope is chosen, shown twice: others accept and the image
// is unsigned, others reject and it is signed.
func scopeCases(g *diffGenerator) {
	places := []string{"name", "port", "hub", "deep", "ip"}
	for i, shape := range slices.Sorted(maps.Keys(diffShapes)) {
		place := places[i%len(places)]
		if strings.Contains(shape, "wildcard") {
			place = []string{"name", "deep"}[i%2]
		}
		refs := []string{"image"}
		switch shape {
		case "tag", "digest", "reference", "other digest", "repository", "wildcard":
			refs = append(refs, "image-digest")
		}
		for _, ref := range refs {
			g.add(diffCase{shape: shape, place: place, ref: ref, decoy: "accept", state: "none"})
			g.add(diffCase{shape: shape, place: place, ref: ref})
		}
	}
	for _, place := range places {
		g.add(diffCase{shape: "wildcard", place: place, decoy: "accept", state: "none"})
		g.add(diffCase{shape: "no port", place: place, state: g.oneOf("good", "wrong key")})
	}
}

// identityCases: every matcher against signatures for this and for other names.
func identityCases(g *diffGenerator) {
	for _, matcher := range slices.Sorted(maps.Keys(diffMatchers)) {
		g.add(diffCase{matcher: matcher})
		g.add(diffCase{matcher: matcher, ref: "image-digest"})
		for _, state := range []string{"wrong tag", "wrong repository", "no tag", "digest", "moved tag"} {
			if g.in(2, 3) {
				g.add(diffCase{matcher: matcher, state: state, ref: g.oneOf("image", "image-digest")})
			}
		}
	}
	for _, state := range []string{"wrong host", "parent", "other digest", "tag and digest", "other and digest", "port 443", "no host",
		"short", "upper case", "upper case host", "with scheme", "space", "empty"} {
		g.add(diffCase{state: state, matcher: pickKey(g, diffMatchers), ref: g.oneOf("image", "image-digest")})
		g.add(diffCase{state: state, matcher: "matchRepository", place: g.oneOf("name", "hub", "port")})
	}
	for _, state := range []string{"short", "no host"} {
		for _, matcher := range []string{"", "matchExact", "matchRepository"} {
			g.add(diffCase{state: state, matcher: matcher, place: "hub"})
		}
	}
}

// payloadCases: what is signed is almost right.
func payloadCases(g *diffGenerator) {
	for _, state := range []string{"no JSON", "empty claim", "JSON, junk", "twice", "more", "list identity", "no identity", "no digest", "empty digest",
		"upper digest", "bare digest", "other type", "no type", "optional more", "optional null", "optional number", "optional date", "optional half",
		"no optional", "top more", "top Critical", "wrong digest", "junk"} {
		g.add(diffCase{state: state})
		if g.in(1, 2) {
			g.add(diffCase{state: state, key: "p256", matcher: g.oneOf("", "matchRepository")})
		}
	}
}

// messageCases: the OpenPGP message is unusual, broken, weak or out of date.
func messageCases(g *diffGenerator) {
	differs := map[string]string{
		"SHA-1": "weak hash", "128": "too many signatures", "from 2040": "signed in the future",
		"junk after": "bytes after the message", "zeros after": "bytes after the message", "joined": "bytes after the message",
		"two signers, reversed": "two signers of one message",
	}
	for _, state := range slices.Sorted(maps.Keys(diffGPGStates)) {
		// Text is no stored form of a signature: a place that holds it is out of order.
		c := diffCase{state: state, differs: differs[state], unread: state == "armored" || state == "clear text"}
		g.add(c)
		if state == "expired" || state == "expires" {
			c.key = "old"
			g.add(c)
		}
	}
	for _, state := range []string{"two signers", "two signers, reversed"} {
		g.add(diffCase{state: state, source: "ring", differs: "two signers of one message"}) // both are trusted
	}
	for _, state := range []string{"bad, good", "good, bad", "junk, good", "good, junk", "other tag, good", "nine bad, good", "wrong key", "none"} {
		g.add(diffCase{state: state, key: g.oneOf("ed25519", "rsa2048", "rsa4096", "nistp256"), ref: g.oneOf("image", "image-digest")})
	}
	g.add(diffCase{state: "by second, for other", list: "two"})
	g.add(diffCase{state: "SHA-1", weak: "allowed"})
}

// keyCases: all kinds of keys, given in all ways.
func keyCases(g *diffGenerator) {
	kinds := []string{"rsa2048", "rsa3072", "rsa4096", "ed25519", "nistp256", "rsa-subkey", "ed25519-subkey", "rsa1024", "expired", "old"}
	sources := []string{"keyData", "armored keyData", "keyPath", "armored keyPath", "ring", "ring keyPath", "keyPaths", "one keyPaths"}
	for i, key := range kinds {
		for j, source := range sources {
			if j == 0 || j == 1+i%7 || key == "ed25519" {
				g.add(diffCase{key: key, source: source, differs: map[string]string{"rsa1024": "weak key"}[key]})
			}
		}
		if g.in(1, 2) {
			g.add(diffCase{key: key, state: "wrong key", source: g.oneOf("keyData", "keyPath", "armored keyPath", "one keyPaths")})
		}
	}
	g.add(diffCase{key: "rsa1024", weak: "allowed"})
	g.add(diffCase{key: "rsa1024", weak: "allowed", state: "wrong tag"})
	g.add(diffCase{key: "revoked"})
	g.add(diffCase{key: "revoked", state: "wrong key", source: "ring"})
	g.add(diffCase{state: "wrong key", source: "ring"}) // that key is in the ring
	g.add(diffCase{state: "wrong key", source: "keyPaths"})
	for _, source := range []string{"keyData", "keyPath", "keyPaths", "keyDatas", "two PEM blocks"} {
		for _, state := range []string{"good", "wrong key"} {
			g.add(diffCase{key: "p256", source: source, state: state})
		}
	}
}

// indexCases: images for several platforms. The oracles judge the image for
// linux/amd64 only, the gate the index or else all images.
func indexCases(g *diffGenerator) {
	for _, ref := range []string{"index", "index-digest", "list", "list-digest"} {
		for _, signed := range []string{"all", "platforms", "none"} {
			g.add(diffCase{ref: ref, signed: signed})
			if g.in(1, 2) {
				g.add(diffCase{ref: ref, signed: signed, key: "p256", matcher: g.oneOf("", "matchRepository")})
			}
		}
		for _, state := range []string{"wrong key", "wrong tag", "wrong digest", "junk, good"} {
			if g.in(1, 2) {
				g.add(diffCase{ref: ref, signed: g.oneOf("all", "platforms"), state: state, matcher: g.oneOf("", "matchExact", "matchRepository", "exactRepository")})
			}
		}
		g.add(diffCase{ref: ref, signed: "index", state: g.oneOf("wrong key", "wrong repository", "no tag")})
		g.add(diffCase{ref: ref, signed: "arm64", key: g.oneOf("ed25519", "p256")})
		g.add(diffCase{ref: ref, signed: "index", key: g.oneOf("ed25519", "p256"), differs: "only the index is signed"})
		g.add(diffCase{ref: ref, signed: "amd64", key: g.oneOf("ed25519", "p256"), differs: "only one platform is signed"})
	}
	// An index that nobody signed, over images that were signed as another tag.
	for _, ref := range []string{"index", "list"} {
		for _, state := range []string{"wrong tag", "moved tag", "digest"} {
			g.add(diffCase{ref: ref, signed: "platforms", state: state})
		}
		g.add(diffCase{ref: ref, signed: "platforms", state: "wrong tag", key: "p256"})
	}
	g.add(diffCase{ref: "index", signed: "none", list: "accept"})
	g.add(diffCase{ref: "index", list: "reject"})
	for _, signed := range []string{"all", "index", "platforms", "arm64"} {
		g.add(diffCase{ref: "child", signed: signed, state: g.oneOf("good", "wrong tag")})
		g.add(diffCase{ref: "child", signed: signed, matcher: g.oneOf("", "matchExact"), key: "p256"})
	}
	for _, ref := range []string{"docker", "docker-digest", "schema1", "schema1-digest"} {
		for _, state := range []string{"good", "none", "wrong tag", "wrong digest"} {
			g.add(diffCase{ref: ref, state: state})
		}
	}
}

// listCases: requirements in one list are all demanded.
func listCases(g *diffGenerator) {
	for _, list := range slices.Sorted(maps.Keys(diffLists)) {
		states := []string{"good", "none"}
		if diffLists[list].sigstore {
			states = append(states, "with sigstore", "only sigstore")
		} else if diffLists[list].asks {
			states = append(states, "by second too", "by second")
		}
		for _, state := range states {
			g.add(diffCase{list: list, state: state, shape: g.oneOf("host", "repository", "default")})
		}
	}
	for _, list := range []string{"twice", "and accept", "and reject", "accept"} {
		g.add(diffCase{list: list, key: "p256"})
		g.add(diffCase{list: list, key: "p256", state: "none"})
	}
	g.add(diffCase{list: "two", state: "by second too", matcher: "matchRepository", ref: "image-digest"})
	g.add(diffCase{list: "two", state: "by second too", matcher: "exactReference"})
}
