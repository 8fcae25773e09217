//go:build e2e

package e2e

import (
	"bytes"
	"encoding/json"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"testing"
)

// lookasideFile is a file of registries.d.
type lookasideFile struct {
	Default lookasideEntry            `json:"default-docker,omitempty"`
	Docker  map[string]lookasideEntry `json:"docker,omitempty"`
}

// lookasideEntry configures one namespace.
type lookasideEntry map[string]any

func lookasideAt(url string) lookasideEntry { return lookasideEntry{"lookaside": url} }

// diffWhere are ways to write registries.d: good is the address that holds the
// signatures, and decoy one that holds none. As with scopes, some are traps.
var diffWhere = map[string]func(n diffName, good, decoy string) map[string]lookasideFile{
	"default":    oneLookasideFile(func(_ diffName, good, _ string) lookasideFile { return lookasideFile{Default: lookasideAt(good)} }),
	"host":       lookasideFor(func(n diffName) string { return n.registry }),
	"namespace":  lookasideFor(diffName.parent),
	"repository": lookasideFor(diffName.name),
	"reference":  lookasideFor(diffName.String),
	"other tag":  lookasideFor(func(n diffName) string { return n.name() + ":another" }),
	"sibling":    lookasideFor(func(n diffName) string { return n.name() + "2" }),
	"no port":    lookasideFor(diffName.host),
	"wildcard":   lookasideFor(func(n diffName) string { return "*." + afterDot(n.host()) }),
	"wide wildcard": lookasideFor(func(n diffName) string {
		return "*." + lastLabel(n.host())
	}),
	"nothing": oneLookasideFile(func(diffName, string, string) lookasideFile { return lookasideFile{} }),
	"nested": oneLookasideFile(func(n diffName, good, decoy string) lookasideFile {
		return lookasideFile{Default: lookasideAt(decoy), Docker: map[string]lookasideEntry{n.registry: lookasideAt(decoy), n.parent(): lookasideAt(decoy), n.name(): lookasideAt(good)}}
	}),
	"nested, reversed": oneLookasideFile(func(n diffName, good, decoy string) lookasideFile {
		return lookasideFile{Default: lookasideAt(good), Docker: map[string]lookasideEntry{n.registry: lookasideAt(good), n.parent(): lookasideAt(good), n.name(): lookasideAt(decoy)}}
	}),
	"entry without address": oneLookasideFile(func(n diffName, good, decoy string) lookasideFile {
		return lookasideFile{Default: lookasideAt(decoy), Docker: map[string]lookasideEntry{n.registry: lookasideAt(good), n.name(): {}}}
	}),
	"entry with staging": oneLookasideFile(func(n diffName, good, decoy string) lookasideFile {
		return lookasideFile{Default: lookasideAt(good), Docker: map[string]lookasideEntry{n.registry: {"lookaside-staging": decoy}}}
	}),
	"host over wildcard": oneLookasideFile(func(n diffName, good, decoy string) lookasideFile {
		return lookasideFile{Docker: map[string]lookasideEntry{n.registry: lookasideAt(good), "*." + afterDot(n.host()): lookasideAt(decoy)}}
	}),
	"old key": oneLookasideFile(func(n diffName, good, _ string) lookasideFile {
		return lookasideFile{Docker: map[string]lookasideEntry{n.registry: {"sigstore": good}}}
	}),
	"both keys": oneLookasideFile(func(n diffName, good, decoy string) lookasideFile {
		return lookasideFile{Docker: map[string]lookasideEntry{n.registry: {"sigstore": decoy, "lookaside": good}}}
	}),
	"slash": oneLookasideFile(func(_ diffName, good, _ string) lookasideFile { return lookasideFile{Default: lookasideAt(good + "/")} }),
	"two files": func(n diffName, good, decoy string) map[string]lookasideFile {
		return map[string]lookasideFile{"a.yaml": {Default: lookasideAt(decoy)}, "b.yaml": {Docker: map[string]lookasideEntry{n.registry: lookasideAt(good)}}}
	},
	"not yaml": func(n diffName, good, decoy string) map[string]lookasideFile {
		return map[string]lookasideFile{"a.yaml": {Default: lookasideAt(decoy)}, "b.yml": {Docker: map[string]lookasideEntry{n.registry: lookasideAt(good)}}}
	},
	"duplicate": func(n diffName, good, _ string) map[string]lookasideFile {
		return map[string]lookasideFile{"a.yaml": {Docker: map[string]lookasideEntry{n.registry: lookasideAt(good)}}, "b.yaml": {Docker: map[string]lookasideEntry{n.registry: lookasideAt(good)}}}
	},
}

func oneLookasideFile(f func(n diffName, good, decoy string) lookasideFile) func(diffName, string, string) map[string]lookasideFile {
	return func(n diffName, good, decoy string) map[string]lookasideFile {
		return map[string]lookasideFile{"a.yaml": f(n, good, decoy)}
	}
}

// lookasideFor has the signatures at one namespace, and none for all others.
func lookasideFor(of func(diffName) string) func(diffName, string, string) map[string]lookasideFile {
	return oneLookasideFile(func(n diffName, good, decoy string) lookasideFile {
		return lookasideFile{Default: lookasideAt(decoy), Docker: map[string]lookasideEntry{of(n): lookasideAt(good)}}
	})
}

