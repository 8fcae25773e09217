package config

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"math/big"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func read(t *testing.T, path string) string {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// pair writes a certificate and its key.
func (s site) pair(name string) (cert, key string) {
	s.t.Helper()
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		s.t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &k.PublicKey, k)
	if err != nil {
		s.t.Fatal(err)
	}
	kder, err := x509.MarshalPKCS8PrivateKey(k)
	if err != nil {
		s.t.Fatal(err)
	}
	block := func(typ string, b []byte) string { return string(pem.EncodeToMemory(&pem.Block{Type: typ, Bytes: b})) }
	return s.write(name+".crt", block("CERTIFICATE", der)), s.write(name+".key", block("PRIVATE KEY", kder))
}

// pemKey is an EC key that can sign tokens.
func pemKey(t *testing.T) []byte {
	t.Helper()
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(k)
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})
}

// faulty is one fault: the file under minimal, and what its one line must hold.
type faulty struct {
	name    string
	content string
	key     string   // expected Fault.Key
	line    int      // expected Fault.Line
	want    []string // parts of problem and fix
}

func (f faulty) run(t *testing.T) {
	s := newSite(t)
	_, err := s.load(f.content, LoadOptions{})
	var faults Faults
	if !errors.As(err, &faults) {
		t.Fatalf("expected Faults, got %v", err)
	}
	if len(faults) != 1 {
		t.Fatalf("expected one fault, got:\n%v", err)
	}
	got := faults[0]
	if got.File != filepath.Join(s.dir, "pullgate.yaml") || got.Key != f.key || got.Line != f.line {
		t.Errorf("fault is at %q line %d key %q, expected line %d key %q: %v", got.File, got.Line, got.Key, f.line, f.key, got)
	}
	if got.Problem == "" || got.Fix == "" {
		t.Errorf("fault without problem or fix: %+v", got)
	}
	for _, part := range append(f.want, got.File, f.key) {
		if !strings.Contains(got.Error(), part) {
			t.Errorf("expected %q in: %v", part, got)
		}
	}
	if strings.Count(err.Error(), "\n") != 0 {
		t.Errorf("more than one line: %q", err)
	}
}

func runAll(t *testing.T, faults []faulty) {
	for _, f := range faults {
		t.Run(f.name, f.run)
	}
}

func TestFaultsOfShape(t *testing.T) {
	runAll(t, []faulty{
		{"unknown key", minimal + "lisen: x", "lisen", 3, []string{"did you mean listen?"}},
		{"unknown key far from all", minimal + "zzz: x", "zzz", 3, []string{"known keys here: listen, tls, admin, hosts"}},
		{"capitals", minimal + "Listen: x", "Listen", 3, []string{"did you mean listen?"}},
		{"camel case below", minimal + "verdicts:\n  allowedTTL: 1h", "verdicts.allowedTTL", 4, []string{"did you mean allowed_ttl?"}},
		{"unknown key in a list item", "policy: policy.json\nupstreams:\n  - registry: docker.io\n    endpont: x", "upstreams[0].endpont", 4, []string{"did you mean endpoint?"}},
		{"twice in a list item", "policy: policy.json\nupstreams: [{registry: docker.io, registry: docker.io}]", "upstreams[0].registry", 2, []string{"second time"}},
		{"dotted key", minimal + "tags.ttl: 1h", "tags.ttl", 3, []string{"not a known key"}},
		{"twice", minimal + "listen: ':1'\nlisten: ':2'", "listen", 4, []string{"first on line 3"}},
		{"twice below", minimal + "tags: {ttl: 1s, ttl: 1s}", "tags.ttl", 3, []string{"second time"}},
		{"merge key", minimal + "<<: {listen: ':1'}", "<<", 3, []string{"not a known key"}},
		{"section is a value", minimal + "tls: cert.pem", "tls", 3, []string{`"cert.pem"`, "cert, key, client_ca"}},
		{"value is a section", minimal + "listen: {host: x}", "listen", 3, []string{"found keys with values"}},
		{"value is a list", minimal + "listen: [x]", "listen", 3, []string{"found a list"}},
		{"list is a value", minimal + "report_only: default", "report_only", 3, []string{"expected a list", "dash"}},
		{"list item is a list", minimal + "report_only: [[default]]", "report_only[0]", 3, []string{"found a list"}},
		{"list item is nothing", minimal + "report_only:\n  -\n", "report_only[0]", 4, []string{"found nothing"}},
		{"alias", minimal + "admin: &a {listen: ':1'}\ntls: *a", "tls", 4, []string{"an alias"}},
		{"odd tag", minimal + "listen: !!binary aGk=", "listen", 3, []string{"expected a single value"}},
		{"bare number of seconds", minimal + "tags: {ttl: 30}", "tags.ttl", 3, []string{`write "30s"`, `"30m"`}},
		{"bare zero", minimal + "tags: {ttl: 0}", "tags.ttl", 3, []string{`write "0s"`}},
		{"no duration", minimal + "tags: {ttl: soon}", "tags.ttl", 3, []string{`"soon"`, `"1h30m"`}},
		{"days", minimal + "tags: {ttl: 1d}", "tags.ttl", 3, []string{`"1d"`}},
		{"no number", minimal + "verdicts: {size: many}", "verdicts.size", 3, []string{`"many"`, "digits"}},
		{"number with point", minimal + "verdicts: {size: 1.5}", "verdicts.size", 3, []string{`"1.5"`}},
		{"no boolean", minimal + "insecure_weak_signatures: yes", "insecure_weak_signatures", 3, []string{"true or false"}},
		{"no YAML", minimal + "\tlisten: x", "", 0, []string{"is not YAML", "line 3"}},
		{"two documents", minimal + "---\nlisten: ':1'", "", 0, []string{"more than one YAML document"}},
	})
}

