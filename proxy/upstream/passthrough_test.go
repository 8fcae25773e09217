package upstream

import (
	"bytes"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/distribution/reference"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// clientOptions are options whose registry is asked with the client's own
// credentials, and whose gate-owned credentials must never be asked for.
func clientOptions(t *testing.T, endpoint string) Options {
	o := options(endpoint)
	o.Registries[0].ClientCredentials = true
	o.Credentials = func(context.Context, reference.Named) (string, string, string, error) {
		t.Error("the gate's own credentials were asked for")
		return "gate", "gates-own", "", nil
	}
	return o
}

// as is the context of a client with that header.
func as(t *testing.T, header string) context.Context {
	return WithAuthorization(t.Context(), "r.example", header)
}

// A client's header is for the registry that it pulls from. The registry that holds
// the image's base or its signatures sees an anonymous client, also when it is asked
// with clients' credentials itself.
func TestClientHeaderGoesToItsRegistryOnly(t *testing.T) {
	blob := []byte("{}")
	other := serve(t, func(w http.ResponseWriter, r *http.Request) {
		if got := r.Header.Get("Authorization"); got != "" {
			t.Errorf("%s: another registry was shown %q", r.URL.Path, got)
		}
		w.Write(blob)
	})
	o := clientOptions(t, "http://127.0.0.1:9")
	second := o.Registries[0]
	second.Name, second.Endpoint = "other.example", other.URL
	o.Registries = append(o.Registries, second)
	c := open(t, o)
	ctx := as(t, "Bearer of-ann")
	subject := of(t, "other.example/base/os", blob)
	if _, err := c.ManifestBytes(ctx, subject); err != nil {
		t.Error(err)
	}
	if _, err := c.BlobBytes(ctx, subject, 100); err != nil {
		t.Error(err)
	}
}

// Everything that is fetched for a client is fetched with its header alone, the
// signatures of what it asks for too.
func TestClientHeaderGoesWithEveryRequestForContent(t *testing.T) {
	blob := []byte("{}")
	subject := of(t, "r.example/team/app", blob)
	reg := serve(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("X-Registry-Supports-Signatures", "1")
		w.Header().Set("WWW-Authenticate", `Bearer realm="https://auth.example/token"`)
		switch {
		case r.URL.Path == "/v2/" && r.Header.Get("Authorization") == "":
			w.WriteHeader(http.StatusUnauthorized)
		case strings.Contains(r.URL.Path, "/referrers/"):
			w.WriteHeader(http.StatusNotFound)
		case strings.Contains(r.URL.Path, "/manifests/sha256-"):
			w.Header().Set("Content-Type", ocispec.MediaTypeImageIndex)
			io.WriteString(w, `{"schemaVersion":2,"manifests":[]}`)
		default:
			w.Header().Set("Docker-Content-Digest", subject.Digest().String())
			w.Write(blob)
		}
	})
	c := open(t, clientOptions(t, reg.URL))
	ctx, cancel := context.WithCancel(as(t, "Bearer of-ann"))
	cancel()
	ctx = context.WithoutCancel(ctx) // as fetches do that outlive their request
	ops := map[string]func() error{
		"manifest":   func() error { _, err := c.ManifestBytes(ctx, subject); return err },
		"resolve":    func() error { _, err := c.ResolveTag(ctx, tagged(t, "r.example/team/app:v1")); return err },
		"attachment": func() error { _, err := c.Manifest(ctx, named(t, "r.example/team/app:sha256-0.sig")); return err },
		"blob": func() error {
			b, err := c.Blob(ctx, subject)
			if err == nil {
				b.Body.Close()
			}
			return err
		},
		"blob bytes": func() error { _, err := c.BlobBytes(ctx, subject, 100); return err },
		"stat":       func() error { _, err := c.StatBlob(ctx, subject); return err },
		"tags":       func() error { _, err := c.Tags(ctx, subject, TagCursor{}); return err },
		"referrers":  func() error { _, err := c.Referrers(ctx, subject); return err },
		"extension":  func() error { _, _, err := c.ExtensionSignatures(ctx, subject); return err },
		"ping":       func() error { return c.Ping(ctx, "r.example") },
	}
	for name, op := range ops {
		if err := op(); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	pings := 0
	reg.mu.Lock()
	defer reg.mu.Unlock()
	for _, r := range reg.seen {
		want := []string{"Bearer of-ann"}
		// Whether there is a signature API is remembered for all clients, so it
		// must not be asked with the credentials of one.
		if r.URL.Path == "/v2/" && r.Header.Get("Authorization") == "" {
			pings, want = pings+1, nil
		}
		if got := r.Header.Values("Authorization"); !slices.Equal(got, want) {
			t.Errorf("%s %s: presented %q", r.Method, r.URL.Path, got)
		}
	}
	if pings != 1 {
		t.Errorf("%d anonymous requests, want the one about the signature API", pings)
	}
}

// An anonymous client stays one: no token is fetched in its name.
func TestAnonymousClientsGetNoTokenOfTheGates(t *testing.T) {
	tokens := tokenServer(t)
	reg := bearerRegistry(t, func() string { return tokens.URL + "/token" })
	c := open(t, clientOptions(t, reg.URL))
	for _, ctx := range []context.Context{t.Context(), as(t, "")} {
		_, err := c.Manifest(ctx, named(t, "r.example/x:v1"))
		want := `Bearer realm="` + tokens.URL + `/token",service="reg",scope="repository:x:pull"`
		if e := wantKind(t, err, Unauthorized); e.Challenge != want || e.Status != 401 {
			t.Errorf("status %d, challenge\n got %s\nwant %s", e.Status, e.Challenge, want)
		}
	}
	tokens.wantRequests(t)
	reg.wantRequests(t, "GET /v2/x/manifests/v1", "GET /v2/x/manifests/v1")
}

// The header is for the endpoint's own scheme, host and port. net/http alone
// would take it along to other ports and to subdomains.
func TestClientHeaderStaysAtTheEndpoint(t *testing.T) {
	const header = "Bearer of-ann"
	cdn := serve(t, func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, "{}") })
	var target string
	reg := serve(t, func(w http.ResponseWriter, r *http.Request) {
		if strings.HasPrefix(r.URL.Path, "/v2/") {
			http.Redirect(w, r, target, http.StatusTemporaryRedirect)
			return
		}
		io.WriteString(w, "{}")
	})
	back := serve(t, func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, reg.URL+"/b", http.StatusFound) })
	dns := &names{addrs: map[string][]string{"reg.test.": {"127.0.0.1"}, "cdn.reg.test.": {"127.0.0.1"}, "other.test.": {"127.0.0.1"}}}
	port, cdnPort := strconv.Itoa(int(reg.addr().Port())), strconv.Itoa(int(cdn.addr().Port()))
	tests := map[string]struct {
		endpoint, to string
		at           *server // where it ends
	}{
		"another port":      {"http://reg.test:" + port, "http://reg.test:" + cdnPort + "/b", cdn},
		"a subdomain":       {"http://reg.test:" + port, "http://cdn.reg.test:" + cdnPort + "/b", cdn},
		"subdomain, port":   {"http://reg.test:" + port, "http://cdn.reg.test:" + port + "/b", reg},
		"another host":      {"http://reg.test:" + port, "http://other.test:" + cdnPort + "/b", cdn},
		"there and back":    {reg.URL, back.URL, reg},
		"address, not name": {"http://reg.test:" + port, reg.URL + "/b", reg},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			target = tt.to
			o := clientOptions(t, tt.endpoint)
			o.seams.resolver = dns.resolver()
			c := open(t, o)
			if _, err := c.Manifest(as(t, header), named(t, "r.example/x:v1")); err != nil {
				t.Fatal(err)
			}
			got := tt.at.headers("Authorization")
			if last := got[len(got)-1]; last != "" {
				t.Errorf("where the redirect led was shown %q", last)
			}
			if back := back.headers("Authorization"); slices.Contains(back, header) {
				t.Errorf("on the way there was shown %q", back)
			}
		})
	}
	if got := reg.headers("Authorization"); !slices.Contains(got, header) {
		t.Errorf("the registry itself was shown %q", got)
	}
}

