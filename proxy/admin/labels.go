package admin

import (
	"net/http"
	"slices"
	"strconv"
	"sync/atomic"

	"github.com/prometheus/client_golang/prometheus"
)

// other is the value of a label that is none of the known ones.
const other = "other"

// label is a closed set of values; other is one of them.
type label struct {
	values []string
	index  map[string]int
}

func newLabel(values ...string) label {
	l := label{index: map[string]int{}}
	for _, v := range append(slices.Clone(values), other) {
		if _, seen := l.index[v]; !seen {
			l.index[v] = len(l.values)
			l.values = append(l.values, v)
		}
	}
	return l
}

// of returns the number of a value, that of other when it is not known.
func (l label) of(value string) int {
	if i, known := l.index[value]; known {
		return i
	}
	return l.index[other]
}

// statuses is a label of the HTTP status codes that have a name.
type statuses struct {
	label
	codes [600]int // code → number, looked up without making text of it
}

func newStatuses() *statuses {
	var names []string
	for code := 100; code < 600; code++ {
		if http.StatusText(code) != "" {
			names = append(names, strconv.Itoa(code))
		}
	}
	s := &statuses{label: newLabel(names...)}
	for code := range s.codes {
		s.codes[code] = s.of(strconv.Itoa(code))
	}
	return s
}

func (s *statuses) ofCode(code int) int {
	if code < 0 || code >= len(s.codes) {
		return s.index[other]
	}
	return s.codes[code]
}

// table keeps the children of a metric vector by the numbers of their labels, so
// that counting neither hashes nor allocates. A child is made when it is first
// counted: series that never happen are not exposed.
type table[T any] struct {
	labels   []label
	children []atomic.Pointer[T]
	with     func(values ...string) T
}

func newTable[T any](with func(values ...string) T, labels ...label) *table[T] {
	size := 1
	for _, l := range labels {
		size *= len(l.values)
	}
	return &table[T]{labels: labels, children: make([]atomic.Pointer[T], size), with: with}
}

// at returns the child for one number of each label.
func (t *table[T]) at(numbers ...int) T {
	i := 0
	for n, l := range t.labels {
		i = i*len(l.values) + numbers[n]
	}
	if child := t.children[i].Load(); child != nil {
		return *child
	}
	values := make([]string, len(t.labels))
	for n, l := range t.labels {
		values[n] = l.values[numbers[n]]
	}
	child := t.with(values...) // the same one for every goroutine
	t.children[i].Store(&child)
	return child
}

// counters is a table of counters.
func counters(reg *registrar, name, help string, names []string, labels ...label) *table[prometheus.Counter] {
	vec := prometheus.NewCounterVec(prometheus.CounterOpts{Namespace: namespace, Name: name, Help: help}, names)
	reg.add(vec)
	return newTable(vec.WithLabelValues, labels...)
}

// histograms is a table of histograms in seconds.
func histograms(reg *registrar, name, help, labelName string, l label, buckets []float64) *table[prometheus.Observer] {
	vec := prometheus.NewHistogramVec(prometheus.HistogramOpts{Namespace: namespace, Name: name, Help: help, Buckets: buckets}, []string{labelName})
	reg.add(vec)
	return newTable(vec.WithLabelValues, l)
}

// registrar registers metrics and keeps the first error.
type registrar struct {
	reg prometheus.Registerer
	err error
}

func (r *registrar) add(c prometheus.Collector) {
	if err := r.reg.Register(c); err != nil && r.err == nil {
		r.err = err
	}
}
