package auth

import (
	"crypto/ecdsa"
	"crypto/hmac"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/golang-jwt/jwt/v5"
)

// Tokens are JWTs (RFC 7519) in the form that Docker's token authentication
// describes, signed with ES256. No other algorithm is read.
const (
	issuer      = "pullgate"
	defaultTTL  = 5 * time.Minute
	minTTL      = time.Minute
	maxTTL      = time.Hour
	refreshLife = 30 * 24 * time.Hour
	clockSkew   = 30 * time.Second // between gates that share a key: tokens hold from that much earlier
)

// use keeps kinds of tokens apart: one is never taken for the other.
type use string

const (
	useAccess  use = "access"
	useRefresh use = "refresh"
)

// claims of a token.
type claims struct {
	jwt.RegisteredClaims
	Use    use      `json:"typ"`
	Kind   Kind     `json:"kind"`
	Bind   string   `json:"bind,omitempty"` // to the user's present password
	Access []access `json:"access,omitempty"`
}

// access is one repository by its canonical name, as in Docker's tokens.
type access struct {
	Type    string   `json:"type"`
	Name    string   `json:"name"`
	Actions []string `json:"actions"`
}

// repositories returns what a token lets pull.
func (c *claims) repositories() []string {
	var names []string
	for _, a := range c.Access {
		if a.Type == "repository" && slices.Equal(a.Actions, []string{"pull"}) {
			names = append(names, a.Name)
		}
	}
	return names
}

// signer makes and reads tokens of one service with one key.
type signer struct {
	key     *ecdsa.PrivateKey
	bindKey []byte
	service string
	now     func() time.Time
}

func loadSigner(file, service string, now func() time.Time) (*signer, error) {
	key, err := loadKey(file)
	if err != nil {
		return nil, err
	}
	return newSigner(key, service, now)
}

func newSigner(key *ecdsa.PrivateKey, service string, now func() time.Time) (*signer, error) {
	// Gates that share the key bind tokens alike.
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, fmt.Errorf("token key: %w", err)
	}
	mac := hmac.New(sha256.New, der)
	mac.Write([]byte("pullgate: binding of tokens to passwords"))
	return &signer{key: key, bindKey: mac.Sum(nil), service: service, now: now}, nil
}

// bind returns what ties a token to the htpasswd entry of a user: it changes with
// the password, and tells nothing about it.
func (s *signer) bind(user, hash string) string {
	mac := hmac.New(sha256.New, s.bindKey)
	fmt.Fprintf(mac, "%d:%s:%s", len(user), user, hash)
	return base64.RawURLEncoding.EncodeToString(mac.Sum(nil))
}

// issue signs a token that holds for life.
func (s *signer) issue(c claims, issued time.Time, life time.Duration) (string, error) {
	c.Issuer, c.Audience = issuer, jwt.ClaimStrings{s.service}
	c.IssuedAt, c.NotBefore, c.ExpiresAt = jwt.NewNumericDate(issued), jwt.NewNumericDate(issued.Add(-clockSkew)), jwt.NewNumericDate(issued.Add(life))
	return jwt.NewWithClaims(jwt.SigningMethodES256, &c).SignedString(s.key)
}

// errToken is about tokens that are not ours or no longer good. What is wrong with
// them in particular helps only those who make them up.
var (
	errToken   = errors.New("the token is not one of this gate, or no longer good")
	errExpired = errors.New("the token has expired")
)

// read verifies a token and returns its claims. Whether they still hold, the caller
// decides.
func (s *signer) read(token string, want use) (*claims, error) {
	var c claims
	_, err := jwt.ParseWithClaims(token, &c, func(*jwt.Token) (any, error) { return &s.key.PublicKey, nil },
		jwt.WithValidMethods([]string{jwt.SigningMethodES256.Alg()}), jwt.WithIssuer(issuer), jwt.WithAudience(s.service),
		jwt.WithExpirationRequired(), jwt.WithNotBeforeRequired(), jwt.WithStrictDecoding(), jwt.WithTimeFunc(s.now))
	switch {
	case errors.Is(err, jwt.ErrTokenExpired):
		return nil, errExpired
	case err != nil, len(c.Audience) != 1, c.Use != want:
		return nil, errToken
	}
	return &c, nil
}

// holds tells whether the user that a token names still has the password that it
// was issued for.
func (s *state) holds(c *claims) bool {
	if s.users == nil || s.key == nil || c.Kind != User {
		return false
	}
	hash, ok := s.users.hashes[c.Subject]
	return ok && hmac.Equal([]byte(s.key.bind(c.Subject, hash)), []byte(c.Bind))
}
