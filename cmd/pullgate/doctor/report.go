package doctor

import (
	"cmp"
	"slices"
)

// Severity of a finding, worst first: SeverityOpen is a way around the gate.
const (
	SeverityOpen    = "open"
	SeverityWarning = "warning"
	SeverityInfo    = "info"
)

// Result of a client.
const (
	// ResultOpen: an image that the gate refuses arrives, or the client asked
	// somebody else after the gate's refusal.
	ResultOpen = "open"
	// ResultOpenByConfiguration: what is configured lets the client step around the
	// gate, whatever came of the canary.
	ResultOpenByConfiguration = "open-by-configuration"
	// ResultNotProven: nothing open was found, and it was not shown that the gate's
	// refusal is the last word.
	ResultNotProven = "not-proven"
	// ResultClosedProven: nothing open was found, and the gate's refusal of the
	// canary was the last word under every registry.
	ResultClosedProven = "closed-proven"
	// ResultNotFound: there is no such client here.
	ResultNotFound = "not-found"
)

// Verdict of one pull of the canary.
const (
	VerdictArrived   = "arrived"    // the image that the gate always refuses was pulled
	VerdictFellBack  = "fell-back"  // refused by the gate, then asked for elsewhere
	VerdictRefused   = "refused"    // the gate's refusal was the last word
	VerdictBlocked   = "blocked"    // the client's own configuration blocks the registry
	VerdictElsewhere = "elsewhere"  // the last word was not the gate's
	VerdictNotRun    = "not-run"    // the client could not be run, or not in time
	VerdictNotAsked  = "not-a-gate" // of a check of the gate: it answers, and does not refuse the canary
)

// Exit statuses of the command.
const (
	ExitClosed    = 0
	ExitOpen      = 1
	ExitNotProven = 2
)

// Finding is one thing about a client's configuration. It never holds credentials.
type Finding struct {
	Client      string `json:"client"`
	Severity    string `json:"severity"`
	File        string `json:"file,omitempty"` // path on the node
	Line        int    `json:"line,omitempty"` // from 1
	Problem     string `json:"problem"`
	Consequence string `json:"consequence"`
	Fix         string `json:"fix"`

	// registry that it is about, "" for all.
	registry string
	// settled: a refusal by the gate of the canary under registry shows that the
	// finding does not hold, because something that no file says (name resolution,
	// the network, a newer client's default) leads to the gate.
	settled bool
	// proven is the consequence that is left of a settled finding, when it is not the
	// usual one.
	proven string
	// unsure: something could not be read, and so nothing that the proof shows is
	// known to stay true.
	unsure bool
}

// Proof is one pull of the canary by a client.
type Proof struct {
	Reference string `json:"reference"`
	Registry  string `json:"registry"`
	Command   string `json:"command"`
	Exit      int    `json:"exit"` // -1: not run, or not ended by itself
	Output    string `json:"output"`
	Verdict   string `json:"verdict"`
	Reason    string `json:"reason"`
}

// Client is what was found out about one client.
type Client struct {
	Client   string    `json:"client"`
	Version  string    `json:"version,omitempty"`
	Store    string    `json:"store,omitempty"` // docker: graph, containerd or unknown
	Result   string    `json:"result"`
	Findings []Finding `json:"findings"`
	Proofs   []Proof   `json:"proofs"`
}

// GateCheck is one request for the canary to the gate itself.
type GateCheck struct {
	URL     string `json:"url"`
	Via     string `json:"via,omitempty"` // the proxy that was asked
	Status  int    `json:"status,omitempty"`
	Verdict string `json:"verdict"` // refused, not-a-gate, not-run
	Detail  string `json:"detail,omitempty"`
}

// Gate is what was found out about the gate.
type Gate struct {
	URLs    []string    `json:"urls"`
	Proxy   string      `json:"proxy,omitempty"`
	Refuses bool        `json:"refuses"` // every check ended with the refusal of the canary
	Checks  []GateCheck `json:"checks"`
	Finding *Finding    `json:"finding,omitempty"`
}

// Summary counts clients by result.
type Summary struct {
	Exit                int    `json:"exit"`
	Message             string `json:"message"`
	Open                int    `json:"open"`
	OpenByConfiguration int    `json:"openByConfiguration"`
	NotProven           int    `json:"notProven"`
	ClosedProven        int    `json:"closedProven"`
	NotFound            int    `json:"notFound"`
}

