package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"os"
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
	"github.com/pullgate/pullgate/proxy/upstream"
	"github.com/pullgate/pullgate/verify"
	"github.com/pullgate/pullgate/verify/authfile"
)

// Sizes of what is kept in memory that no setting changes.
const (
	graphSize     = 500_000   // digests with facts
	tagCacheSize  = 100_000   // tags
	manifestBytes = 128 << 20 // manifests
	blobBytes     = 64 << 20  // small blobs
)

// Waits of the servers. Downloads have no overall limit: they may be long; each
// write has its own deadline instead.
const (
	readHeaderTimeout = 10 * time.Second
	idleTimeout       = 2 * time.Minute
	shutdownTimeout   = 20 * time.Second
	maxHeaderBytes    = 64 << 10
)

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
	handler  *proxy.Handler
	audit    *audit.File
	policy   reloadState
}

// newGate wires the gate. It dials nothing and listens on nothing.
func newGate(cfg *config.Config, policy *verify.Policy, logger *slog.Logger, records audit.Sink) (*gate, error) {
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
	}
	names := proxy.Names{Default: cfg.DefaultRegistry, Others: options.Others}
	for _, u := range cfg.Upstreams {
		options.Registries = append(options.Registries, upstream.Registry{Name: u.Registry, Endpoint: u.Endpoint, Transport: u.Transport})
		names.Registries = append(names.Registries, proxy.RegistryName{Name: u.Registry, Prefix: u.Prefix, Host: endpointHost(u.Endpoint)})
	}
	if g.upstream, err = upstream.New(options); err != nil {
		return nil, err
	}
	if g.engine, err = verify.NewEngine(policy, g.upstream, upstream.NewWeb(options)); err != nil {
		return nil, err
	}
	g.policy.loaded(policy)
	g.metrics.PolicyLoaded(policy.Revision(), time.Now())
	g.handler, err = g.newHandler(names, records)
	return g, err
}

func (g *gate) newHandler(names proxy.Names, records audit.Sink) (*proxy.Handler, error) {
	verdicts, err := cache.NewVerdicts(g.engine, cache.VerdictOptions{
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
		Names: names, Upstream: g.upstream, Verifier: verdicts, Graph: graph, Tags: tags,
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
	g, err := newGate(cfg, policy, logger, watched)
	if err != nil {
		return err
	}
	defer g.upstream.Close()
	g.audit = records
	for _, w := range warnings(cfg, policy) {
		logger.Warn("configuration", "warning", w)
	}
	api, err := g.apiServer()
	if err != nil {
		return err
	}
	side := newServer(admin.NewHandler(g.registry, func() admin.Status { return g.status(watched) }), logger)
	return g.run(ctx, api, side)
}

// run listens, serves, reloads, and ends cleanly: what is being sent is sent to
// its end within a limit, and every record is written before the log is closed.
func (g *gate) run(ctx context.Context, api, side *http.Server) error {
	apiListener, err := net.Listen("tcp", g.cfg.Listen)
	if err != nil {
		return fmt.Errorf("listen: %w", err)
	}
	sideListener, err := net.Listen("tcp", g.cfg.Admin.Listen)
	if err != nil {
		apiListener.Close()
		return fmt.Errorf("admin.listen: %w", err)
	}
	ctx, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	go func() {
		if api.TLSConfig != nil {
			stop(api.ServeTLS(apiListener, "", ""))
			return
		}
		stop(api.Serve(apiListener))
	}()
	go func() { stop(side.Serve(sideListener)) }()
	go g.reloadLoop(ctx)
	g.logger.Info("serving", "listen", apiListener.Addr().String(), "tls", api.TLSConfig != nil,
		"admin", sideListener.Addr().String(), "policy_revision", g.engine.Revision())
	<-ctx.Done()

	g.logger.Info("stopping")
	deadline, cancel := context.WithTimeout(context.WithoutCancel(ctx), shutdownTimeout)
	defer cancel()
	if err := api.Shutdown(deadline); err != nil {
		api.Close()
	}
	side.Close()
	if err := context.Cause(ctx); err != nil && !errors.Is(err, context.Canceled) && !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("serving: %w", err)
	}
	return nil
}

func (g *gate) apiServer() (*http.Server, error) {
	s := newServer(g.handler, g.logger)
	if !g.cfg.TLS.Enabled() {
		return s, nil
	}
	pair, err := tls.LoadX509KeyPair(g.cfg.TLS.Cert, g.cfg.TLS.Key)
	if err != nil {
		return nil, fmt.Errorf("tls.cert and tls.key: %w", err)
	}
	s.TLSConfig = &tls.Config{MinVersion: tls.VersionTLS12, Certificates: []tls.Certificate{pair}}
	if file := g.cfg.TLS.ClientCA; file != "" {
		pem, err := os.ReadFile(file)
		if err != nil {
			return nil, fmt.Errorf("tls.client_ca: %w", err)
		}
		pool := x509.NewCertPool()
		if !pool.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("tls.client_ca: no certificate in %s", file)
		}
		s.TLSConfig.ClientCAs, s.TLSConfig.ClientAuth = pool, tls.RequireAndVerifyClientCert
	}
	return s, nil
}

func newServer(h http.Handler, logger *slog.Logger) *http.Server {
	return &http.Server{
		Handler:           h,
		ReadHeaderTimeout: readHeaderTimeout,
		IdleTimeout:       idleTimeout,
		MaxHeaderBytes:    maxHeaderBytes,
		ErrorLog:          slog.NewLogLogger(logger.Handler(), slog.LevelDebug),
	}
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
	s := admin.Status{Ready: true, Revision: g.engine.Revision(), PolicyLoadedAt: at, PolicyError: failure}
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
