package auth

import (
	"context"
	"encoding/base64"
	"errors"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/crypto/bcrypt"
)

func TestHtpasswd(t *testing.T) {
	line := hashed(t, "alice", "wonderland")
	hash := strings.TrimSpace(strings.TrimPrefix(line, "alice:"))
	for _, minor := range []string{"$2a$", "$2b$", "$2y$"} {
		h := minor + hash[4:]
		got, err := parseHtpasswd("f", "# users\n\n \nalice:"+h+"\r\nbob:"+h)
		if err != nil || got["alice"] != h || got["bob"] != h || len(got) != 2 {
			t.Errorf("%s: %v %v", minor, got, err)
		}
		if bcrypt.CompareHashAndPassword([]byte(h), []byte("wonderland")) != nil {
			t.Errorf("%s does not verify", minor)
		}
	}
	for name, c := range map[string]struct{ text, says string }{
		"MD5":           {"a:$apr1$xxxxxxxx$yyyyyyyyyyyyyyyyyyyyyy", "f:1: user \"a\": expected a bcrypt hash"},
		"SHA-1":         {line + "a:{SHA}fEqNCco3Yq9h5ZUglD3CZJT4lBs=", "f:2:"},
		"plain":         {"a:secret-password", "htpasswd -B"},
		"SHA-512":       {"a:$6$salt$hash", "expected a bcrypt hash"},
		"bcrypt x":      {"a:$2x$" + hash[4:], "expected a bcrypt hash"},
		"cost low":      {"a:$2y$03" + hash[6:], "expected a bcrypt cost of 4 to 16"},
		"cost high":     {"a:$2y$17" + hash[6:], "expected a bcrypt cost of 4 to 16, found 17"},
		"short":         {"a:" + hash[:59], "expected a bcrypt hash"},
		"long":          {"a:" + hash + "x", "expected a bcrypt hash"},
		"blank after":   {"a:" + hash + " ", "expected a bcrypt hash"},
		"third field":   {"a:" + hash + ":x", "expected a bcrypt hash"},
		"no colon":      {"secret-password", "expected user:hash"},
		"no user":       {":" + hash, "not a user name"},
		"control":       {"a\x1b:" + hash, "not a user name"},
		"not UTF-8":     {"a\xff:" + hash, "not a user name"},
		"long user":     {strings.Repeat("a", 256) + ":" + hash, "not a user name"},
		"twice":         {line + "\n" + line, "f:3: user \"alice\" is in line 1 already"},
		"empty":         {"", "holds no users"},
		"comments only": {"# nobody\n", "holds no users"},
		"many lines":    {strings.Repeat("#\n", maxUsers+1), "more than 10000 lines"},
	} {
		got, err := parseHtpasswd("f", c.text)
		if err == nil || !strings.Contains(err.Error(), c.says) || got != nil {
			t.Errorf("%s: %v, expected %q", name, err, c.says)
		}
		if err != nil && (strings.Contains(err.Error(), "secret") || strings.Contains(err.Error(), hash[10:50])) {
			t.Errorf("%s: the error holds a secret: %v", name, err)
		}
	}
	if _, err := parseHtpasswd("f", line+strings.Repeat("#\n", maxUsers-1)); err != nil {
		t.Error(err)
	}
}