// writeLookasides writes registries.d; JSON is YAML. Attachments have to be
// switched on for the library.
func writeLookasides(t *testing.T, dir string, files map[string]lookasideFile, attachments bool) {
	t.Helper()
	for name, f := range files {
		if attachments && name == "a.yaml" {
			e := lookasideEntry{"use-sigstore-attachments": true}
			for k, v := range f.Default {
				e[k] = v
			}
			f.Default = e
		}
		b, err := json.Marshal(f)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, name), b, 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

// diffFault is how a signature server, or the registry for an attachment, fails.
type diffFault struct {
	at       string // the last element of paths that fail; every one when empty
	answer   func(w http.ResponseWriter, r *http.Request, content []byte)
	harmless bool // no failure: signatures can be read
	slow     bool // the gate waits for its time limit
}

// diffFaults are the failures. With "-2" signature-1 is in order, and good.
var diffFaults = map[string]diffFault{
	"400": {answer: answerStatus(http.StatusBadRequest)},
	"401": {answer: answerStatus(http.StatusUnauthorized)},
	"403": {answer: answerStatus(http.StatusForbidden)},
	"410": {answer: answerStatus(http.StatusGone)},
	"429": {answer: answerStatus(http.StatusTooManyRequests)},
	"500": {answer: answerStatus(http.StatusInternalServerError)},
	"503": {answer: answerStatus(http.StatusServiceUnavailable)},
	"204": {answer: func(w http.ResponseWriter, _ *http.Request, _ []byte) { w.WriteHeader(http.StatusNoContent) }},
	"206": {answer: func(w http.ResponseWriter, _ *http.Request, b []byte) {
		w.WriteHeader(http.StatusPartialContent)
		_, _ = w.Write(b)
	}},
	"HTML":      {answer: answerPage},
	"empty":     {answer: func(http.ResponseWriter, *http.Request, []byte) {}},
	"garbage":   {answer: answerBody([]byte("garbage"))},
	"truncated": {answer: answerTruncated},
	"reset":     {answer: func(http.ResponseWriter, *http.Request, []byte) { panic(http.ErrAbortHandler) }},
	"hang":      {answer: func(_ http.ResponseWriter, r *http.Request, _ []byte) { <-r.Context().Done() }, slow: true},
	"5 MiB":     {answer: answerBody(append([]byte("\xc4"), bytes.Repeat([]byte("x"), 5<<20)...))},
	"loop": {answer: func(w http.ResponseWriter, r *http.Request, _ []byte) {
		http.Redirect(w, r, r.URL.Path+"x", http.StatusFound)
	}},
	"to file": {answer: func(w http.ResponseWriter, _ *http.Request, _ []byte) {
		w.Header().Set("Location", "file:///etc/hostname")
		w.WriteHeader(http.StatusFound)
	}},
	"no location": {answer: answerStatus(http.StatusFound)},

	"401-2":       {at: "signature-2", answer: answerStatus(http.StatusUnauthorized)},
	"403-2":       {at: "signature-2", answer: answerStatus(http.StatusForbidden)},
	"500-2":       {at: "signature-2", answer: answerStatus(http.StatusInternalServerError)},
	"HTML-2":      {at: "signature-2", answer: answerPage},
	"garbage-2":   {at: "signature-2", answer: answerBody([]byte("garbage"))},
	"empty-2":     {at: "signature-2", answer: func(http.ResponseWriter, *http.Request, []byte) {}},
	"truncated-2": {at: "signature-2", answer: answerTruncated},
	"reset-2":     {at: "signature-2", answer: func(http.ResponseWriter, *http.Request, []byte) { panic(http.ErrAbortHandler) }},
	"hang-2":      {at: "signature-2", answer: func(_ http.ResponseWriter, r *http.Request, _ []byte) { <-r.Context().Done() }, slow: true},

	"404": {answer: answerStatus(http.StatusNotFound), harmless: true},
	"404 page": {answer: func(w http.ResponseWriter, r *http.Request, b []byte) {
		w.Header().Set("Content-Type", "text/html")
		w.WriteHeader(http.StatusNotFound)
	}, harmless: true},
	"junk-2":   {at: "signature-2", answer: answerBody([]byte("\xc4junk")), harmless: true},
	"redirect": {at: "signature-1", answer: answerRedirect, harmless: true},
	"typed page": {at: "signature-1", answer: func(w http.ResponseWriter, _ *http.Request, b []byte) {
		w.Header().Set("Content-Type", "text/html")
		_, _ = w.Write(b)
	}, harmless: true},
	"typed text": {at: "signature-1", answer: func(w http.ResponseWriter, _ *http.Request, b []byte) {
		w.Header().Set("Content-Type", "text/plain")
		_, _ = w.Write(b)
	}, harmless: true},
}

func answerStatus(code int) func(http.ResponseWriter, *http.Request, []byte) {
	return func(w http.ResponseWriter, _ *http.Request, _ []byte) { http.Error(w, "out of order", code) }
}

func answerBody(b []byte) func(http.ResponseWriter, *http.Request, []byte) {
	return func(w http.ResponseWriter, _ *http.Request, _ []byte) {
		w.Header().Set("Content-Type", "application/octet-stream")
		_, _ = w.Write(b)
	}
}

func answerPage(w http.ResponseWriter, _ *http.Request, _ []byte) {
	w.Header().Set("Content-Type", "text/html")
	_, _ = w.Write([]byte("<!doctype html><title>Welcome</title>"))
}

// answerTruncated promises more than it sends.
func answerTruncated(w http.ResponseWriter, _ *http.Request, content []byte) {
	content = append([]byte("\xc4"), content...)
	w.Header().Set("Content-Length", strconv.Itoa(2*len(content)))
	_, _ = w.Write(content)
	if f, ok := w.(http.Flusher); ok {
		f.Flush()
	}
	panic(http.ErrAbortHandler)
}

// answerRedirect sends the client once around.
func answerRedirect(w http.ResponseWriter, r *http.Request, content []byte) {
	if r.URL.RawQuery == "" {
		http.Redirect(w, r, r.URL.Path+"?again", http.StatusTemporaryRedirect)
		return
	}
	answerBody(content)(w, r, nil)
}
