package auth

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"strings"

	"github.com/golang-jwt/jwt/v5"
)

// Shown says, for a record, what an Authorization header that is meant for a
// registry says of its client: basic:alice; bearer:alice, the subject of a JWT; else
// bearer:sha256: and 16 hexadecimal digits of the token's hash, by which its requests
// belong together. It is "" for no header, and the scheme alone, or other, for what
// cannot be told.
//
// This is what the client says. It is true as far as the registry checked it, and
// nothing is to be decided by it. No password and no part of a token is in it.
func Shown(header string) string {
	if header == "" {
		return ""
	}
	scheme, rest, _ := strings.Cut(header, " ")
	rest = strings.TrimLeft(rest, " ")
	switch strings.ToLower(scheme) {
	case "basic":
		return "basic" + shownUser(rest)
	case "bearer":
		return "bearer" + shownToken(rest)
	}
	return "other"
}

// shownUser is the user name with a colon before it. One without a password may be a
// secret itself, and so may one beside a password that is none: some registries take a
// token in place of both, or in place of the name.
func shownUser(encoded string) string {
	raw, err := base64.StdEncoding.DecodeString(encoded)
	user, password, ok := strings.Cut(string(raw), ":")
	none := password == "" || password == user || password == "x-oauth-basic"
	if err != nil || !ok || none || !validUser(user) {
		return ""
	}
	return ":" + plain(user)
}

// shownToken is the token's subject, else its hash, with a colon before it.
func shownToken(token string) string {
	if token == "" || len(token) > maxAuthorization {
		return ""
	}
	var c jwt.RegisteredClaims
	if _, _, err := jwt.NewParser().ParseUnverified(token, &c); err == nil && validUser(c.Subject) {
		return ":" + plain(c.Subject)
	}
	sum := sha256.Sum256([]byte(token))
	return ":sha256:" + hex.EncodeToString(sum[:8])
}