// upstream is a file whose docker.io is good and whose second upstream is this.
func upstream(item string) string {
	return "policy: policy.json\nupstreams:\n  - {registry: docker.io, prefix: hub}\n  - {" + item + "}\n"
}

func TestFaultsOfUpstreams(t *testing.T) {
	const registry, prefix, endpoint = "upstreams[1].registry", "upstreams[1].prefix", "upstreams[1].endpoint"
	at := func(e string) string { return upstream("registry: a.example, endpoint: '" + e + "'") }
	runAll(t, []faulty{
		{"none", "policy: policy.json\n", "upstreams", 0, []string{"is empty", "other_registries: allow"}},
		{"no registry", upstream("prefix: x"), registry, 4, []string{"is empty", "docker.io"}},
		{"no host", upstream("registry: corp"), registry, 4, []string{`"corp"`, "with a dot"}},
		{"upper case", upstream("registry: Quay.io"), registry, 4, []string{"lower case"}},
		{"with a path", upstream("registry: quay.io/team"), registry, 4, []string{`"quay.io/team"`}},
		{"with a scheme", upstream("registry: 'https://quay.io'"), registry, 4, nil},
		{"port out of range", upstream("registry: 'quay.io:65536'"), registry, 4, nil},
		{"port zero", upstream("registry: 'quay.io:0'"), registry, 4, nil},
		{"unicode", upstream("registry: quáy.io"), registry, 4, nil},
		{"listed twice", upstream("registry: docker.io"), registry, 4, []string{"the same registry as upstreams[0].registry"}},
		{"listed twice with a port", upstream("registry: 'docker.io:443'"), registry, 4, []string{"the same registry"}},
		{"another name of docker hub", upstream("registry: index.docker.io"), registry, 4, []string{"write docker.io"}},
		{"host of docker hub", upstream("registry: 'registry-1.docker.io:443'"), registry, 4, []string{"write docker.io"}},

		{"prefix with a slash", upstream("registry: a.example, prefix: a/b"), prefix, 4, []string{`"a/b"`, "corp"}},
		{"prefix in upper case", upstream("registry: a.example, prefix: Corp"), prefix, 4, nil},
		{"prefix of dots", upstream("registry: a.example, prefix: '..'"), prefix, 4, nil},
		{"prefix with a line end", upstream(`registry: a.example, prefix: "corp\n"`), prefix, 4, nil},
		{"prefix too long", upstream("registry: a.example, prefix: " + strings.Repeat("a", 129)), prefix, 4, nil},
		{"prefix of another", upstream("registry: a.example, prefix: hub"), prefix, 4, []string{"the same as upstreams[0].prefix"}},
		{"prefix is another's name", upstream("registry: a.example, prefix: docker.io"), prefix, 4, []string{"the same as upstreams[0].registry"}},
		{"prefix is another name of docker hub", upstream("registry: a.example, prefix: registry-1.docker.io"), prefix, 4, []string{"another registry"}},
		{"prefix reads as a registry", upstream("registry: a.example, prefix: quay.io") + "other_registries: allow", prefix, 4, []string{"another registry"}},

		{"endpoint without a scheme", at("a.example:5000"), endpoint, 4, []string{"https://"}},
		{"endpoint of another scheme", at("ftp://a.example"), endpoint, 4, []string{"https://"}},
		{"endpoint of a file", at("file:///etc/passwd"), endpoint, 4, nil},
		{"endpoint without a host", at("https://"), endpoint, 4, []string{"no host"}},
		{"endpoint without a host but a port", at("https://:5000"), endpoint, 4, []string{"no host"}},
		{"endpoint with half a port", at("https://a.example:"), endpoint, 4, []string{"port"}},
		{"endpoint with a port out of range", at("https://a.example:70000"), endpoint, 4, []string{"port"}},
		{"endpoint with a user", at("https://bob@a.example"), endpoint, 4, []string{"auth_file"}},
		{"endpoint with a query", at("https://a.example/?x=1"), endpoint, 4, []string{"query"}},
		{"endpoint with an empty query", at("https://a.example/?"), endpoint, 4, []string{"query"}},
		{"endpoint with a fragment", at("https://a.example/#x"), endpoint, 4, []string{"fragment"}},
		{"endpoint with the API's path", at("https://a.example/v2/"), endpoint, 4, []string{"/v2/"}},
		{"endpoint that climbs", at("https://a.example/a/../b"), endpoint, 4, []string{"path"}},
		{"endpoint with an escape", at("https://a.example/a%2fb"), endpoint, 4, []string{"path"}},
		{"endpoint that is no URL", at("https://a b"), endpoint, 4, []string{"not a URL"}},
		{"layout that is missing", at("oci:missing"), endpoint, 4, []string{"missing", "no such file"}},
		{"layout that is a file", at("dir:policy.json"), endpoint, 4, []string{"not a directory"}},

		{"transport", upstream("registry: a.example, transport: oci"), "upstreams[1].transport", 4, []string{"docker, atomic", `"oci"`}},
		{"others", upstream("registry: a.example") + "other_registries: all", "other_registries", 5, []string{"deny, allow", `"all"`}},
		{"default not served", upstream("registry: a.example") + "default_registry: quay.io", "default_registry", 5, []string{"docker.io, a.example"}},
		{"default is no registry", upstream("registry: a.example") + "default_registry: hub", "default_registry", 5, []string{`"hub"`}},
		{"default is empty", upstream("registry: a.example") + "default_registry: ''", "default_registry", 5, []string{"is empty"}},
	})
}