func TestClientHeaderIsNotDowngraded(t *testing.T) {
	plain := serve(t, func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, "{}") })
	reg := serveTLS(t, func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, plain.URL, http.StatusFound) })
	o := clientOptions(t, reg.URL)
	o.CertsDirs = []string{certsFor(t, reg)}
	_, err := open(t, o).Manifest(as(t, "Bearer of-ann"), named(t, "r.example/x:v1"))
	wantKind(t, err, Refused)
	plain.wantRequests(t)
}

// What a client is for one registry it is for no other one, whose token server
// and signature server get nothing either.
func TestClientHeaderGoesToNoOtherRegistry(t *testing.T) {
	tokens := tokenServer(t)
	other := bearerRegistry(t, func() string { return tokens.URL + "/token" })
	reg := serve(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("WWW-Authenticate", `Bearer realm="`+tokens.URL+`/token"`)
		w.WriteHeader(http.StatusUnauthorized)
	})
	o := clientOptions(t, reg.URL)
	o.Credentials = nil
	o.Registries = append(o.Registries, Registry{Name: "other.example", Endpoint: other.URL})
	ctx := as(t, "Bearer of-ann")
	c := open(t, o)
	if _, err := c.Manifest(ctx, named(t, "other.example/x:v1")); err != nil {
		t.Error(err)
	}
	_, err := c.Manifest(ctx, named(t, "r.example/x:v1"))
	wantKind(t, err, Unauthorized)
	site := serve(t, func(w http.ResponseWriter, r *http.Request) {})
	body, err := openWeb(t, o).Get(ctx, site.URL+signaturePath)
	if err != nil {
		t.Fatal(err)
	}
	body.Close()
	for _, s := range []*server{other, tokens, site} {
		if got := s.headers("Authorization"); len(got) == 0 || slices.Contains(got, "Bearer of-ann") {
			t.Errorf("another server was shown %q", got)
		}
	}
}

