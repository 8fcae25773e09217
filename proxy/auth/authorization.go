package auth

import (
	"encoding/base64"
	"errors"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Bounds of what an Authorization header may hold.
const (
	maxAuthorization = 16 << 10
	maxUser          = 255 // htpasswd(1)
	maxPassword      = 72  // bcrypt reads no more: a longer one would match by its beginning
)

// credentials are those of one Authorization or Proxy-Authorization header.
type credentials struct {
	bearer         string // token, of the scheme Bearer
	user, password string // of the scheme Basic
}

// parseAuthorization reads the values of the header: exactly one, of the scheme
// Basic (RFC 7617) or Bearer (RFC 6750). Errors do not repeat what they are about.
func parseAuthorization(values []string) (credentials, error) {
	if len(values) != 1 {
		return credentials{}, errors.New("several sets of credentials in one request: expected one")
	}
	if len(values[0]) > maxAuthorization {
		return credentials{}, errors.New("credentials longer than 16 KiB")
	}
	scheme, rest, _ := strings.Cut(values[0], " ")
	rest = strings.TrimLeft(rest, " ")
	switch strings.ToLower(scheme) {
	case "basic":
		return parseBasic(rest)
	case "bearer":
		if rest == "" || strings.ContainsFunc(rest, func(r rune) bool { return r <= ' ' || r > '~' || r == ',' || r == '"' }) {
			return credentials{}, errors.New("a Bearer header without a token in the usual form")
		}
		return credentials{bearer: rest}, nil
	}
	return credentials{}, errors.New("credentials of an unknown kind: expected Basic or Bearer")
}

func parseBasic(encoded string) (credentials, error) {
	raw, err := base64.StdEncoding.Strict().DecodeString(encoded)
	if err != nil || strings.ContainsAny(encoded, "\r\n") { // which the decoder skips
		return credentials{}, errors.New("a Basic header that is not base64")
	}
	user, password, ok := strings.Cut(string(raw), ":")
	if !ok {
		return credentials{}, errors.New("a Basic header without a colon between user name and password")
	}
	if err := checkCredentials(user, password); err != nil {
		return credentials{}, err
	}
	return credentials{user: user, password: password}, nil
}

// checkCredentials refuses names and passwords that no user of an htpasswd file can
// have. An over-long password is refused whole.
func checkCredentials(user, password string) error {
	switch {
	case !validUser(user):
		return errors.New("not a user name: expected up to 255 bytes of text without control characters and colons")
	case password == "":
		return errors.New("no password")
	case len(password) > maxPassword:
		return errors.New("a password longer than 72 bytes, the most that bcrypt can check")
	}
	return nil
}

func validUser(user string) bool {
	return user != "" && len(user) <= maxUser && utf8.ValidString(user) &&
		!strings.Contains(user, ":") && !strings.ContainsFunc(user, unicode.IsControl)
}