func TestPasswordFile(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "htpasswd")
	for says, prepare := range map[string]func() error{
		"no such file":           func() error { return nil },
		"regular file, found d-": func() error { return os.Mkdir(file, 0o700) },
		"regular file, found p-": func() error { return syscall.Mkfifo(file, 0o600) },
		"larger than":            func() error { return os.WriteFile(file, make([]byte, maxHtpasswd+1), 0o600) },
	} {
		if err := prepare(); err != nil {
			t.Fatal(err)
		}
		if _, err := New(Options{HtpasswdFile: file}); err == nil || !strings.Contains(err.Error(), file) || !strings.Contains(err.Error(), says) {
			t.Errorf("%v, expected %q", err, says)
		}
		os.Remove(file)
	}
	w := newWorld(t, nil)
	if strings.Contains(w.logs.String(), "WARN") {
		t.Errorf("warned about a file that is closed: %s", w.logs)
	}
	if err := os.Chmod(filepath.Join(w.dir, "htpasswd"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := w.a.Reload(); err != nil || !strings.Contains(w.logs.String(), "WARN") {
		t.Errorf("%v, no warning about a file that everybody can read: %s", err, w.logs)
	}
}

func TestReload(t *testing.T) {
	w := newWorld(t, withTokens)
	files := w.a.Files()
	if len(files) != 2 || filepath.Base(files[0]) != "htpasswd" || filepath.Base(files[1]) != "token.key" {
		t.Errorf("files: %v", files)
	}
	token := w.tokenFor("repository:docker.io/library/nginx:pull")
	w.want(w.get(nginx, basic("alice", "wonderland")), http.StatusOK, "user:alice")

	w.write("htpasswd", "alice:plain\n")
	if err := w.a.Reload(); err == nil {
		t.Error("a bad file was taken")
	}
	w.want(w.get(nginx, basic("bob", "builder")), http.StatusOK, "user:bob")
	w.write("htpasswd", hashed(t, "alice", "changed"))
	w.write("token.key", "no key")
	if err := w.a.Reload(); err == nil {
		t.Error("a bad key was taken")
	}
	w.want(w.get(nginx, basic("bob", "builder")), http.StatusOK, "user:bob")
	w.want(w.get(nginx, bearer(token)), http.StatusOK, "user:alice")

	os.Remove(filepath.Join(w.dir, "token.key"))
	if err := makeKey(filepath.Join(w.dir, "token.key")); err != nil {
		t.Fatal(err)
	}
	if err := w.a.Reload(); err != nil {
		t.Fatal(err)
	}
	// What was found right before is forgotten.
	w.want(w.get(nginx, basic("alice", "wonderland")), http.StatusUnauthorized, "is wrong")
	w.want(w.get(nginx, basic("bob", "builder")), http.StatusUnauthorized, "is wrong")
	w.want(w.get(nginx, basic("alice", "changed")), http.StatusOK, "user:alice")
	w.want(w.get(nginx, bearer(token)), http.StatusUnauthorized, "invalid_token")
}

func TestAuthorizationHeader(t *testing.T) {
	w := newWorld(t, func(o *Options) { withTokens(o); o.TrustedNetworks = prefixes("127.0.0.0/8") })
	encoded := base64.StdEncoding.EncodeToString
	right := "Basic " + encoded([]byte("alice:wonderland"))
	for _, v := range []string{right, strings.Replace(right, "Basic", "bAsIc", 1), strings.Replace(right, " ", "  ", 1)} {
		w.want(w.get(nginx, header("Authorization", v)), http.StatusOK, "user:alice")
	}
	for name, values := range map[string][]string{
		"twice":           {right, right},
		"two schemes":     {right, "Bearer x"},
		"with another":    {right, ""},
		"empty":           {""},
		"no scheme":       {strings.TrimPrefix(right, "Basic ")},
		"another scheme":  {"Digest username=alice"},
		"list":            {right + ", Bearer x"},
		"no padding":      {"Basic " + strings.TrimRight(encoded([]byte("alice:wonderlan")), "=")},
		"trailing bits":   {"Basic YWxpY2U6d29uZGVybGFuZH=="},
		"no colon":        {"Basic " + encoded([]byte("alice"))},
		"no user":         {"Basic " + encoded([]byte(":wonderland"))},
		"no password":     {"Basic " + encoded([]byte("alice:"))},
		"control in name": {"Basic " + encoded([]byte("alice\n:wonderland"))},
		"NUL after name":  {"Basic " + encoded([]byte("alice\x00:wonderland"))},
		"long":            {"Basic " + strings.Repeat("YWFh", maxAuthorization/4)},
		"bearer, nothing": {"Bearer "},
		"bearer, two":     {"Bearer a b"},
	} {
		if got := w.get(nginx, header("Authorization", values...)); got.status != http.StatusUnauthorized {
			t.Errorf("%s: %+v", name, got)
		}
	}
	if _, err := parseAuthorization([]string{right[:12] + "\n" + right[12:]}); err == nil {
		t.Error("a line break within base64 was read over")
	}
	if _, err := parseAuthorization([]string{"Bearer " + strings.Repeat("a", maxAuthorization)}); err == nil {
		t.Error("a header of any length was read")
	}
}

// A password is never cut: bcrypt would compare the first 72 bytes only.
func TestLongPassword(t *testing.T) {
	w := newWorld(t, withTokens)
	long := strings.Repeat("p", 72)
	w.write("htpasswd", hashed(t, "alice", long))
	if err := w.a.Reload(); err != nil {
		t.Fatal(err)
	}
	w.want(w.get(nginx, basic("alice", long)), http.StatusOK, "user:alice")
	w.want(w.get(nginx, basic("alice", long+"x")), http.StatusUnauthorized, "longer than 72 bytes")
	w.want(w.get("/token", basic("alice", long+"x")), http.StatusUnauthorized, "longer than 72 bytes")
	w.want(w.post("/token", map[string][]string{"grant_type": {"password"}, "username": {"alice"}, "password": {long + "x"}}), http.StatusUnauthorized, "longer than 72 bytes")
	if err := w.a.checkPassword(t.Context(), w.a.current().users, netip.Addr{}, "alice", long+"x"); !errors.Is(err, errWrong) {
		t.Errorf("%v", err)
	}
}

// Whether a user exists must not show in the time that a refusal takes.
func TestUnknownUserCostsTheSame(t *testing.T) {
	w := newWorld(t, nil)
	h, err := bcrypt.GenerateFromPassword([]byte("x"), 9)
	if err != nil {
		t.Fatal(err)
	}
	w.write("htpasswd", "alice:"+string(h)+"\n")
	if err := w.a.Reload(); err != nil {
		t.Fatal(err)
	}
	best := func(user string) time.Duration {
		least := time.Hour
		for range 3 {
			start := time.Now()
			if err := w.a.checkPassword(t.Context(), w.a.current().users, netip.Addr{}, user, "wrong"); !errors.Is(err, errWrong) {
				t.Fatal(err)
			}
			least = min(least, time.Since(start))
		}
		return least
	}
	if known, unknown := best("alice"), best("nobody"); unknown < known/10 || unknown > known*10 {
		t.Errorf("a known user takes %s, an unknown one %s", known, unknown)
	}
	// The password of the user whose hash stands in opens nothing.
	if err := w.a.checkPassword(t.Context(), w.a.current().users, netip.Addr{}, "nobody", "x"); !errors.Is(err, errWrong) {
		t.Errorf("an unknown user came in with the password of another: %v", err)
	}
}

func TestRightPasswordsAreRemembered(t *testing.T) {
	w := newWorld(t, nil)
	users := w.a.current().users
	check := func(user, password string) error {
		return w.a.checkPassword(t.Context(), users, netip.Addr{}, user, password)
	}
	if err := check("alice", "wonderland"); err != nil {
		t.Fatal(err)
	}
	w.a.patience = time.Millisecond
	for range cap(w.a.turns.slots) {
		w.a.turns.slots <- struct{}{} // nothing can be checked any more
	}
	if err := check("alice", "wonderland"); err != nil {
		t.Errorf("not remembered: %v", err)
	}
	for _, c := range [][2]string{{"alice", "wrong"}, {"bob", "wonderland"}, {"alic", "ewonderland"}, {"bob", "builder"}} {
		if err := check(c[0], c[1]); !errors.Is(err, errBusy) {
			t.Errorf("%v: %v", c, err)
		}
	}
	w.pass(rememberFor)
	if err := check("alice", "wonderland"); !errors.Is(err, errBusy) {
		t.Errorf("remembered for too long: %v", err)
	}
	for key := range users.verified {
		if strings.Contains(string(key[:]), "wonderland") {
			t.Error("the memory holds passwords")
		}
	}
	for i := range maxVerified + 10 {
		users.remember(users.keyed("x", strings.Repeat("y", i%70)+string(rune(i+1))), w.now())
	}
	if len(users.verified) > maxVerified {
		t.Errorf("%d are remembered", len(users.verified))
	}
}

// Wrong passwords cannot keep the machine busy: no more are checked at a time than
// there are processors, and whoever waits too long is told to come back.
func TestPasswordFlood(t *testing.T) {
	w := newWorld(t, withTokens)
	w.a.patience = 50 * time.Millisecond
	token := w.tokenFor("repository:docker.io/library/nginx:pull")
	if cap(w.a.turns.slots) != max(1, runtime.GOMAXPROCS(0)/2) {
		t.Errorf("%d slots", cap(w.a.turns.slots))
	}
	for range cap(w.a.turns.slots) {
		w.a.turns.slots <- struct{}{}
	}
	var wg sync.WaitGroup
	for range 20 {
		wg.Go(func() {
			w.want(w.get(nginx, basic("alice", "guess")), http.StatusServiceUnavailable, "try again")
			w.want(w.get("/token", basic("alice", "guess")), http.StatusServiceUnavailable, "try again")
		})
	}
	wg.Wait()
	if n := len(w.a.turns.waiting); n != 0 {
		t.Errorf("%d clients wait for ever", n)
	}
	r := &http.Request{RemoteAddr: "10.0.0.1:1", Header: http.Header{}}
	r.Header.Set("Proxy-Authorization", "Basic "+base64.StdEncoding.EncodeToString([]byte("bob:guess")))
	if _, err := w.a.IdentifyProxy(r); refusalOf(err).Status != http.StatusServiceUnavailable {
		t.Errorf("%v", err)
	}
	// Tokens and remembered passwords go on.
	w.want(w.get(nginx, bearer(token)), http.StatusOK, "user:alice")
	w.want(w.get(nginx, basic("alice", "wonderland")), http.StatusOK, "user:alice")
	// A client that goes away waits no longer.
	w.a.patience = time.Hour
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := w.a.checkPassword(ctx, w.a.current().users, netip.Addr{}, "bob", "builder"); !errors.Is(err, errBusy) {
		t.Errorf("%v", err)
	}
}

// Whoever floods the gate waits for itself: one address has few turns, and others
// come to theirs.
func TestOneClientDoesNotTakeAllTurns(t *testing.T) {
	w := newWorld(t, nil)
	users, flooder, other := w.a.current().users, netip.MustParseAddr("2001:db8::1"), netip.MustParseAddr("2001:db8:0:1::1")
	w.a.patience = 200 * time.Millisecond
	for range cap(w.a.turns.slots) {
		w.a.turns.slots <- struct{}{}
	}
	var wg sync.WaitGroup
	for i := range maxTurns {
		wg.Go(func() { _ = w.a.checkPassword(t.Context(), users, flooder, "bob", strings.Repeat("x", i+1)) })
	}
	for start := time.Now(); ; time.Sleep(time.Millisecond) {
		w.a.turns.mu.Lock()
		n := w.a.turns.waiting[block(flooder)]
		w.a.turns.mu.Unlock()
		if n == maxTurns || time.Since(start) > 5*time.Second {
			break
		}
	}
	w.a.patience = time.Hour // nobody comes to a turn, so only a refusal ends this one
	if err := w.a.checkPassword(t.Context(), users, netip.MustParseAddr("2001:db8::2"), "bob", "more"); !errors.Is(err, errBusy) {
		t.Errorf("a fifth of the same network: %v", err)
	}
	<-w.a.turns.slots
	if err := w.a.checkPassword(t.Context(), users, other, "bob", "builder"); err != nil {
		t.Errorf("another client: %v", err)
	}
	wg.Wait()
}

func TestTheGatesOwnSecretsAreKnown(t *testing.T) {
	w := newWorld(t, withTokens)
	token := w.tokenFor("repository:docker.io/library/nginx:pull")
	own := func(header string) bool {
		t.Helper()
		r := &http.Request{RemoteAddr: "10.0.0.1:1", Header: http.Header{"Authorization": {header}}}
		is, err := w.a.Own(r)
		if err != nil {
			t.Fatal(err)
		}
		return is
	}
	encoded := func(s string) string { return "Basic " + base64.StdEncoding.EncodeToString([]byte(s)) }
	for header, want := range map[string]bool{
		encoded("alice:wonderland"): true, encoded("alice:of-the-registry"): false, encoded("carol:wonderland"): false,
		"Bearer " + token: true, "Bearer of-the-registry": false, "Negotiate x": false,
	} {
		if own(header) != want {
			t.Errorf("%.20s…: expected %t", header, want)
		}
	}
	w.pass(2 * time.Hour)
	if !own("Bearer " + token) {
		t.Error("a token that has expired is still the gate's")
	}
	w.a.patience = time.Millisecond
	for range cap(w.a.turns.slots) {
		w.a.turns.slots <- struct{}{}
	}
	r := &http.Request{RemoteAddr: "10.0.0.1:1", Header: http.Header{"Authorization": {encoded("bob:guess")}}}
	if _, err := w.a.Own(r); refusalOf(err).Status != http.StatusServiceUnavailable {
		t.Errorf("what cannot be told is not passed on: %v", err)
	}
}

func TestNoSecretsInLogsAndAnswers(t *testing.T) {
	w := newWorld(t, withTokens)
	secret := "s3cr3t-0f-bob"
	var seen strings.Builder
	for _, got := range []answer{
		w.get(nginx, basic("alice", secret)), w.get("/token", basic("alice", secret)), w.get(nginx, bearer(secret)), w.get(nginx, header("Authorization", "Basic "+secret)),
		w.get(nginx, header("Authorization", secret)), w.get("/token?service="+secret, basic("alice", "wonderland")), w.get("/token", header("Authorization", "Negotiate "+secret)),
		w.post("/token", map[string][]string{"grant_type": {"password"}, "username": {secret}, "password": {secret}}),
		w.post("/token", map[string][]string{"grant_type": {"refresh_token"}, "refresh_token": {secret}}),
		w.post("/token", map[string][]string{"grant_type": {secret}, "password": {secret, secret}}),
		w.post("/token?password="+secret, nil),
	} {
		if got.status < 400 {
			t.Errorf("%+v", got)
		}
		seen.WriteString(got.body + got.challenge)
	}
	seen.WriteString(w.logs.String())
	if strings.Contains(seen.String(), secret) || !strings.Contains(seen.String(), "token refused") {
		t.Errorf("seen: %s", seen.String())
	}
}