func TestClientCredentialsAreConfigured(t *testing.T) {
	o := clientOptions(t, "https://reg.test")
	o.Others = true
	o.Registries = append(o.Registries, Registry{Name: "gate.example", Endpoint: "https://gate.test"},
		Registry{Name: "files.example", Endpoint: "dir:" + t.TempDir()})
	c := open(t, o)
	for name, want := range map[string]bool{"r.example": true, "gate.example": false, "files.example": false, "else.example": false, "": false} {
		if c.ClientCredentials(name) != want {
			t.Errorf("%s: got %v", name, !want)
		}
		if want {
			continue
		}
		wantKind(t, c.Ping(t.Context(), name), NotServed)
		if name != "" {
			wantKind(t, c.Authorize(t.Context(), named(t, name+"/x:v1"), false), NotServed)
		}
	}
	for _, scheme := range []string{"oci:", "dir:"} {
		o := clientOptions(t, scheme+t.TempDir())
		if _, err := New(o); err == nil || !strings.Contains(err.Error(), "files know no credentials") {
			t.Errorf("%s with the client's credentials: %v", scheme, err)
		}
	}
}

// A header that cannot be passed on as it is leaves the gate in no form.
func TestClientHeadersThatAreRefused(t *testing.T) {
	reg := serve(t, func(w http.ResponseWriter, r *http.Request) {})
	c := open(t, clientOptions(t, reg.URL))
	for name, header := range map[string]string{
		"too long":         "Bearer " + strings.Repeat("s3cr3t", maxAuthorization/6),
		"two lines":        "Bearer s3cr3t\r\nX-Evil: s3cr3t",
		"a tab":            "Bearer s3cr3t\ts3cr3t",
		"not ASCII":        "Bearer s3cr3t\u00e9",
		"no scheme":        "s3cr3t",
		"no value":         "Bearer ",
		"blank":            " ",
		"logs a line in":   "Negotiate s3cr3t",
		"logs in, too":     "NTLM s3cr3t",
		"a scheme's start": "Basically s3cr3t",
	} {
		ctx := as(t, header)
		_, err := c.Manifest(ctx, named(t, "r.example/x:v1"))
		for _, err := range []error{err, c.Ping(ctx, "r.example"), c.Authorize(ctx, named(t, "r.example/x:v1"), false)} {
			if wantKind(t, err, Forbidden); strings.Contains(err.Error(), "s3cr3t") {
				t.Errorf("%s: the error tells the secret: %v", name, err)
			}
		}
	}
	reg.wantRequests(t)
	fits := "bearer " + strings.Repeat("x", maxAuthorization-7)
	if err := c.Ping(as(t, fits), "r.example"); err != nil {
		t.Error(err)
	}
	if got := reg.headers("Authorization"); !slices.Equal(got, []string{fits}) {
		t.Error("a header of the greatest length was not passed on as it is")
	}
}

