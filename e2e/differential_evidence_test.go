//go:build e2e

package e2e

import (
	"bytes"
	"encoding/json"
	"maps"
	"path"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"

	"github.com/pullgate/pullgate/e2e/harness"
)

// diffPiece is one signature: exactly one member is set.
type diffPiece struct {
	blob  []byte         // of a signature server
	layer *harness.Layer // of a .sig attachment
}

// diffSigner makes the signatures of one manifest.
type diffSigner struct {
	t    *testing.T
	w    *diffWorld
	key  string   // by which the good ones are made; "p256" is the sigstore key
	home diffName // the identity that the requirement's matcher wants
	d    digest.Digest
}

// diffClaim is a payload, ready to be bent.
type diffClaim map[string]any

func (s diffSigner) claim(identity string, d digest.Digest) diffClaim {
	kind := "atomic container signature"
	if s.key == "p256" {
		kind = "cosign container image signature"
	}
	return diffClaim{
		"critical": map[string]any{
			"identity": map[string]any{"docker-reference": identity},
			"image":    map[string]any{"docker-manifest-digest": d},
			"type":     kind,
		},
		"optional": map[string]any{"creator": "differential test", "timestamp": 1700000000},
	}
}

// critical returns the claim with one more or another member of "critical".
func (c diffClaim) critical(key string, value any) diffClaim {
	out := maps.Clone(c)
	inner := maps.Clone(c["critical"].(map[string]any))
	inner[key] = value
	out["critical"] = inner
	return out
}

// with returns the claim with one more or another member.
func (c diffClaim) with(key string, value any) diffClaim {
	out := maps.Clone(c)
	out[key] = value
	return out
}

func (s diffSigner) encode(c diffClaim) []byte {
	b, err := json.Marshal(c)
	if err != nil {
		s.t.Fatal(err)
	}
	return b
}

// bytes signs any payload with the case's key.
func (s diffSigner) bytes(payload []byte, options ...string) diffPiece {
	return s.by(s.key, payload, options...)
}

func (s diffSigner) by(key string, payload []byte, options ...string) diffPiece {
	switch key {
	case "p256":
		l := s.w.p256.SignPayload(s.t, payload)
		return diffPiece{layer: &l}
	case "alien":
		l := s.w.alien.SignPayload(s.t, payload)
		return diffPiece{layer: &l}
	}
	return diffPiece{blob: s.w.sign(s.t, key, payload, options...)}
}

// claims signs that identity is the manifest.
func (s diffSigner) claims(identity string, options ...string) diffPiece {
	return s.bytes(s.encode(s.claim(identity, s.d)), options...)
}

// good is the signature that the requirement wants.
func (s diffSigner) good(options ...string) diffPiece { return s.claims(s.home.String(), options...) }

// wrongKey is good but for the key.
func (s diffSigner) wrongKey() diffPiece {
	key := diffOtherKey
	if s.key == "p256" {
		key = "alien"
	}
	return s.by(key, s.encode(s.claim(s.home.String(), s.d)))
}

// junk is no signature, but has the form that keeps it from being an outage.
func (s diffSigner) junk() diffPiece {
	if s.key == "p256" {
		return diffPiece{layer: &harness.Layer{Payload: []byte("junk"), Signature: "bm90IGEgc2lnbmF0dXJl"}}
	}
	return diffPiece{blob: []byte("\xc4junk")}
}

func (s diffSigner) wrongDigest() diffPiece {
	return s.bytes(s.encode(s.claim(s.home.String(), s.w.elsewhere.Digest)))
}

// bentClaim signs a payload that differs from the good one.
func bentClaim(bend func(s diffSigner, c diffClaim) diffClaim) func(diffSigner) []diffPiece {
	return func(s diffSigner) []diffPiece {
		return []diffPiece{s.bytes(s.encode(bend(s, s.claim(s.home.String(), s.d))))}
	}
}

// signedAs signs with another identity.
func signedAs(of func(s diffSigner) string) func(diffSigner) []diffPiece {
	return func(s diffSigner) []diffPiece { return []diffPiece{s.claims(of(s))} }
}

