package upstream

import (
	"context"
	"encoding/json"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/distribution/reference"

	"github.com/pullgate/pullgate/verify/discover"
)

// extensionLife is how long a registry's word about its signature API counts.
const extensionLife = 5 * time.Minute

// extensionSupport remembers whether a registry announces the signature API.
type extensionSupport struct {
	mu        sync.Mutex
	asked     time.Time
	supported bool
}

// signatures reads a registry's own list of signatures, as OpenShift's registry
// serves it (containers-registries.d(5) is not consulted where it exists).
func (r *remote) signatures(ctx context.Context, ref reference.Canonical) ([][]byte, bool, error) {
	supported, err := r.supportsSignatures(ctx)
	if err != nil || !supported {
		return nil, false, err
	}
	d := ref.Digest()
	a, err := r.do(ctx, call{kind: "signatures", op: opName("signatures", ref), method: http.MethodGet,
		path:   "/extensions/v2/" + reference.Path(ref) + "/signatures/" + d.String(),
		accept: "application/json", repo: reference.TrimNamed(ref)})
	if err != nil {
		// The registry said that it keeps such lists, so that one is missing does
		// not mean that there are no signatures.
		if e, ok := err.(*Error); ok && e.Kind == NotFound {
			e.Kind = Invalid
		}
		return nil, true, err
	}
	var list struct {
		Signatures []struct {
			Version int    `json:"schemaVersion"`
			Type    string `json:"type"`
			Content []byte `json:"content"`
		} `json:"signatures"`
	}
	b, err := a.bytes(r.opt.ManifestLimit)
	if err != nil {
		return nil, true, err
	}
	if err := discover.CheckValues(b); err != nil {
		return nil, true, a.invalid("%w", err)
	}
	if err := json.Unmarshal(b, &list); err != nil {
		return nil, true, a.invalid("expected JSON: %w", errJSON(err))
	}
	var sigs [][]byte
	for _, s := range list.Signatures {
		if s.Version == 2 && s.Type == "atomic" {
			sigs = append(sigs, s.Content)
		}
	}
	return sigs, true, nil
}

// supportsSignatures asks the registry's base path, without credentials: the
// header is there on a 401 too. What a redirect leads to speaks for itself alone: with
// that header it would take the registry's lookaside out of use.
func (r *remote) supportsSignatures(ctx context.Context) (bool, error) {
	r.ext.mu.Lock()
	known, supported := time.Since(r.ext.asked) < extensionLife, r.ext.supported
	r.ext.mu.Unlock()
	if known {
		return supported, nil
	}
	a, err := r.ask(ctx, call{kind: "ping", op: "ping /v2/", method: http.MethodGet, path: "/v2/"})
	if err != nil {
		return false, err
	}
	defer a.close()
	if a.StatusCode != http.StatusOK && a.StatusCode != http.StatusUnauthorized {
		e := a.statusError()
		if e.Kind == NotFound {
			e.Kind = Invalid // a registry without /v2/ is none
		}
		return false, e
	}
	supported = a.Header.Get("X-Registry-Supports-Signatures") == "1" && a.ofEndpoint()
	if _, err := a.drain(); err != nil {
		return false, asError(a.ctx, r.name, a.call.op, err)
	}
	r.ext.mu.Lock()
	defer r.ext.mu.Unlock()
	r.ext.asked, r.ext.supported = time.Now(), supported
	return supported, nil
}

// ofEndpoint tells whether the answer is the registry's own, and not that of another
// host to which it has sent the request on. From http to https of it is no other one.
func (a *answer) ofEndpoint() bool {
	at := a.Request.URL
	return strings.EqualFold(at.Hostname(), a.r.base.Hostname()) && at.Port() == a.r.base.Port()
}
