package docs_test

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"unicode"
)

var (
	link    = regexp.MustCompile(`\]\(([^)\s]+)\)`)
	heading = regexp.MustCompile(`(?m)^#{1,6} +(.+?) *$`)
	inLink  = regexp.MustCompile(`\[([^\]]*)\]\([^)]*\)`)
)

// Every relative link leads to a file of this project, and to a heading that the
// page has.
func TestLinksResolve(t *testing.T) {
	for _, page := range pages(t) {
		for _, m := range link.FindAllStringSubmatch(withoutCode(read(t, page)), -1) {
			if problem := broken(t, page, m[1]); problem != "" {
				t.Errorf("%s: link to %s: %s", page, m[1], problem)
			}
		}
	}
}

func broken(t *testing.T, page, target string) string {
	t.Helper()
	if strings.Contains(target, "://") || strings.HasPrefix(target, "mailto:") {
		return ""
	}
	path, anchor, _ := strings.Cut(target, "#")
	file := page
	if path != "" {
		file = filepath.Join(filepath.Dir(page), path)
	}
	if outside, err := filepath.Rel("..", file); err != nil || strings.HasPrefix(outside, "..") {
		return "leads out of the project"
	}
	if _, err := os.Stat(file); err != nil {
		return err.Error()
	}
	if anchor == "" {
		return ""
	}
	for _, m := range heading.FindAllStringSubmatch(withoutCode(read(t, file)), -1) {
		if anchorOf(m[1]) == anchor {
			return ""
		}
	}
	return "no such heading"
}

// withoutCode leaves out fenced blocks, which hold neither links nor headings.
func withoutCode(page string) string { return fence.ReplaceAllString(page, "") }

// anchorOf is the name that Markdown viewers give to a heading: its text in lower
// case, with - for spaces and without punctuation.
func anchorOf(text string) string {
	text = inLink.ReplaceAllString(text, "$1")
	return strings.Map(func(r rune) rune {
		switch {
		case r == ' ':
			return '-'
		case r == '-' || r == '_' || unicode.IsLetter(r) || unicode.IsDigit(r):
			return unicode.ToLower(r)
		}
		return -1
	}, text)
}

// No page names a page of docs/ that is not there, and each page is reachable
// from the README.
func TestEveryPageIsReachable(t *testing.T) {
	seen := map[string]bool{}
	queue := []string{"../README.md"}
	for len(queue) > 0 {
		page := queue[0]
		queue = queue[1:]
		if seen[page] || !strings.HasSuffix(page, ".md") {
			continue
		}
		seen[page] = true
		for _, m := range link.FindAllStringSubmatch(withoutCode(read(t, page)), -1) {
			if path, _, _ := strings.Cut(m[1], "#"); path != "" && !strings.Contains(path, "://") {
				queue = append(queue, filepath.Join(filepath.Dir(page), path))
			}
		}
	}
	for _, page := range pages(t) {
		if !seen[page] {
			t.Errorf("%s: no page leads there", page)
		}
	}
}
