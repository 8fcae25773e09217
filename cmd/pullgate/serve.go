package main

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/spf13/cobra"

	"github.com/pullgate/pullgate/cache"
	"github.com/pullgate/pullgate/config"
	"github.com/pullgate/pullgate/proxy"
	"github.com/pullgate/pullgate/proxy/admin"
	"github.com/pullgate/pullgate/proxy/audit"
	"github.com/pullgate/pullgate/proxy/auth"
	"github.com/pullgate/pullgate/proxy/intercept"
	"github.com/pullgate/pullgate/proxy/upstream"
	"github.com/pullgate/pullgate/verify"
	"github.com/pullgate/pullgate/verify/authfile"
	"github.com/pullgate/pullgate/verify/trustroot"
)

// Sizes of what is kept in memory that no setting changes.
const (
	graphSize     = 500_000   // digests with facts
	tagCacheSize  = 100_000   // tags
	manifestBytes = 128 << 20 // manifests
	blobBytes     = 64 << 20  // small blobs
)

// shutdownTimeout bounds how long what is being sent may take when the gate ends.
const shutdownTimeout = 20 * time.Second

func serveCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "serve",
		Short: "Run the gate",
		Long:  "Run the gate until SIGINT or SIGTERM.\nSIGHUP reads policy, keys and registries.d again, and reopens the audit log; changed files are noticed without it.",
		Args:  cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			cfg, policy, err := loadConfig(c.Flags())
			if err != nil {
				return err
			}
			return serve(c.Context(), cfg, policy, c.OutOrStdout(), c.ErrOrStderr())
		},
	}
	addConfigFlags(c.Flags())
	return c
}

// gate is everything that runs, wired.
type gate struct {
	cfg      *config.Config
	logger   *slog.Logger
	registry *prometheus.Registry
	metrics  *admin.Metrics
	upstream *upstream.Client
	engine   *verify.Engine
	roots    *trustroot.Set // nil: none are configured
	handler  *proxy.Handler
	audit    *audit.File
	policy   reloadState
	names    proxy.Names
	access   *auth.Authority
	certs    *certificates // nil without TLS

	accessSeen string // what the files of access looked like when they were read last

	endpoints []*endpoint
	intercept *intercept.Handler // nil without interception
}

// via marks the gate's own requests, so that it notices when the name of an
// upstream leads back to it.
func newVia() string {
	var b [8]byte
	rand.Read(b[:]) // never fails
	return "1.1 pullgate-" + hex.EncodeToString(b[:])
}

// newGate wires the gate. It dials nothing and listens on nothing. Access says who
// may pull.
func newGate(cfg *config.Config, policy *verify.Policy, logger *slog.Logger, records audit.Sink, access func(proxy.Names) (*auth.Authority, error)) (*gate, error) {
	g := &gate{cfg: cfg, logger: logger, registry: prometheus.NewRegistry()}
	g.registry.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	var err error
	if g.metrics, err = admin.NewMetrics(g.registry, append(cfg.Registries(), upstream.SignatureServers)); err != nil {
		return nil, err
	}
	options := upstream.Options{
		Others:      cfg.OtherRegistries == config.OthersAllow,
		Credentials: authfile.Credentials(cfg.AuthFile),
		CertsDirs:   cfg.CertsD,
		UserAgent:   "pullgate/" + versionText(),
		Logger:      logger,
		Observe:     g.metrics.Upstream,
		Via:         newVia(),
	}
	for _, u := range cfg.Upstreams {
		options.Registries = append(options.Registries, upstream.Registry{Name: u.Registry, Endpoint: u.Endpoint, Transport: u.Transport,
			ClientCredentials: u.Credentials == config.CredentialsClient})
	}
	g.names = namesOf(cfg)
	if g.upstream, err = upstream.New(options); err != nil {
		return nil, err
	}
	web := upstream.NewWeb(options)
	if g.engine, err = verify.NewEngine(policy, g.upstream, web); err != nil {
		return nil, err
	}
	if g.roots, err = openRoots(cfg, web, logger); err != nil {
		return nil, err
	}
	if g.roots != nil {
		g.engine.UseRoots(g.roots)
	}
	g.policy.loaded(policy)
	g.metrics.PolicyLoaded(g.engine.Revision(), time.Now())
	if g.access, err = access(g.names); err != nil {
		return nil, err
	}
	g.handler, err = g.newHandler(options.Via, records)
	return g, err
}

// namesOf says how names in requests become names of images.
func namesOf(cfg *config.Config) proxy.Names {
	names := proxy.Names{Default: cfg.DefaultRegistry, Others: cfg.OtherRegistries == config.OthersAllow}
	for _, u := range cfg.Upstreams {
		names.Registries = append(names.Registries, proxy.RegistryName{Name: u.Registry, Prefix: u.Prefix, Host: endpointHost(u.Endpoint)})
	}
	for _, h := range cfg.Hosts {
		names.Hosts = append(names.Hosts, proxy.HostName{Host: h.Host, Registry: h.Registry})
	}
	return names
}

