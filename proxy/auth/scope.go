package auth

import (
	"errors"
	"fmt"
	"slices"
	"strings"
)

// Bounds of what a client may ask for at once.
const (
	maxScopes = 16
	maxScope  = 512 // bytes of one
)

// tokenScope is type:name:action,…, the scope grammar of Docker's token
// authentication. The name may hold a colon itself (a registry's port).
type tokenScope struct {
	kind, name string
	pull       bool // of the actions, the only one that is ever granted
}

// parseScopes reads the scope parameters of a request; each may hold several,
// separated by spaces.
func parseScopes(params []string) ([]tokenScope, error) {
	var scopes []tokenScope
	for _, param := range params {
		for text := range strings.SplitSeq(param, " ") {
			if text == "" {
				continue
			}
			if len(scopes) == maxScopes {
				return nil, fmt.Errorf("more than %d scopes in one request", maxScopes)
			}
			s, err := parseTokenScope(text)
			if err != nil {
				return nil, err
			}
			scopes = append(scopes, s)
		}
	}
	return scopes, nil
}

func parseTokenScope(text string) (tokenScope, error) {
	first, last := strings.IndexByte(text, ':'), strings.LastIndexByte(text, ':')
	if len(text) > maxScope || first <= 0 || last <= first+1 {
		return tokenScope{}, errors.New("scope: expected type:name:actions, as in repository:library/nginx:pull")
	}
	actions := strings.Split(text[last+1:], ",")
	return tokenScope{kind: text[:first], name: text[first+1 : last], pull: slices.Contains(actions, "pull")}, nil
}
