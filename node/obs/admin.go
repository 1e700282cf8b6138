package obs

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/http/pprof"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// DefaultAdminAddress is where the admin face listens if nothing is said.
const DefaultAdminAddress = "127.0.0.1:9190"

// drain is how long Run lets running requests finish.
const drain = 2 * time.Second

// ListenAdmin opens the admin listener. An address without a host, such as
// ":9190", is refused: in other programs it means every interface, and here
// that has to be written. An address that others can reach is warned about.
func ListenAdmin(ctx context.Context, address string, log *slog.Logger) (net.Listener, error) {
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return nil, fmt.Errorf("admin address %q: write host:port, such as %s", address, DefaultAdminAddress)
	}
	if host == "" {
		return nil, fmt.Errorf("admin address %q would be open to the whole network: write 127.0.0.1:%s, or 0.0.0.0:%s if that is what you want", address, port, port)
	}
	var lc net.ListenConfig
	ln, err := lc.Listen(ctx, "tcp", address)
	if err != nil {
		return nil, fmt.Errorf("open admin listener: %w", err)
	}
	if !loopback(ln.Addr()) {
		log.WarnContext(ctx, "admin face can be reached from the network and asks nobody for a password", "address", ln.Addr().String())
	}
	return ln, nil
}

// OpenAdmin opens the face at address. If that is taken, and mayMove says that
// nobody chose it, the face goes to any free port of this machine and says where.
func OpenAdmin(ctx context.Context, address string, mayMove bool, metrics prometheus.Gatherer, log *slog.Logger) (*Admin, error) {
	ln, err := ListenAdmin(ctx, address, log)
	if err != nil && mayMove {
		log.WarnContext(ctx, "the usual admin port is taken, so another is used; --admin chooses one", "err", err)
		ln, err = ListenAdmin(ctx, "127.0.0.1:0", log)
	}
	if err != nil {
		return nil, err
	}
	a := NewAdmin(ln, metrics, log)
	log.InfoContext(ctx, "operators look here", "address", a.Addr().String())
	return a, nil
}

func loopback(a net.Addr) bool {
	tcp, ok := a.(*net.TCPAddr)
	return ok && tcp.IP.IsLoopback()
}

// Admin is the face for operators. It serves /healthz, /readyz, /metrics and
// /debug/pprof/, and what else the role hangs on it.
type Admin struct {
	ln     net.Listener
	mux    *http.ServeMux
	log    *slog.Logger
	checks checks
}

// NewAdmin makes the face on a listener that is already open. It starts nothing.
func NewAdmin(ln net.Listener, metrics prometheus.Gatherer, log *slog.Logger) *Admin {
	a := &Admin{ln: ln, mux: http.NewServeMux(), log: log.With("part", "admin")}
	a.mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/plain; charset=utf-8")
		fmt.Fprintln(w, "ok")
	})
	a.mux.HandleFunc("GET /readyz", a.checks.serve)
	a.mux.Handle("GET /metrics", promhttp.HandlerFor(metrics, promhttp.HandlerOpts{}))
	a.mux.HandleFunc("GET /debug/pprof/", pprof.Index)
	a.mux.HandleFunc("GET /debug/pprof/cmdline", pprof.Cmdline)
	a.mux.HandleFunc("GET /debug/pprof/profile", pprof.Profile)
	a.mux.HandleFunc("GET /debug/pprof/symbol", pprof.Symbol)
	a.mux.HandleFunc("GET /debug/pprof/trace", pprof.Trace)
	return a
}

// Addr is where the face listens.
func (a *Admin) Addr() net.Addr { return a.ln.Addr() }

// Close frees the port of a face that was never run.
func (a *Admin) Close() error { return a.ln.Close() }

// Handle adds a page; the pattern is one of http.ServeMux and, like there, a
// pattern that is taken panics. It is called before Run.
func (a *Admin) Handle(pattern string, h http.Handler) { a.mux.Handle(pattern, h) }

// Ready adds something that must be true before the node counts as ready.
// check returns nil or the reason why not, within a second or so; it may be
// called at any time and by several requests at once.
func (a *Admin) Ready(name string, check func(ctx context.Context) error) {
	a.checks.add(name, check)
}

// Run serves until ctx ends. Streams are cut then, other requests may finish.
func (a *Admin) Run(ctx context.Context) error {
	streams, cut := context.WithCancel(context.WithoutCancel(ctx))
	defer cut()
	srv := &http.Server{
		Handler:           a.guard(http.NewCrossOriginProtection().Handler(a.mux)),
		ReadHeaderTimeout: 5 * time.Second,
		IdleTimeout:       time.Minute,
		MaxHeaderBytes:    32 << 10,
		BaseContext:       func(net.Listener) context.Context { return streams },
		ErrorLog:          slog.NewLogLogger(a.log.Handler(), slog.LevelDebug),
	}
	served := make(chan error, 1)
	go func() { served <- srv.Serve(a.ln) }()
	select {
	case err := <-served:
		return fmt.Errorf("serve admin face: %w", err)
	case <-ctx.Done():
	}
	cut()
	grace, done := context.WithTimeoutCause(context.WithoutCancel(ctx), drain, errors.New("admin face drained too long"))
	defer done()
	if err := srv.Shutdown(grace); err != nil {
		a.log.DebugContext(ctx, "admin requests were cut", "err", err)
		if err := srv.Close(); err != nil {
			a.log.DebugContext(ctx, "admin listener closed badly", "err", err)
		}
	}
	if err := <-served; !errors.Is(err, http.ErrServerClosed) {
		a.log.DebugContext(ctx, "admin listener ended badly", "err", err)
	}
	return nil
}

// guard keeps pages of the web away from a face that listens on loopback: by
// pointing a name of its own at 127.0.0.1, a page could read it through the
// operator's browser. Programs and people use an address or localhost.
func (a *Admin) guard(next http.Handler) http.Handler {
	if !loopback(a.ln.Addr()) {
		return next
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		host := r.Host
		if h, _, err := net.SplitHostPort(host); err == nil {
			host = h
		}
		host = strings.Trim(host, "[]")
		if host != "" && !strings.EqualFold(host, "localhost") && net.ParseIP(host) == nil {
			http.Error(w, "the admin face answers to an address or localhost only", http.StatusForbidden)
			return
		}
		next.ServeHTTP(w, r)
	})
}