// Both kinds of signatures have these states.
var diffStates = map[string]func(s diffSigner) []diffPiece{
	"none":         func(diffSigner) []diffPiece { return nil },
	"good":         func(s diffSigner) []diffPiece { return []diffPiece{s.good()} },
	"wrong key":    func(s diffSigner) []diffPiece { return []diffPiece{s.wrongKey()} },
	"wrong digest": func(s diffSigner) []diffPiece { return []diffPiece{s.wrongDigest()} },
	"junk":         func(s diffSigner) []diffPiece { return []diffPiece{s.junk()} },

	// Several signatures: one that counts is enough.
	"bad, good":       func(s diffSigner) []diffPiece { return []diffPiece{s.wrongKey(), s.good()} },
	"good, bad":       func(s diffSigner) []diffPiece { return []diffPiece{s.good(), s.wrongKey()} },
	"junk, good":      func(s diffSigner) []diffPiece { return []diffPiece{s.junk(), s.good()} },
	"good, junk":      func(s diffSigner) []diffPiece { return []diffPiece{s.good(), s.junk()} },
	"other tag, good": func(s diffSigner) []diffPiece { return []diffPiece{s.claims(s.home.name() + ":other"), s.good()} },
	"nine bad, good": func(s diffSigner) []diffPiece {
		var out []diffPiece
		for range 9 {
			out = append(out, s.wrongKey())
		}
		return append(out, s.good())
	},
	// The identity and the digest of two signatures do not add up.
	"moved tag": func(s diffSigner) []diffPiece { return []diffPiece{s.claims(s.home.name() + ":old"), s.wrongDigest()} },

	"wrong tag":        signedAs(func(s diffSigner) string { return s.home.name() + ":other" }),
	"wrong repository": signedAs(func(s diffSigner) string { return s.home.name() + "x" + s.home.ref }),
	"wrong host":       signedAs(func(s diffSigner) string { return "elsewhere.example/" + s.home.repo + s.home.ref }),
	"parent":           signedAs(func(s diffSigner) string { return s.home.registry + "/" + path.Dir(s.home.repo) + s.home.ref }),
	"no tag":           signedAs(func(s diffSigner) string { return s.home.name() }),
	"digest":           signedAs(func(s diffSigner) string { return s.home.name() + "@" + s.d.String() }),
	"other digest":     signedAs(func(s diffSigner) string { return s.home.name() + "@" + s.w.elsewhere.Digest.String() }),
	"tag and digest":   signedAs(func(s diffSigner) string { return s.home.name() + ":" + s.home.tag + "@" + s.d.String() }),
	"other and digest": signedAs(func(s diffSigner) string { return s.home.name() + ":other@" + s.d.String() }),
	"port 443":         signedAs(func(s diffSigner) string { return s.home.registry + ":443/" + s.home.repo + s.home.ref }),
	"no host":          signedAs(func(s diffSigner) string { return s.home.repo + s.home.ref }),
	"short":            signedAs(func(s diffSigner) string { return path.Base(s.home.repo) + s.home.ref }),
	"upper case":       signedAs(func(s diffSigner) string { return strings.ToUpper(s.home.name()) + s.home.ref }),
	"upper case host":  signedAs(func(s diffSigner) string { return strings.ToUpper(s.home.registry) + "/" + s.home.repo + s.home.ref }),
	"with scheme":      signedAs(func(s diffSigner) string { return "docker://" + s.home.String() }),
	"space":            signedAs(func(s diffSigner) string { return s.home.String() + " " }),
	"empty":            signedAs(func(diffSigner) string { return "" }),

	// Payloads that are almost right.
	"no JSON":     func(s diffSigner) []diffPiece { return []diffPiece{s.bytes([]byte("image " + s.home.String()))} },
	"empty claim": func(s diffSigner) []diffPiece { return []diffPiece{s.bytes(nil)} },
	"JSON, junk": func(s diffSigner) []diffPiece {
		return []diffPiece{s.bytes(append(s.encode(s.claim(s.home.String(), s.d)), "{}"...))}
	},
	"twice": func(s diffSigner) []diffPiece {
		b := s.encode(s.claim(s.home.String(), s.d))
		return []diffPiece{s.bytes(append(append(b[:len(b)-1:len(b)-1], ","...), b[1:]...))}
	},
	"more": bentClaim(func(_ diffSigner, c diffClaim) diffClaim { return c.critical("more", "than is known") }),
	"list identity": bentClaim(func(s diffSigner, c diffClaim) diffClaim {
		return c.critical("identity", map[string]any{"docker-reference": []string{s.home.String()}})
	}),
	"no identity": bentClaim(func(_ diffSigner, c diffClaim) diffClaim { return c.critical("identity", map[string]any{}) }),
	"no digest":   bentClaim(func(_ diffSigner, c diffClaim) diffClaim { return c.critical("image", map[string]any{}) }),
	"empty digest": bentClaim(func(_ diffSigner, c diffClaim) diffClaim {
		return c.critical("image", map[string]any{"docker-manifest-digest": ""})
	}),
	"upper digest": bentClaim(func(s diffSigner, c diffClaim) diffClaim {
		return c.critical("image", map[string]any{"docker-manifest-digest": "sha256:" + strings.ToUpper(s.d.Encoded())})
	}),
	"bare digest": bentClaim(func(s diffSigner, c diffClaim) diffClaim {
		return c.critical("image", map[string]any{"docker-manifest-digest": s.d.Encoded()})
	}),
	"other type": bentClaim(func(_ diffSigner, c diffClaim) diffClaim { return c.critical("type", "something else") }),
	"no type":    bentClaim(func(_ diffSigner, c diffClaim) diffClaim { return c.critical("type", "") }),
	"optional more": bentClaim(func(_ diffSigner, c diffClaim) diffClaim {
		return c.with("optional", map[string]any{"git": "abc", "n": 1.5})
	}),
	"optional null":   bentClaim(func(_ diffSigner, c diffClaim) diffClaim { return c.with("optional", nil) }),
	"optional number": bentClaim(func(_ diffSigner, c diffClaim) diffClaim { return c.with("optional", map[string]any{"creator": 1}) }),
	"optional date": bentClaim(func(_ diffSigner, c diffClaim) diffClaim {
		return c.with("optional", map[string]any{"timestamp": "now"})
	}),
	"optional half": bentClaim(func(_ diffSigner, c diffClaim) diffClaim { return c.with("optional", map[string]any{"timestamp": 1.5}) }),
	"no optional":   bentClaim(func(_ diffSigner, c diffClaim) diffClaim { return diffClaim{"critical": c["critical"]} }),
	"top more":      bentClaim(func(_ diffSigner, c diffClaim) diffClaim { return c.with("more", 1) }),
	"top Critical": bentClaim(func(_ diffSigner, c diffClaim) diffClaim {
		return diffClaim{"Critical": c["critical"], "optional": c["optional"]}
	}),
}

