package verify

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
)

// typeAllOf is no requirement: it is an alternative of anyOf.
const typeAllOf = "allOf"

// requirementTypes are those that may stand in a list.
var requirementTypes = []string{typeAccept, typeReject, typeSignedBy, typeBaseLayer, typeSigstore, typeBundle, typeNotation, typeAttested, typeAnyOf}

// typeOf is the "type" of an object of policy.json; empty when it has none.
func typeOf(raw json.RawMessage) string {
	var t struct {
		Type string `json:"type"`
	}
	if json.Unmarshal(raw, &t) != nil {
		return ""
	}
	return t.Type
}

// typeProblem says why no requirement is of raw's type, and what was probably meant.
// Both texts are empty for types that there are, and for what has no type: reading it
// says what is wrong.
func typeProblem(raw json.RawMessage) (problem, fix string) {
	t := typeOf(raw)
	switch {
	case t == "" || slices.Contains(requirementTypes, t):
		return "", ""
	case t == typeAllOf:
		return `"allOf" is no requirement: it stands only as an alternative in "of" of anyOf, not within a list`,
			"write its requirements into the list themselves, all of a list must be met; see docs/policy.md, anyOf"
	}
	problem = fmt.Sprintf("unknown requirement type %q", clean(t))
	if near := nearest(t, requirementTypes); near != "" {
		problem += fmt.Sprintf("; did you mean %q?", near)
	}
	return problem, "write one of " + strings.Join(requirementTypes, ", ") + "; docs/policy.md describes them"
}

// nearest is the known word with the fewest letters to change, whatever their case;
// empty when they are many.
func nearest(word string, known []string) string {
	word = strings.ToLower(word[:min(len(word), 64)]) // no type is as long; bounds the work
	best, least := "", 0
	for _, k := range known {
		if d := editDistance(word, strings.ToLower(k)); best == "" || d < least {
			best, least = k, d
		}
	}
	if least > max(1, len(best)/4) {
		return ""
	}
	return best
}

// editDistance is the Levenshtein distance in bytes.
func editDistance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := diagonal
			if a[i] != b[j] {
				cost = 1 + min(diagonal, row[j], row[j+1])
			}
			diagonal, row[j+1] = row[j+1], cost
		}
	}
	return row[len(b)]
}
