package proxy

import (
	"fmt"
	"net/http"
	"strings"

	"github.com/pullgate/pullgate/proxy/audit"
)

// The canary is an image that no gate hands out, under any registry: a node that
// gets it does not ask the gate. Nothing is fetched for it and no policy allows it.
const (
	canaryRegistry = "pullgate.invalid" // RFC 2606: never a real registry
	canaryPath     = "canary/unsigned"
	canaryName     = canaryRegistry + "/" + canaryPath
)

// isCanary tells whether a name, as it stands in the path of a request that means
// the given registry ("" when the name says it), is the canary's.
func isCanary(registry, name string) bool {
	return name == canaryName || strings.HasSuffix(name, "/"+canaryName) ||
		name == canaryPath && bareHost(registry) == canaryRegistry
}

// canaryRegistryOf is the registry that the canary is asked for in: what the way in
// says, else the first element of the name, else the default.
func (n Names) canaryRegistryOf(place, name string) string {
	if place != "" {
		return place
	}
	first, _, _ := strings.Cut(name, "/")
	switch {
	case name == canaryName:
		return n.Default
	case n.byElement(first) != "":
		return n.byElement(first)
	}
	return first
}

// refuseCanary answers for the canary and notes it for the record, apart from
// pulls of images.
func (x *exchange) refuseCanary(registry string) error {
	x.record.Kind = audit.KindCanary
	x.record.Registry = registry
	x.record.Repository = x.target.name
	if x.place == "" {
		x.record.Repository = canaryName // what is before it is the registry
	}
	x.record.Reference = x.what
	return errCanary(x.record.Reference)
}

func errCanary(ref string) *apiError {
	text := fmt.Sprintf("pullgate canary %s: this image is always refused, so that a node can show that it asks the gate", shorten(ref))
	return &apiError{status: http.StatusForbidden, code: codeDenied, message: text, decision: decisionDenied, reasons: []string{text}}
}
