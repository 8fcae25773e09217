package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"strings"
)

// maxLine bounds what is kept of a line that does not end.
const maxLine = 1 << 20

// decisionPrinter turns the gate's audit records, one JSON object a line, into
// lines for people. What is no record is passed on as it is.
type decisionPrinter struct {
	out  io.Writer
	rest []byte // a line whose end has not come yet
}

// Write never fails: a demonstration whose terminal is gone must not stop the
// gate's audit.
func (d *decisionPrinter) Write(b []byte) (int, error) {
	d.rest = append(d.rest, b...)
	for {
		line, rest, found := bytes.Cut(d.rest, []byte("\n"))
		if !found {
			break
		}
		_, _ = fmt.Fprintln(d.out, describeDecision(line))
		d.rest = rest
	}
	if len(d.rest) > maxLine {
		d.rest = nil
	}
	return len(b), nil
}

// describeDecision is one record in short: decision, image, why.
func describeDecision(line []byte) string {
	var r struct {
		Decision, Method, Repository, Reference string
		Reasons, Signers                        []string
		Status                                  int
	}
	if err := json.Unmarshal(line, &r); err != nil || r.Decision == "" {
		return string(line)
	}
	sep := ":"
	if strings.Contains(r.Reference, ":") {
		sep = "@"
	}
	s := fmt.Sprintf("%-8s %d %s %s%s%s", strings.ToUpper(r.Decision), r.Status, r.Method, r.Repository, sep, r.Reference)
	if why := append(r.Reasons, r.Signers...); len(why) > 0 {
		s += ": " + strings.Join(why, "; ")
	}
	return s
}
