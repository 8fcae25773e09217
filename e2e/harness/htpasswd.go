package harness

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/crypto/bcrypt"
)

// Htpasswd is a password file, as htpasswd -B writes it.
type Htpasswd struct {
	Path string

	hashes map[string]string
}

// NewHtpasswd writes a file of users and passwords.
func NewHtpasswd(t testing.TB, users map[string]string) *Htpasswd {
	t.Helper()
	h := &Htpasswd{Path: filepath.Join(t.TempDir(), "htpasswd"), hashes: map[string]string{}}
	for user, password := range users {
		h.hashes[user] = bcrypted(t, password)
	}
	h.write(t)
	return h
}

// Set gives a user another password.
func (h *Htpasswd) Set(t testing.TB, user, password string) {
	t.Helper()
	h.hashes[user] = bcrypted(t, password)
	h.write(t)
}

// Remove takes a user out.
func (h *Htpasswd) Remove(t testing.TB, user string) {
	t.Helper()
	delete(h.hashes, user)
	h.write(t)
}

// Break adds a line that nobody can have written with htpasswd -B; Set and Remove
// write the file without it.
func (h *Htpasswd) Break(t testing.TB) {
	t.Helper()
	Replace(t, h.Path, append(readFile(t, h.Path), "mallory:{SHA}2jmj7l5rSw0yVb/vlWAYkK/YBwk=\n"...))
}

func (h *Htpasswd) write(t testing.TB) {
	t.Helper()
	var b strings.Builder
	for _, user := range slices.Sorted(maps.Keys(h.hashes)) {
		fmt.Fprintf(&b, "%s:%s\n", user, h.hashes[user])
	}
	Replace(t, h.Path, []byte(b.String()))
}

// Replace puts a file in the place of another by rename, as editors and
// certificate managers do: a reader sees the old or the new one, never a part.
func Replace(t testing.TB, path string, content []byte) {
	t.Helper()
	writeFile(t, path+".new", content)
	if err := os.Rename(path+".new", path); err != nil {
		t.Fatal(err)
	}
}

func bcrypted(t testing.TB, password string) string {
	t.Helper()
	hash, err := bcrypt.GenerateFromPassword([]byte(password), bcrypt.MinCost)
	if err != nil {
		t.Fatal(err)
	}
	return string(hash)
}