// diffGPGStates are about the OpenPGP message around the payload.
var diffGPGStates = map[string]func(s diffSigner) []diffPiece{
	"by second too": func(s diffSigner) []diffPiece {
		return []diffPiece{s.good(), s.by(diffSecondKey, s.encode(s.claim(s.home.String(), s.d)))}
	},
	"by second": func(s diffSigner) []diffPiece {
		return []diffPiece{s.by(diffSecondKey, s.encode(s.claim(s.home.String(), s.d)))}
	},
	"by second, for other": func(s diffSigner) []diffPiece {
		return []diffPiece{s.good(), s.by(diffSecondKey, s.encode(s.claim("elsewhere.example/app:v1", s.d)))}
	},
	"SHA-1":      signedWith("--digest-algo", "SHA1"),
	"SHA-512":    signedWith("--digest-algo", "SHA512"),
	"not packed": signedWith("--compress-algo", "none"),
	"bzip2":      signedWith("--compress-algo", "bzip2"),
	"text mode":  signedWith("--textmode"),
	"file name":  signedWith("--set-filename", "claim.json"),
	"notation":   signedWith("--sig-notation", "differential@example.com=yes"),
	"expired":    signedWith("--default-sig-expire", "1d"),
	"expires":    signedWith("--default-sig-expire", "1y"),
	"from 2040":  signedWith("--faked-system-time", "20400101T000000"),
	"armored":    signedWith("--armor"),
	"clear text": signedWith("--clearsign"),
	"detached":   signedWith("--detach-sign"),
	"two signers": func(s diffSigner) []diffPiece {
		return []diffPiece{s.good("--local-user", s.w.keys[diffOtherKey].Fingerprint)}
	},
	"two signers, reversed": func(s diffSigner) []diffPiece {
		return []diffPiece{s.by(diffOtherKey, s.encode(s.claim(s.home.String(), s.d)), "--local-user", s.w.keys[s.key].Fingerprint)}
	},
	"signature of a signature": func(s diffSigner) []diffPiece { return []diffPiece{s.bytes(s.good().blob)} },
	"signed by other around":   func(s diffSigner) []diffPiece { return []diffPiece{s.by(diffOtherKey, s.good().blob)} },
	"cut":                      alteredMessage(func(b []byte) []byte { return b[:len(b)/2] }),
	"one byte short":           alteredMessage(func(b []byte) []byte { return b[:len(b)-1] }),
	"junk after":               alteredMessage(func(b []byte) []byte { return append(b, "junk"...) }),
	"zeros after":              alteredMessage(func(b []byte) []byte { return append(b, 0, 0, 0, 0) }),
	"joined":                   alteredMessage(func(b []byte) []byte { return append(b, b...) }),
	"one bit":                  alteredMessage(func(b []byte) []byte { b[len(b)-3] ^= 1; return b }),
	"named":                    alteredMessage(func(b []byte) []byte { return append([]byte("\x00simple-signing\n"), b...) }),
	"altered payload": func(s diffSigner) []diffPiece {
		b := s.claims(s.home.name()+":AAAAAAAA", "--compress-algo", "none").blob
		return []diffPiece{{blob: bytes.Replace(b, []byte(":AAAAAAAA"), []byte(s.padded(9)), 1)}}
	},
	"127":           func(s diffSigner) []diffPiece { return append([]diffPiece{s.good()}, make127(s.wrongKey())[:126]...) },
	"128":           func(s diffSigner) []diffPiece { return append([]diffPiece{s.good()}, make127(s.wrongKey())...) },
	"with sigstore": func(s diffSigner) []diffPiece { return []diffPiece{s.good(), s.cosign()} },
	"only sigstore": func(s diffSigner) []diffPiece { return []diffPiece{s.cosign()} },
}