func (g *gate) newHandler(via string, records audit.Sink) (*proxy.Handler, error) {
	verdicts, err := cache.NewVerdicts(proxy.Limited(g.engine, g.names), cache.VerdictOptions{
		Size: g.cfg.Verdicts.Size, AllowedTTL: g.cfg.Verdicts.AllowedTTL, DeniedTTL: g.cfg.Verdicts.DeniedTTL,
		Observe: g.observeVerdict,
	})
	if err != nil {
		return nil, err
	}
	graph, err := cache.NewGraph(graphSize)
	if err != nil {
		return nil, err
	}
	tags, err := cache.NewTags(tagCacheSize, g.cfg.Tags.TTL, nil)
	if err != nil {
		return nil, err
	}
	manifests, err := cache.NewContent(manifestBytes, (*proxy.Manifest).Size)
	if err != nil {
		return nil, err
	}
	blobs, err := cache.NewContent(blobBytes, func(b []byte) int64 { return int64(len(b)) })
	if err != nil {
		return nil, err
	}
	return proxy.New(proxy.Options{
		Names: g.names, Upstream: g.upstream, Access: g.access, Via: via, Verifier: verdicts, Graph: graph, Tags: tags,
		Manifests: manifests, Blobs: blobs, Audit: records, Metrics: g.metrics, Logger: g.logger,
		ReportOnly: g.cfg.ReportOnly, AuditBlobs: g.cfg.Audit.Blobs,
	})
}

func (g *gate) observeVerdict(hit bool, took time.Duration, v verify.Verdict, err error) {
	g.metrics.VerdictCache(hit)
	switch {
	case hit:
	case err != nil:
		g.metrics.Verification("inconclusive", took)
		g.logger.Warn("verification inconclusive", "error", err)
	default:
		g.metrics.Verification(v.Decision.String(), took)
	}
}

// endpointHost is the host[:port] of an HTTP endpoint, by which the registry must
// not be reached around its own name; empty for local ones.
func endpointHost(endpoint string) string {
	if u, err := url.Parse(endpoint); err == nil && (u.Scheme == "https" || u.Scheme == "http") {
		return u.Host
	}
	return ""
}

// serve runs the gate until ctx ends.
func serve(ctx context.Context, cfg *config.Config, policy *verify.Policy, stdout, stderr io.Writer) error {
	logger := newLogger(cfg, stderr)
	records, err := audit.Open(cfg.Audit.File, stdout)
	if err != nil {
		return fmt.Errorf("audit.file: %w", err)
	}
	defer records.Close()
	watched := &watchedSink{Sink: records}
	g, err := newGate(cfg, policy, logger, watched, func(names proxy.Names) (*auth.Authority, error) {
		return newAccess(cfg, names, logger)
	})
	if err != nil {
		return err
	}
	defer g.upstream.Close()
	g.audit = records
	for _, w := range warnings(cfg, policy, g.roots) {
		logger.Warn("configuration", "warning", w)
	}
	if err := g.open(watched); err != nil {
		g.closeListeners()
		return err
	}
	return g.run(ctx)
}

// run serves, reloads, and ends cleanly: what is being sent is sent to its end
// within a limit, and every record is written before the log is closed.
func (g *gate) run(ctx context.Context) error {
	ctx, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	for _, e := range g.endpoints {
		go func() { stop(e.serve()) }()
	}
	rootsAsked := make(chan struct{}, 1)
	go g.reloadLoop(ctx, rootsAsked)
	go g.refreshRoots(ctx, rootsAsked)
	g.logger.Info("serving", append(g.where(), "policy_revision", g.engine.Revision())...)
	<-ctx.Done()

	g.logger.Info("stopping")
	deadline, cancel := context.WithTimeout(context.WithoutCancel(ctx), shutdownTimeout)
	defer cancel()
	g.shutdown(deadline)
	if err := context.Cause(ctx); err != nil && !errors.Is(err, context.Canceled) && !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("serving: %w", err)
	}
	return nil
}

func newLogger(cfg *config.Config, w io.Writer) *slog.Logger {
	var level slog.Level
	if err := level.UnmarshalText([]byte(cfg.Log.Level)); err != nil {
		level = slog.LevelInfo
	}
	options := &slog.HandlerOptions{Level: level}
	if cfg.Log.Format == config.LogJSON {
		return slog.New(slog.NewJSONHandler(w, options))
	}
	return slog.New(slog.NewTextHandler(w, options))
}

// status is the readiness detail.
func (g *gate) status(records *watchedSink) admin.Status {
	at, failure := g.policy.state()
	s := admin.Status{Ready: true, Revision: g.engine.Revision(), PolicyLoadedAt: at, PolicyError: failure, TrustRoots: rootStatus(g.roots)}
	if err := records.last.Load(); err != nil {
		s.AuditError = *err
	}
	return s
}

// watchedSink remembers whether the last record could be written.
type watchedSink struct {
	audit.Sink
	last atomic.Pointer[string]
}

func (s *watchedSink) Write(r audit.Record) error {
	err := s.Sink.Write(r)
	switch {
	case err != nil:
		text := err.Error()
		s.last.Store(&text)
	case s.last.Load() != nil:
		s.last.Store(nil)
	}
	return err
}