func TestGoodUpstreams(t *testing.T) {
	for _, item := range []string{
		"registry: 'localhost:5000', endpoint: 'http://localhost:5000'",
		"registry: localhost, prefix: localhost",
		"registry: '127.0.0.1:5000', endpoint: 'http://127.0.0.1:5000/'",
		"registry: '[::1]:5000', prefix: six, endpoint: 'https://[::1]:5000'",
		"registry: 'a.example:5000', prefix: a.example",
		"registry: a.example, prefix: a-b_c, endpoint: 'https://mirror.example/a/b-c'",
		"registry: a.example, prefix: 007",
		"registry: a.example, endpoint: 'oci:layout'",
		"registry: a.example, endpoint: 'dir:./layout/'",
	} {
		t.Run(item, func(t *testing.T) {
			newSite(t).good(upstream(item)+"other_registries: allow", LoadOptions{})
		})
	}
	newSite(t).good(upstream("registry: a.example, prefix: team.a"), LoadOptions{}) // as nothing else is served
}

func TestFaultsOfAddressesAndBounds(t *testing.T) {
	runAll(t, []faulty{
		{"only a port", minimal + "listen: 5000", "listen", 3, []string{`"5000"`, "127.0.0.1:5000"}},
		{"only a host", minimal + "listen: localhost", "listen", 3, nil},
		{"empty address", minimal + "listen: ''", "listen", 3, nil},
		{"port out of range", minimal + "listen: ':65536'", "listen", 3, []string{"65535"}},
		{"port by name", minimal + "listen: ':http'", "listen", 3, nil},
		{"a URL", minimal + "admin: {listen: 'http://x:1'}", "admin.listen", 3, nil},
		{"no admin address", minimal + "admin: {listen: ''}", "admin.listen", 3, nil},
		{"the same address", minimal + "admin: {listen: '127.0.0.1:5000'}", "admin.listen", 3, []string{"taken by listen", "another port"}},
		{"the same port on every address", minimal + "admin: {listen: ':5000'}", "admin.listen", 3, []string{"taken by listen"}},
		{"the same port on every address of IPv6", minimal + "listen: '[::]:5001'", "admin.listen", 0, []string{"taken by listen"}},

		{"no verdicts", minimal + "verdicts: {size: 0}", "verdicts.size", 3, []string{"from 1 to 10000000", "100000"}},
		{"fewer than none", minimal + "verdicts: {size: -1}", "verdicts.size", 3, nil},
		{"too many verdicts", minimal + "verdicts: {size: 10000001}", "verdicts.size", 3, nil},
		{"allowed for too long", minimal + "verdicts: {allowed_ttl: 169h}", "verdicts.allowed_ttl", 3, []string{"168h"}},
		{"denied in the past", minimal + "verdicts: {denied_ttl: -1s}", "verdicts.denied_ttl", 3, []string{"0s to 168h"}},
		{"tags in the past", minimal + "tags: {ttl: -1s}", "tags.ttl", 3, nil},

		{"log level", minimal + "log: {level: verbose}", "log.level", 3, []string{"debug, info, warn, error"}},
		{"log format", minimal + "log: {format: xml}", "log.format", 3, []string{"text, json"}},

		{"scope is empty", minimal + "report_only: ['']", "report_only[0]", 3, []string{"policy.json", "default"}},
		{"scope in upper case", minimal + "report_only: [docker.io/Library]", "report_only[0]", 3, nil},
		{"scope is a URL", minimal + "report_only:\n- default\n- https://quay.io", "report_only[1]", 5, nil},
		{"scope ends in a slash", minimal + "report_only: [quay.io/]", "report_only[0]", 3, nil},
		{"scope with a wildcard inside", minimal + "report_only: [quay.io/*]", "report_only[0]", 3, nil},
		{"scope of any host", minimal + "report_only: ['*.']", "report_only[0]", 3, nil},
		{"scope of hosts with a port", minimal + "report_only: ['*.example.com:5000']", "report_only[0]", 3, nil},
		{"scope twice", minimal + "report_only: [default, default]", "report_only[1]", 3, []string{"second time"}},
	})
}

