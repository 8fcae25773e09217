//go:build e2e

package e2e

import (
	"encoding/base64"
	"maps"
	"slices"
	"strings"
)

// diffUnusable are policies, or configurations, that no program must follow. Each
// changes the text of a good one. For the gate they are faults of the
// configuration; the oracles deny.
var diffUnusable = map[string]func(good string) string{
	"registries.d":  func(good string) string { return good }, // see whereCases
	"no JSON":       func(good string) string { return "policy: none" },
	"cut":           func(good string) string { return good[:len(good)-3] },
	"empty":         func(string) string { return "" },
	"text after":    func(good string) string { return good + "{}" },
	"list":          func(good string) string { return "[" + good + "]" },
	"unknown key":   func(good string) string { return strings.Replace(good, "{", `{"defaults": [],`, 1) },
	"default twice": func(good string) string { return strings.Replace(good, "{", `{"default": [{"type": "reject"}],`, 1) },
	"no default":    func(good string) string { return strings.Replace(good, `"default"`, `"Default"`, 1) },
	"empty default": func(string) string { return `{"default": []}` },
	"empty type":    func(good string) string { return strings.Replace(good, `"type": "reject"`, `"type": ""`, 1) },
	"no requirements": func(good string) string {
		return strings.Replace(good, "\"transports\": {", "\"transports\": {\"atomic\": {\"\": []},", 1)
	},
	"unknown type":     func(good string) string { return strings.Replace(good, `"signedBy"`, `"signedByAll"`, 1) },
	"misspelt key":     func(good string) string { return strings.Replace(good, `"keyData"`, `"keydata"`, 1) },
	"two keys":         func(good string) string { return strings.Replace(good, `"keyData"`, `"keyPath": "/k", "keyData"`, 1) },
	"no key":           func(good string) string { return strings.Replace(good, `"keyData"`, `"keyPath": "", "keyPath"`, 1) },
	"no key type":      func(good string) string { return strings.Replace(good, `"keyType"`, `"keyTypes"`, 1) },
	"unknown key type": func(good string) string { return strings.Replace(good, `"GPGKeys"`, `"PGPKeys"`, 1) },
	"no base64":        func(good string) string { return strings.Replace(good, `"keyData": "`, `"keyData": "*`, 1) },
	"unknown matcher":  matcherAdded(`{"type": "matchAll"}`),
	"no matcher type":  matcherAdded(`{}`),
	"more in matcher":  matcherAdded(`{"type": "matchExact", "dockerReference": "a.example/b:c"}`),
	"no reference":     matcherAdded(`{"type": "exactReference"}`),
	"name for reference": matcherAdded(
		`{"type": "exactReference", "dockerReference": "vendor.example/prod/app"}`),
	"no prefix":       matcherAdded(`{"type": "remapIdentity", "prefix": "", "signedPrefix": "vendor.example"}`),
	"slash in prefix": matcherAdded(`{"type": "remapIdentity", "prefix": "registry.example.com/", "signedPrefix": "vendor.example"}`),
	"null matcher":    matcherAdded(`null`),
	// Keys that are none: the format cannot tell, whoever evaluates has to.
	"no key in data":    keyReplaced(`"keyData": "` + base64.StdEncoding.EncodeToString([]byte("no key")) + `"`),
	"empty data":        keyReplaced(`"keyData": ""`),
	"missing file":      keyReplaced(`"keyPath": "/nonexistent/key.gpg"`),
	"directory":         keyReplaced(`"keyPath": "/"`),
	"empty file":        keyReplaced(`"keyPath": "/dev/null"`),
	"no key elsewhere":  keyElsewhere(`"keyData": "bm8ga2V5"`),
	"missing elsewhere": keyElsewhere(`"keyPath": "/nonexistent/key.gpg"`),
}

// matcherAdded adds a signedIdentity to the requirement.
func matcherAdded(identity string) func(string) string {
	return func(good string) string {
		return strings.Replace(good, `"keyData"`, `"signedIdentity": `+identity+`, "keyData"`, 1)
	}
}

// keyReplaced replaces the key of the requirement.
func keyReplaced(key string) func(string) string {
	return func(good string) string {
		before, rest, _ := strings.Cut(good, `"keyData": "`)
		_, after, _ := strings.Cut(rest, `"`)
		return before + key + after
	}
}

// keyElsewhere adds a scope with a key that is none, which does not concern the image.
func keyElsewhere(key string) func(string) string {
	return func(good string) string {
		return strings.Replace(good, `"docker": {`, `"docker": {"elsewhere.example": [{"type": "signedBy", "keyType": "GPGKeys", `+key+`}],`, 1)
	}
}

// unusableCases: policies that are refused as a whole.
func unusableCases(g *diffGenerator) {
	for _, unusable := range slices.Sorted(maps.Keys(diffUnusable)) {
		c := diffCase{unusable: unusable}
		if strings.HasSuffix(unusable, "elsewhere") {
			c.differs = "a broken key in another scope"
		}
		if unusable != "registries.d" {
			g.add(c)
		}
	}
}
