package upstream

import (
	"encoding/base64"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"
)

func TestExtensionSignatures(t *testing.T) {
	ref := of(t, "r.example/team/app", nil)
	path := "/extensions/v2/team/app/signatures/" + ref.Digest().String()
	b64 := base64.StdEncoding.EncodeToString
	sig := func(version int, kind, content string) string {
		return fmt.Sprintf(`{"schemaVersion":%d,"name":"n@1","type":%q,"content":%q}`, version, kind, b64([]byte(content)))
	}
	tests := map[string]struct {
		header string // of /v2/
		ping   int
		status int
		body   string
		want   []string
		none   bool // not supported
		fails  bool
		kind   Kind
		says   string
	}{
		"not announced":       {ping: 200, none: true},
		"announced otherwise": {ping: 200, header: "true", none: true},
		"two signatures": {ping: 200, header: "1", status: 200, want: []string{"one", "two"},
			body: `{"signatures":[` + sig(2, "atomic", "one") + `,` + sig(1, "atomic", "old") + `,` + sig(2, "pgp", "other") + `,` + sig(2, "atomic", "two") + `]}`},
		"announced on 401":  {ping: 401, header: "1", status: 200, body: `{"signatures":[]}`},
		"ping not found":    {ping: 404, header: "1", fails: true, kind: Invalid},
		"ping is down":      {ping: 500, fails: true, kind: Unavailable},
		"ping is forbidden": {ping: 403, fails: true, kind: Refused},
		"ping is busy":      {ping: 429, fails: true, kind: TooManyRequests},
		"list not found":    {ping: 200, header: "1", status: 404, fails: true, kind: Invalid},
		"list is down":      {ping: 200, header: "1", status: 502, fails: true, kind: Unavailable},
		"not JSON":          {ping: 200, header: "1", status: 200, body: "<html>", fails: true, kind: Invalid},
		"not base64":        {ping: 200, header: "1", status: 200, body: `{"signatures":[{"schemaVersion":2,"type":"atomic","content":"§"}]}`, fails: true, kind: Invalid},
		"many of nothing": {ping: 200, header: "1", status: 200, fails: true, kind: Invalid, says: "values",
			body: `{"signatures":[` + strings.Repeat("{},", 1<<20) + `{}]}`},
		"oversize": {ping: 200, header: "1", status: 200, body: strings.Repeat(" ", 4<<20+1), fails: true, kind: Invalid},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			srv := serve(t, func(w http.ResponseWriter, r *http.Request) {
				switch r.URL.Path {
				case "/v2/":
					if tt.header != "" {
						w.Header().Set("X-Registry-Supports-Signatures", tt.header)
					}
					w.WriteHeader(tt.ping)
				case path:
					w.WriteHeader(tt.status)
					io.WriteString(w, tt.body)
				default:
					t.Errorf("unexpected path %s", r.URL.Path)
				}
			})
			sigs, supported, err := open(t, options(srv.URL)).ExtensionSignatures(t.Context(), ref)
			if tt.fails {
				wantKind(t, err, tt.kind)
				if !strings.Contains(fmt.Sprint(err), tt.says) {
					t.Errorf("expected an error about %s, found %v", tt.says, err)
				}
				return
			}
			var got []string
			for _, s := range sigs {
				got = append(got, string(s))
			}
			if err != nil || supported == tt.none || strings.Join(got, ",") != strings.Join(tt.want, ",") {
				t.Errorf("%q, %v, %v", got, supported, err)
			}
		})
	}
}

// The header counts from the registry itself: also behind a redirect within it, and not
// from where a redirect leads.
func TestSupportIsTheRegistrysOwnWord(t *testing.T) {
	announce := func(w http.ResponseWriter) { w.Header().Set("X-Registry-Supports-Signatures", "1") }
	elsewhere := serve(t, func(w http.ResponseWriter, r *http.Request) { announce(w) })
	for name, c := range map[string]struct {
		registry  func(w http.ResponseWriter, r *http.Request)
		supported bool
	}{
		"sent elsewhere": {func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, elsewhere.URL+"/v2/", http.StatusFound)
		}, false},
		"announced, sent elsewhere": {func(w http.ResponseWriter, r *http.Request) {
			announce(w)
			http.Redirect(w, r, elsewhere.URL+"/v2/", http.StatusFound)
		}, false},
		"sent to itself": {func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path == "/v2/" {
				http.Redirect(w, r, "/root/v2/", http.StatusFound)
				return
			}
			announce(w)
			_, _ = io.WriteString(w, `{"signatures":[]}`)
		}, true},
	} {
		t.Run(name, func(t *testing.T) {
			srv := serve(t, c.registry)
			if _, supported, err := open(t, options(srv.URL)).ExtensionSignatures(t.Context(), of(t, "r.example/x", nil)); err != nil || supported != c.supported {
				t.Errorf("expected %v, found %v, %v", c.supported, supported, err)
			}
		})
	}
}

// What a registry supports is remembered; that it could not be asked is not.
func TestSupportIsRemembered(t *testing.T) {
	status := http.StatusInternalServerError
	srv := serve(t, func(w http.ResponseWriter, r *http.Request) { w.WriteHeader(status) })
	o := options(srv.URL)
	o.Credentials = login("me", "hunter2", "")
	c := open(t, o)
	ref := of(t, "r.example/x", nil)
	for range 2 {
		_, _, err := c.ExtensionSignatures(t.Context(), ref)
		wantKind(t, err, Unavailable)
	}
	status = http.StatusOK
	for range 3 {
		if _, supported, err := c.ExtensionSignatures(t.Context(), ref); supported || err != nil {
			t.Errorf("%v, %v", supported, err)
		}
	}
	srv.wantRequests(t, "GET /v2/", "GET /v2/", "GET /v2/")
	c.fixed["r.example"].backend.(*remote).ext.asked = time.Now().Add(-2 * extensionLife)
	if _, _, err := c.ExtensionSignatures(t.Context(), ref); err != nil || len(srv.requests()) != 4 {
		t.Errorf("an old answer still counts: %q, %v", srv.requests(), err)
	}
}