func TestScopesThatPoliciesHave(t *testing.T) {
	for _, scope := range []string{
		"default", "docker (transport default)", "docker.io", "localhost:5000", "docker.io/library", "docker.io/library/nginx:1.27",
		"quay.io/a/b@sha256:" + strings.Repeat("0", 64), "*.example.com", "*.com", "[::1]:5000", "[::1]:5000/team",
	} {
		if !validScope(scope) {
			t.Errorf("%s is refused", scope)
		}
	}
}

func TestFaultsOfFiles(t *testing.T) {
	runAll(t, []faulty{
		{"no policy", "upstreams: [{registry: docker.io}]", "policy", 0, []string{"not set", "containers-policy.json(5)"}},
		{"empty policy", "upstreams: [{registry: docker.io}]\npolicy: ''", "policy", 2, []string{"not set"}},
		{"nothing as policy", "upstreams: [{registry: docker.io}]\npolicy:", "policy", 0, []string{"not set"}},
		{"policy is missing", "upstreams: [{registry: docker.io}]\npolicy: x.json", "policy", 2, []string{"x.json", "no such file"}},
		{"policy is a directory", "upstreams: [{registry: docker.io}]\npolicy: .", "policy", 2, []string{"is not a file"}},
		{"policy is a device", "upstreams: [{registry: docker.io}]\npolicy: /dev/zero", "policy", 2, []string{"is not a file"}},
		{"registries.d is missing", minimal + "registries_d: x.d", "registries_d", 3, []string{"x.d"}},
		{"registries.d is a file", minimal + "registries_d: policy.json", "registries_d", 3, []string{"is not a directory"}},
		{"auth file is missing", minimal + "auth_file: x.json", "auth_file", 3, []string{"x.json"}},
		{"certs.d is missing", minimal + "certs_d: [x.d]", "certs_d[0]", 3, []string{"x.d", "leave the item out"}},
		{"certs.d is empty", minimal + "certs_d: [registries.d, '']", "certs_d[1]", 3, []string{"is empty"}},
		{"audit file is empty", minimal + "audit: {file: ''}", "audit.file", 3, []string{"always recorded"}},
		{"audit file is a directory", minimal + "audit: {file: .}", "audit.file", 3, []string{"is a directory"}},
		{"audit directory is missing", minimal + "audit: {file: logs/a.jsonl}", "audit.file", 3, []string{"logs"}},
	})
}