// A client certificate would lend the gate's identity to whoever asks.
func TestClientCertificatesAreNotLent(t *testing.T) {
	presented := -1
	reg := serveTLS(t, func(w http.ResponseWriter, r *http.Request) { presented = len(r.TLS.PeerCertificates) })
	reg.TLS.ClientAuth = tls.RequestClientCert
	dir := certsFor(t, reg)
	cert, key := clientPair(t)
	write(t, filepath.Join(dir, reg.Listener.Addr().String(), "me.cert"), cert)
	write(t, filepath.Join(dir, reg.Listener.Addr().String(), "me.key"), key)
	for own, want := range map[bool]int{true: 0, false: 1} {
		o := options(reg.URL)
		o.Registries[0].ClientCredentials = own
		o.CertsDirs = []string{dir}
		if _, err := open(t, o).Manifest(as(t, "Bearer x"), named(t, "r.example/x:v1")); err != nil {
			t.Fatal(err)
		}
		if presented != want {
			t.Errorf("the client's credentials %v: %d certificates presented, want %d", own, presented, want)
		}
	}
}

// Refusals are the client's to see where they are about its own credentials: by
// the registry itself, not by a host that it led to, and not for other registries.
func TestWhoseRefusal(t *testing.T) {
	for status, own := range map[int]Kind{401: Unauthorized, 403: Forbidden} {
		deny := func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("WWW-Authenticate", `Basic realm="give it to me"`)
			w.WriteHeader(status)
			io.WriteString(w, `{"errors":[{"code":"DENIED"}]}`)
		}
		reg, cdn := serve(t, deny), serve(t, deny)
		redirects := serve(t, func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, cdn.URL, http.StatusFound) })
		tests := map[string]struct {
			o    Options
			want Kind
		}{
			"the registry": {clientOptions(t, reg.URL), own},
			"the CDN":      {clientOptions(t, redirects.URL), Refused},
			"gate-owned":   {options(reg.URL), Refused},
		}
		for name, tt := range tests {
			t.Run(fmt.Sprint(name, " ", status), func(t *testing.T) {
				_, err := open(t, tt.o).Manifest(as(t, "Bearer of-ann"), named(t, "r.example/x:v1"))
				e := wantKind(t, err, tt.want)
				if want := map[bool]string{true: `Basic realm="give it to me"`}[tt.want == Unauthorized]; e.Challenge != want {
					t.Errorf("challenge %q, want %q", e.Challenge, want)
				}
			})
		}
	}
}

// A registry without a base path is none; that must not read as a missing image.
func TestPingAnswers(t *testing.T) {
	for status, want := range map[int]Kind{404: Invalid, 429: TooManyRequests, 500: Unavailable, 204: Invalid} {
		reg := serve(t, func(w http.ResponseWriter, r *http.Request) { w.WriteHeader(status) })
		wantKind(t, open(t, clientOptions(t, reg.URL)).Ping(as(t, "Bearer x"), "r.example"), want)
	}
}

// The anonymous question about the signature API being refused says nothing about
// the client.
func TestAnonymousRefusalIsNotTheClients(t *testing.T) {
	reg := serve(t, func(w http.ResponseWriter, r *http.Request) { w.WriteHeader(http.StatusForbidden) })
	_, _, err := open(t, clientOptions(t, reg.URL)).ExtensionSignatures(as(t, "Bearer x"), of(t, "r.example/x", nil))
	wantKind(t, err, Refused)
	reg.wantRequests(t, "GET /v2/")
}

