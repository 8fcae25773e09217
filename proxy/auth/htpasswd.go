package auth

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"regexp"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/crypto/bcrypt"
)

// Bounds of a password file.
const (
	maxHtpasswd = 1 << 20
	maxUsers    = 10_000
	minCost     = bcrypt.MinCost // 4
	maxCost     = 16             // some seconds for one password
)

// bcryptHash is what htpasswd -B writes: version, cost, salt and hash.
var bcryptHash = regexp.MustCompile(`^\$2[aby]\$([0-9]{2})\$[./A-Za-z0-9]{53}$`)

// loadPasswords reads an htpasswd file and warns when everybody can.
func loadPasswords(file string, log *slog.Logger) (*passwords, error) {
	text, mode, err := readRegular(file, maxHtpasswd)
	if err != nil {
		return nil, fmt.Errorf("htpasswd file: %w", err)
	}
	hashes, err := parseHtpasswd(file, string(text))
	if err != nil {
		return nil, err
	}
	if mode.Perm()&0o007 != 0 {
		log.Warn("the htpasswd file is open to every user of this machine: chmod o= closes it", "file", file, "mode", mode.Perm().String())
	}
	return newPasswords(hashes), nil
}

// parseHtpasswd reads lines user:bcrypt. Empty lines and those that begin with #
// are skipped. Errors name file and line and never what the line holds after the
// user name.
func parseHtpasswd(file, text string) (map[string]string, error) {
	hashes, lines := map[string]string{}, map[string]int{}
	n := 0
	for line := range strings.SplitSeq(strings.TrimSuffix(text, "\n"), "\n") {
		n++
		line = strings.TrimSuffix(line, "\r")
		if n > maxUsers {
			return nil, fmt.Errorf("%s: more than %d lines", file, maxUsers)
		}
		if strings.TrimSpace(line) == "" || strings.HasPrefix(line, "#") {
			continue
		}
		user, hash, ok := strings.Cut(line, ":")
		switch {
		case !ok:
			return nil, fmt.Errorf("%s:%d: expected user:hash; htpasswd -B %s USER writes such a line", file, n, file)
		case !validUser(user):
			return nil, fmt.Errorf("%s:%d: not a user name: expected up to %d bytes of UTF-8 without control characters", file, n, maxUser)
		case lines[user] > 0:
			return nil, fmt.Errorf("%s:%d: user %q is in line %d already: expected each user once", file, n, user, lines[user])
		}
		if err := checkHash(hash); err != nil {
			return nil, fmt.Errorf("%s:%d: user %q: %w; htpasswd -B %s USER writes a line that passes", file, n, user, err, file)
		}
		hashes[user], lines[user] = hash, n
	}
	if len(hashes) == 0 {
		return nil, fmt.Errorf("%s: holds no users; htpasswd -B %s USER adds one", file, file)
	}
	return hashes, nil
}

func checkHash(hash string) error {
	m := bcryptHash.FindStringSubmatch(hash)
	if m == nil {
		return errors.New("expected a bcrypt hash ($2y$, $2b$ or $2a$), found another kind")
	}
	if cost, err := strconv.Atoi(m[1]); err != nil || cost < minCost || cost > maxCost {
		return fmt.Errorf("expected a bcrypt cost of %d to %d, found %s", minCost, maxCost, m[1])
	}
	return nil
}

// readRegular reads a regular file of at most limit bytes, through symbolic links.
// It does not wait for a writer of a pipe.
func readRegular(file string, limit int64) ([]byte, os.FileMode, error) {
	f, err := os.OpenFile(file, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, 0, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, 0, err
	}
	if !info.Mode().IsRegular() {
		return nil, 0, fmt.Errorf("%s: expected a regular file, found %s", file, info.Mode().Type())
	}
	b, err := io.ReadAll(io.LimitReader(f, limit+1))
	if err != nil {
		return nil, 0, err
	}
	if int64(len(b)) > limit {
		return nil, 0, fmt.Errorf("%s: larger than %d bytes", file, limit)
	}
	return b, info.Mode(), nil
}