// signedWith makes a good signature with options of gpg.
func signedWith(o ...string) func(diffSigner) []diffPiece {
	return func(s diffSigner) []diffPiece { return []diffPiece{s.good(o...)} }
}

// alteredMessage alters a good signature.
func alteredMessage(how func([]byte) []byte) func(diffSigner) []diffPiece {
	return func(s diffSigner) []diffPiece {
		return []diffPiece{{blob: how(s.good("--compress-algo", "none").blob)}}
	}
}

func make127(p diffPiece) []diffPiece {
	var out []diffPiece
	for range 127 {
		out = append(out, p)
	}
	return out
}

// padded is the wanted tag or digest in n bytes.
func (s diffSigner) padded(n int) string {
	return (s.home.ref + strings.Repeat(" ", n))[:n]
}

// cosign is a good sigstore signature, whatever the case's key is.
func (s diffSigner) cosign() diffPiece {
	s.key = "p256"
	return s.good()
}

// diffSigstoreStates are about the attachment around the payload.
var diffSigstoreStates = map[string]func(s diffSigner) []diffPiece{
	"no signature":    alteredLayer(func(l *harness.Layer) { l.Signature = "" }),
	"no base64":       alteredLayer(func(l *harness.Layer) { l.Signature = "!" + l.Signature }),
	"base64 space":    alteredLayer(func(l *harness.Layer) { l.Signature += "\n" }),
	"one bit":         alteredLayer(func(l *harness.Layer) { l.Signature = "AAAA" + l.Signature[4:] }),
	"altered payload": alteredLayer(func(l *harness.Layer) { l.Payload = append(l.Payload, ' ') }),
	"simple signing too": func(s diffSigner) []diffPiece {
		return []diffPiece{s.good(), s.by(diffOtherKey, s.encode(s.claim(s.home.String(), s.d)))}
	},
	"simple signing type": bentClaim(func(_ diffSigner, c diffClaim) diffClaim { return c.critical("type", "atomic container signature") }),
	"two layers": func(s diffSigner) []diffPiece {
		return []diffPiece{s.wrongDigest(), s.wrongKey(), s.claims(s.home.name() + "x:v1"), s.good()}
	},
}

// alteredLayer alters the good layer.
func alteredLayer(alter func(*harness.Layer)) func(diffSigner) []diffPiece {
	return func(s diffSigner) []diffPiece {
		p := s.good()
		alter(p.layer)
		return []diffPiece{p}
	}
}

// state looks a case's state up.
func (c diffCase) makeState(s diffSigner) []diffPiece {
	f, ok := diffStates[c.state]
	if !ok && c.key == "p256" {
		f, ok = diffSigstoreStates[c.state]
	} else if !ok {
		f, ok = diffGPGStates[c.state]
	}
	if !ok {
		s.t.Fatalf("no state %q for key %s", c.state, c.key)
	}
	return f(s)
}