func TestFaultsOfCertificates(t *testing.T) {
	s := newSite(t)
	s.pair("one")
	s.pair("two")
	for name, test := range map[string]struct {
		tls  string
		key  string
		want string
	}{
		"no key":                {"cert: one.crt", "tls.key", "missing beside tls.cert"},
		"no certificate":        {"key: one.key", "tls.cert", "missing beside tls.key"},
		"of another pair":       {"cert: one.crt, key: two.key", "tls.cert", "does not match"},
		"no certificate inside": {"cert: policy.json, key: one.key", "tls.cert", "PEM"},
		"missing":               {"cert: x.crt, key: one.key", "tls.cert", "no such file"},
		"endless":               {"cert: /dev/zero, key: one.key", "tls.cert", "is not a file"},
		"no CA inside":          {"cert: one.crt, key: one.key, client_ca: one.key", "tls.client_ca", "no certificate"},
		"CA alone":              {"client_ca: one.crt", "tls.client_ca", "needs tls.cert and tls.key"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := s.load(minimal+"tls: {"+test.tls+"}", LoadOptions{})
			var faults Faults
			if !errors.As(err, &faults) || len(faults) != 1 || faults[0].Key != test.key || faults[0].Line != 3 || faults[0].Fix == "" {
				t.Fatalf("expected one fault of %s on line 3, got: %v", test.key, err)
			}
			if !strings.Contains(err.Error(), test.want) {
				t.Errorf("expected %q in: %v", test.want, err)
			}
			if strings.Contains(err.Error(), "PRIVATE KEY") {
				t.Errorf("the fault repeats a key: %v", err)
			}
		})
	}
}

func TestEveryFaultIsReportedAtOnce(t *testing.T) {
	s := newSite(t)
	_, err := s.load("lisen: x\nverdicts: {size: 0, allowed_ttl: 30}\nupstreams: [{registry: Hub}]\nlisten: x\n",
		LoadOptions{Environ: []string{"PULLGATE_TAGS_TTL=1"}, Flags: map[string]string{"log.level": "loud", "lgo.level": "x"}})
	file := filepath.Join(s.dir, "pullgate.yaml")
	for _, want := range []string{
		file + ":1: lisen: ", file + ":2: verdicts.size: ", file + ":2: verdicts.allowed_ttl: ", file + ":3: upstreams[0].registry: ",
		file + ":4: listen: ", file + ": policy: ", "environment: PULLGATE_TAGS_TTL: ", "flags: log.level: ",
		"flags: lgo.level: not a known key; did you mean log.level?",
	} {
		found := false
		for line := range strings.SplitSeq(err.Error(), "\n") {
			found = found || strings.HasPrefix(line, want)
		}
		if !found {
			t.Errorf("no line starts with %q", want)
		}
	}
	if t.Failed() {
		t.Log(err)
	}
}