// Whatever goes wrong, the client's header is in no error and no log line.
func TestClientHeaderIsNeverTold(t *testing.T) {
	const secret = "S3CR3T"
	echo := func(status int) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) {
			got := r.Header.Get("Authorization")
			w.Header().Set("WWW-Authenticate", fmt.Sprintf(`Basic realm=%q`, got))
			w.Header().Set("X-Echo", got)
			w.WriteHeader(status)
			fmt.Fprintf(w, `{"errors":[{"code":"%s","message":%q}]}`, secret, got)
		}
	}
	answers := map[string]http.HandlerFunc{
		"401": echo(401), "403": echo(403), "404": echo(404), "429": echo(429), "500": echo(500), "418": echo(418), "405": echo(405),
		"redirect": func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, "http://169.254.169.254/", http.StatusFound)
		},
		"loop":    func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, r.URL.Path, http.StatusFound) },
		"hang up": func(w http.ResponseWriter, r *http.Request) { panic(http.ErrAbortHandler) },
		"silent":  func(w http.ResponseWriter, r *http.Request) { <-r.Context().Done() },
		"cut": func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Length", "9")
			w.Write([]byte("x"))
		},
		"encoded":   func(w http.ResponseWriter, r *http.Request) { w.Header().Set("Content-Encoding", "br") },
		"malformed": func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, "{") },
	}
	subject := of(t, "r.example/x", []byte("x"))
	for name, h := range answers {
		t.Run(name, func(t *testing.T) {
			log := &logged{}
			reg := serve(t, h)
			o := clientOptions(t, reg.URL)
			o.HeaderTimeout, o.BodyTimeout = 50*time.Millisecond, 50*time.Millisecond
			o.Logger = slog.New(slog.NewTextHandler(log, &slog.HandlerOptions{Level: slog.LevelDebug}))
			o.Observe = func(registry, op string, _ int, _ time.Duration) { fmt.Fprintln(log, registry, op) }
			c := open(t, o)
			ctx := as(t, "Bearer "+secret)
			_, err1 := c.ManifestBytes(ctx, subject)
			_, err2 := c.ResolveTag(ctx, tagged(t, "r.example/x:v1"))
			_, err3 := c.Tags(ctx, subject, TagCursor{})
			_, err4 := c.Referrers(ctx, subject)
			_, _, err5 := c.ExtensionSignatures(ctx, subject)
			_, err6 := c.BlobBytes(ctx, subject, 10)
			_, err7 := c.Token(ctx, "r.example", tokenRequest(t, "GET", "/token?x="+secret, "Bearer "+secret))
			for _, err := range []error{err1, err2, err3, err4, err5, err6, err7, c.Ping(ctx, "r.example"),
				c.Authorize(ctx, subject, false), c.Authorize(ctx, subject, true)} {
				if text := fmt.Sprintf("%v %+v", err, err); strings.Contains(text, secret) {
					t.Errorf("an error tells the secret: %s", text)
				}
			}
			if text := log.String(); strings.Contains(text, secret) || !strings.Contains(text, "manifest") {
				t.Errorf("the log tells the secret, or nothing:\n%s", text)
			}
		})
	}
	if text := fmt.Sprintf("%v %+v", as(t, secret), as(t, secret)); strings.Contains(text, secret) {
		t.Errorf("a printed context tells the secret: %s", text)
	}
}

// logged is a log that several goroutines write.
type logged struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *logged) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *logged) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

func TestUnreachableRegistryTellsNoHeader(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l.Close()
	c := open(t, clientOptions(t, "http://"+l.Addr().String()))
	ctx := as(t, "Bearer s3cr3t")
	for _, err := range []error{c.Ping(ctx, "r.example"), c.Authorize(ctx, named(t, "r.example/x:v1"), false)} {
		if wantKind(t, err, Unavailable); strings.Contains(err.Error(), "s3cr3t") {
			t.Error(err)
		}
	}
}

// Every request says by whom it was sent, wherever it goes.
func TestVia(t *testing.T) {
	const via = "1.1 pullgate-0123456789abcdef"
	tokens := tokenServer(t)
	cdn := serve(t, func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, "{}") })
	reg := serve(t, func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") == "" {
			w.Header().Set("WWW-Authenticate", `Bearer realm="`+tokens.URL+`/token"`)
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		http.Redirect(w, r, cdn.URL, http.StatusFound)
	})
	o := options(reg.URL)
	for _, o.Via = range []string{"", via} {
		if _, err := open(t, o).Manifest(t.Context(), named(t, "r.example/x:v1")); err != nil {
			t.Fatal(err)
		}
		body, err := openWeb(t, o).Get(t.Context(), cdn.URL+signaturePath)
		if err != nil {
			t.Fatal(err)
		}
		body.Close()
	}
	for s, n := range map[*server]int{reg: 2, tokens: 1, cdn: 2} {
		want := slices.Concat(make([]string, n), slices.Repeat([]string{via}, n))
		if got := s.headers("Via"); !slices.Equal(got, want) {
			t.Errorf("got %q, want %q", got, want)
		}
	}
	for _, o.Via = range []string{"1.1 a\r\nX: y", strings.Repeat("a", 257)} {
		if _, err := New(o); err == nil {
			t.Errorf("%.20q was taken", o.Via)
		}
	}
}