// Report is what the doctor says about a node.
type Report struct {
	Gate    Gate     `json:"gate"`
	Clients []Client `json:"clients"`
	Summary Summary  `json:"summary"`
}

// conclude decides a client's result from its findings and proofs. Without a proof
// under every registry, nothing is closed.
func conclude(c *Client, registries []string) {
	for i := range c.Findings {
		settle(&c.Findings[i], c.Proofs, registries)
	}
	sortFindings(c.Findings)
	has := func(f func(Finding) bool) bool { return slices.ContainsFunc(c.Findings, f) }
	bad := func(p Proof) bool { return p.Verdict == VerdictArrived || p.Verdict == VerdictFellBack }
	switch {
	case slices.ContainsFunc(c.Proofs, bad):
		c.Result = ResultOpen
	case has(func(f Finding) bool { return f.Severity == SeverityOpen }):
		c.Result = ResultOpenByConfiguration
	case has(func(f Finding) bool { return f.unsure }) || !refusedUnder(c.Proofs, registries):
		c.Result = ResultNotProven
	default:
		c.Result = ResultClosedProven
	}
}

// settle turns a finding that the proof has shown not to hold into a warning.
func settle(f *Finding, proofs []Proof, registries []string) {
	about := registries
	if f.registry != "" {
		about = []string{f.registry}
	}
	if f.Severity != SeverityOpen || !f.settled || !refusedUnder(proofs, about) {
		return
	}
	f.Severity = SeverityWarning
	f.Consequence = "the gate refused the canary all the same, and no file that was read says why: " +
		"this holds as long as the network, name resolution or the client's defaults stay as they are"
	if f.proven != "" {
		f.Consequence = f.proven
	}
}

// refusedUnder reports whether the canary was refused under each of the registries,
// of which there is at least one.
func refusedUnder(proofs []Proof, registries []string) bool {
	for _, r := range registries {
		if !slices.ContainsFunc(proofs, func(p Proof) bool {
			return p.Registry == r && (p.Verdict == VerdictRefused || p.Verdict == VerdictBlocked)
		}) {
			return false
		}
	}
	return len(registries) > 0
}

func rank(severity string) int {
	return slices.Index([]string{SeverityOpen, SeverityWarning, SeverityInfo}, severity)
}

func sortFindings(fs []Finding) {
	slices.SortStableFunc(fs, func(a, b Finding) int {
		return cmp.Or(cmp.Compare(rank(a.Severity), rank(b.Severity)), cmp.Compare(a.File, b.File), cmp.Compare(a.Line, b.Line))
	})
}

// results in the order in which they are told.
var results = []string{ResultOpen, ResultOpenByConfiguration, ResultNotProven, ResultClosedProven, ResultNotFound}

// summarize counts, sorts the clients worst first and decides the exit status.
func (r *Report) summarize() {
	slices.SortStableFunc(r.Clients, func(a, b Client) int {
		return cmp.Compare(slices.Index(results, a.Result), slices.Index(results, b.Result))
	})
	count := map[string]int{}
	for _, c := range r.Clients {
		count[c.Result]++
	}
	r.Summary = Summary{
		Open: count[ResultOpen], OpenByConfiguration: count[ResultOpenByConfiguration],
		NotProven: count[ResultNotProven], ClosedProven: count[ResultClosedProven], NotFound: count[ResultNotFound],
	}
	s := &r.Summary
	switch {
	case s.Open+s.OpenByConfiguration > 0:
		s.Exit, s.Message = ExitOpen, "open: a refused image can reach this node around the gate"
	case !r.Gate.Refuses:
		s.Exit, s.Message = ExitNotProven, "not proven: the gate did not refuse the canary when it was asked itself"
	case s.ClosedProven == 0 && s.NotProven == 0:
		s.Exit, s.Message = ExitNotProven, "not proven: no client was found"
	case s.NotProven > 0:
		s.Exit, s.Message = ExitNotProven, "not proven: nothing open was found, and not every client showed that the gate has the last word"
	case s.ClosedProven == len(r.Clients)-s.NotFound:
		s.Exit, s.Message = ExitClosed, "closed: every client that was found is held by the gate, and proved it"
	default:
		s.Exit, s.Message = ExitNotProven, "not proven"
	}
}