func TestFaultsOfTheEnvironmentNameTheVariable(t *testing.T) {
	s := newSite(t)
	for env, want := range map[string]string{
		"PULLGATE_LISTEN=": "environment: PULLGATE_LISTEN: ",
		"PULLGATE_UPSTREAMS=docker.io,a.example=ftp://": "environment: PULLGATE_UPSTREAMS[1].endpoint: ",
		"PULLGATE_UPSTREAMS=docker.io=ftp://x":          "environment: PULLGATE_UPSTREAMS[0].endpoint: ", // not the line that it replaces
		"PULLGATE_UPSTREAMS=docker.io,,":                "environment: PULLGATE_UPSTREAMS: an item has no registry",
		"PULLGATE_REPORT_ONLY=default,":                 "environment: PULLGATE_REPORT_ONLY[1]: ",
		"PULLGATE_AUDIT_BLOBS=1":                        "environment: PULLGATE_AUDIT_BLOBS: expected true or false",
	} {
		if _, err := s.load("policy: policy.json\nupstreams: [{registry: docker.io, endpoint: 'https://x'}]", LoadOptions{Environ: []string{env}}); err == nil || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("%s: expected %q, got: %v", env, want, err)
		}
	}
}

func TestTheFileItself(t *testing.T) {
	s := newSite(t)
	large := s.write("large.yaml", "#"+strings.Repeat("x", maxFile))
	for path, want := range map[string]string{s.dir: "directory", s.dir + "/none.yaml": "no such file", large: "larger than"} {
		_, err := Load(LoadOptions{File: path})
		if err == nil || !strings.HasPrefix(err.Error(), path+": ") || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: expected %q, got: %v", path, want, err)
		}
	}
}

func TestFaultsHoldNoPasswords(t *testing.T) {
	const password = "hunter2"
	s := newSite(t)
	for _, content := range []string{
		upstream("registry: a.example, endpoint: 'https://bob:hunter2@a.example'"),
		upstream("registry: a.example, endpoint: 'ftp://bob:hunter2@a.example'"),
		upstream("registry: a.example, endpoint: 'https://bob:hunter2@a b'"),
		upstream("registry: a.example, endpoint: 'bob:hunter2@a.example'"),
		upstream("registry: 'bob:hunter2@a.example'"),
		upstream("registry: 'https://bob:hunter2@a.example'"),
		minimal + "default_registry: 'https://bob:hunter2@a.example'",
		minimal + "report_only: ['https://bob:hunter2@a.example']",
		minimal + "listen: 'https://bob:hunter2@a.example'",
		"policy: policy.json\nupstreams: 'https://bob:hunter2@a.example'",
		"policy: policy.json\nupstreams: ['https://bob:hunter2@a.example']",
	} {
		_, err := s.load(content, LoadOptions{})
		if err == nil || strings.Contains(err.Error(), password) {
			t.Errorf("expected a fault without the password for\n%s\ngot: %v", content, err)
		}
	}
}

func TestFaultsStayOnOneLineAndShort(t *testing.T) {
	s := newSite(t)
	_, err := s.load(minimal+"\"lis\\e[2Jten\\nx: y\": x\nlisten: \"a\\nb\\e[2J"+strings.Repeat("x", 10_000)+"\"\n"+
		strings.Repeat("k", 900)+": x\n", LoadOptions{})
	if err == nil || strings.ContainsAny(err.Error(), "\x1b\r") || strings.Count(err.Error(), "\n") != 2 || len(err.Error()) > 2000 {
		t.Errorf("got %q", err)
	}
}

func TestInspectKeepsWhatCouldBeRead(t *testing.T) {
	s := newSite(t)
	path := s.write("pullgate.yaml", minimal+"lisen: x")
	c, err := Inspect(LoadOptions{File: path})
	if err == nil || c == nil || c.Policy != filepath.Join(s.dir, "policy.json") {
		t.Errorf("got %+v, %v", c, err)
	}
	if c, err := Load(LoadOptions{File: path}); err == nil || c != nil {
		t.Errorf("load: %+v, %v", c, err)
	}
	path = s.write("pullgate.yaml", "policy: [")
	if c, err := Inspect(LoadOptions{File: path}); err == nil || c != nil {
		t.Errorf("what is no YAML: %+v, %v", c, err)
	}
}
