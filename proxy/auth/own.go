package auth

import (
	"errors"
	"net/http"

	"github.com/golang-jwt/jwt/v5"
)

// Own tells whether the Authorization header of a request holds a password of this
// gate's users or a token of this gate's: such a secret is for the gate alone and
// must not be passed on to a registry. An error is a *Refusal: it could not be told.
func (a *Authority) Own(r *http.Request) (bool, error) {
	header := r.Header.Values("Authorization")
	if a == nil || len(header) == 0 || !a.takesCredentials() {
		return false, nil
	}
	c, err := parseAuthorization(header)
	if err != nil {
		return false, nil // it means nothing to the gate; whether a registry wants it is checked where it is sent
	}
	s := a.current()
	if c.bearer != "" {
		return s.key != nil && s.key.issued(c.bearer), nil
	}
	if s.users == nil {
		return false, nil
	}
	switch err := a.checkPassword(r.Context(), s.users, a.Client(r), c.user, c.password); {
	case errors.Is(err, errBusy):
		return false, busy()
	case err != nil:
		return false, nil
	}
	return true, nil
}

// issued tells whether a token was signed with this gate's key, of whatever kind and
// however old it is.
func (s *signer) issued(token string) bool {
	var c claims
	_, err := jwt.ParseWithClaims(token, &c, func(*jwt.Token) (any, error) { return &s.key.PublicKey, nil },
		jwt.WithValidMethods([]string{jwt.SigningMethodES256.Alg()}), jwt.WithoutClaimsValidation())
	return err == nil
}
