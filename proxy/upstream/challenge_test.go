package upstream

import (
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
)

func TestChallenges(t *testing.T) {
	const plain = `Bearer realm="https://auth.example/token",service="reg"`
	tests := map[string]struct {
		headers []string
		want    string
	}{
		"none":                 {nil, ""},
		"bearer":               {[]string{plain}, plain},
		"basic":                {[]string{`Basic realm="x"`}, `Basic realm="x"`},
		"without a realm":      {[]string{`Basic`}, `Basic`},
		"written otherwise":    {[]string{`bEARER  Realm = "https://auth.example/token" , service=reg`}, plain},
		"quotes":               {[]string{`Basic realm="a \"b\" \\ , c"`}, `Basic realm="a \"b\" \\ , c"`},
		"bearer before basic":  {[]string{`Basic realm="x"`, plain}, plain},
		"several in one":       {[]string{`Basic realm="x", ` + plain}, plain},
		"others left out":      {[]string{`Negotiate YII=, NTLM, Digest realm="a", nonce="b", Basic realm="x"`}, `Basic realm="x"`},
		"only others":          {[]string{`Negotiate`, `Digest realm="x"`}, ""},
		"https to http":        {[]string{`Bearer realm="http://auth.example/token"`}, ""},
		"falls back to basic":  {[]string{`Bearer realm="http://auth.example/token", Basic realm="x"`}, `Basic realm="x"`},
		"no URL":               {[]string{`Bearer realm="auth.example"`}, ""},
		"another scheme":       {[]string{`Bearer realm="file:///etc/passwd"`}, ""},
		"user in the URL":      {[]string{`Bearer realm="https://auth.example@evil.example/"`}, ""},
		"no realm":             {[]string{`Bearer service="reg"`}, ""},
		"two realms":           {[]string{`Bearer realm="https://a.example/",realm="https://b.example/"`}, ""},
		"header split":         {[]string{"Bearer realm=\"https://a.example/\"\r\nSet-Cookie: a=b"}, ""},
		"not ASCII":            {[]string{`Basic realm="é"`}, ""},
		"too long":             {[]string{`Basic realm="` + strings.Repeat("x", maxChallenge) + `"`}, ""},
		"1 MiB":                {[]string{`Basic realm="` + strings.Repeat("x", 1<<20) + `"`}, ""},
		"too long when quoted": {[]string{`Basic realm="` + strings.Repeat(`x`, maxChallenge-18) + `",a=b`}, ""},
		"too many parameters":  {[]string{`Basic ` + params(maxChallengeParams+1)}, ""},
		"as many as may be":    {[]string{`Basic ` + params(maxChallengeParams)}, `Basic ` + params(maxChallengeParams)},
		"unclosed":             {[]string{`Basic realm="x`}, ""},
		"unclosed escape":      {[]string{`Basic realm="x\`}, ""},
		"no comma":             {[]string{`Basic realm="x" charset="UTF-8"`}, ""},
		"parameters of none":   {[]string{`realm="x"`}, ""},
		"no value":             {[]string{`Basic realm=`}, `Basic`},
		"garbage":              {[]string{`"Basic" realm="x"`}, ""},
		"a scheme in one":      {[]string{`Foo ` + plain}, ""},
		"scheme and garbage":   {[]string{`Basic"x"`}, ""},
		"malformed, then good": {[]string{`Basic realm="`, plain}, plain},
	}
	for name, tt := range tests {
		got := usableChallenge(http.Header{"Www-Authenticate": tt.headers}, true).String()
		if got != tt.want {
			t.Errorf("%s:\n got %q\nwant %q", name, got, tt.want)
		}
	}
	if got := usableChallenge(http.Header{"Www-Authenticate": {`Bearer realm="http://a.example/"`}}, false).String(); got == "" {
		t.Error("a registry reached by http may send clients to http")
	}
}

// params are n parameters.
func params(n int) string {
	var all []string
	for i := range n {
		all = append(all, fmt.Sprintf(`p%d="x"`, i))
	}
	return strings.Join(all, ",")
}

// Challenges that a hostile registry sends over a real connection.
func TestHostileChallenges(t *testing.T) {
	for name, header := range map[string]string{
		"a line of its own": "WWW-Authenticate: Basic realm=\"x\r\nSet-Cookie: a=b\"\r\n",
		"a bare CR":         "WWW-Authenticate: Basic realm=\"x\rSet-Cookie: a=b\"\r\n",
		"1 MiB":             "WWW-Authenticate: Basic realm=\"" + strings.Repeat("x", 1<<20) + "\"\r\n",
		"9 KiB":             "WWW-Authenticate: Basic realm=\"" + strings.Repeat("x", 9<<10) + "\"\r\n",
		"unknown scheme":    "WWW-Authenticate: Negotiate\r\n",
	} {
		t.Run(name, func(t *testing.T) {
			reg := serve(t, func(w http.ResponseWriter, r *http.Request) {
				conn, _, err := http.NewResponseController(w).Hijack()
				if err != nil {
					t.Error(err)
					return
				}
				defer conn.Close()
				io.WriteString(conn, "HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\n"+header+"\r\n")
			})
			err := open(t, clientOptions(t, reg.URL)).Ping(as(t, "Basic eDp5"), "r.example")
			e, ok := err.(*Error)
			if !ok || e.Kind != Unauthorized && e.Kind != Unavailable || e.Challenge != "" {
				t.Errorf("got %v, challenge %.80q", err, e.Challenge)
			}
		})
	}
}

func FuzzUsableChallenge(f *testing.F) {
	for _, s := range []string{`Bearer realm="https://a.example/t",service="x",scope="repository:a/b:pull"`, `Basic realm="a\"b", Negotiate YII==`,
		`Bearer realm=https`, `Basic`, ` , Basic realm="x" , a = b`, `Digest a="b", c=d`, "Basic \x00"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		c := usableChallenge(http.Header{"Www-Authenticate": {s}}, true)
		out := c.String()
		if out == "" {
			return
		}
		if len(out) > maxChallenge || !printable(out) {
			t.Fatalf("%q is not fit for a header", out)
		}
		all, ok := parseChallenges(out)
		if !ok || len(all) != 1 || fmt.Sprint(all[0]) != fmt.Sprint(c) {
			t.Fatalf("%q reads as %v, was %v", out, all, c)
		}
	})
}
