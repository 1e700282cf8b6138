package provision

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"net"
	"net/http"
	"net/http/httputil"
	"net/netip"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"preau/node/keep"
)

// maxPlan bounds what is read of Config.Plan.
const maxPlan = 1 << 20

// Passing is a box that stands alone beside this program, in memory, and passes web
// sites through: what reads the answers of sites must not be what may write to
// sticks and to the boot partition.
type Passing struct {
	Address string   // where it listens, on this machine alone
	Names   []string // of its sites, as in /o/NAME/
	Hosts   []string // of its sites, as in a box's own file
}

// PassState is what programs are told of it.
type PassState struct {
	Sites []string `json:"sites,omitempty"`
	// Up: it answers. Else requests for sites get the page of a box that waits.
	Up bool `json:"up"`
	// Why is why there is none.
	Why string `json:"why,omitempty"`
}

// pass leads to the box that passes sites through.
type pass struct {
	Passing

	up    atomic.Bool
	proxy *httputil.ReverseProxy
}

// beginPassing has web sites passed through meanwhile, if the box runs without its
// disk and the plan on its boot partition names some: the region has signed it, so
// whoever has that partition in his hands leads no school to sites of his own.
func (p *Provision) beginPassing(ctx context.Context) {
	if p.cfg.Pass == "" || p.degraded() == "" || p.back == nil {
		p.endPassing()
		return
	}
	to, err := p.sites(ctx)
	if errors.Is(err, fs.ErrNotExist) || err == nil && len(to.Names) == 0 {
		p.endPassing()
		return
	}
	if err != nil {
		p.endPassing()
		p.passWhy = strings.Join(strings.Fields(err.Error()), " ")
		p.log.WarnContext(ctx, "no web sites can be passed through meanwhile", "plan", p.cfg.Plan, "err", err)
		return
	}
	p.log.InfoContext(ctx, "web sites are passed through meanwhile", "sites", to.Names)
	p.pass.Store(p.through(to))
}

// sites puts into place what the plan sets for this box: a box that passes sites
// through waits for it.
func (p *Provision) sites(ctx context.Context) (Passing, error) {
	f, err := os.Open(p.cfg.Plan)
	if err != nil {
		return Passing{}, err
	}
	signed, err := io.ReadAll(io.LimitReader(f, maxPlan))
	if err = errors.Join(err, f.Close()); err != nil {
		return Passing{}, err
	}
	text, err := p.parts.Sites(ctx, signed, p.back.Place)
	if err != nil || text == "" { // nothing is set for this box, which is no mistake
		return Passing{}, err
	}
	if err := os.MkdirAll(filepath.Dir(p.cfg.Pass), 0o755); err != nil {
		return Passing{}, err
	}
	// What the box would not take never gets its name.
	half := p.cfg.Pass + keep.Half
	if err := os.WriteFile(half, []byte(text), 0o644); err != nil {
		return Passing{}, err
	}
	to, err := p.parts.Open(half)
	if err == nil {
		err = os.Rename(half, p.cfg.Pass)
	}
	if err != nil {
		return Passing{}, errors.Join(err, keep.Remove(half))
	}
	return to, nil
}

// endPassing takes away what such a box starts with: the box itself comes, or none
// is wanted.
func (p *Provision) endPassing() {
	p.pass.Store(nil)
	if p.cfg.Pass == "" {
		return
	}
	if err := keep.Remove(p.cfg.Pass); err != nil {
		p.log.Warn("what passes web sites through may start again", "file", p.cfg.Pass, "err", err)
	}
}

// lookAtPass notices whether sites pass.
func (p *Provision) lookAtPass(ctx context.Context) {
	to := p.pass.Load()
	if to == nil {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	conn, err := new(net.Dialer).DialContext(ctx, "tcp", to.Address)
	if err == nil {
		err = conn.Close()
	}
	to.up.Store(err == nil)
}

// passState is nil where nothing was to pass.
func (p *Provision) passState() *PassState {
	if to := p.pass.Load(); to != nil {
		return &PassState{Sites: to.Names, Up: to.up.Load()}
	}
	if p.passWhy != "" {
		return &PassState{Why: p.passWhy}
	}
	return nil
}

// through is the way to it. A request goes as it came; what the box that is asked
// strips of a client's it strips here too.
func (p *Provision) through(to Passing) *pass {
	waits := p.pageHandler()
	return &pass{Passing: to, proxy: &httputil.ReverseProxy{
		Rewrite: func(r *httputil.ProxyRequest) {
			r.SetURL(&url.URL{Scheme: "http", Host: to.Address})
			r.Out.Host, r.Out.URL.RawQuery = r.In.Host, r.In.URL.RawQuery
		},
		// It is on this machine: no proxy stands between, and bytes are as they come.
		Transport:     &http.Transport{Proxy: nil, DisableCompression: true, MaxIdleConnsPerHost: 64, IdleConnTimeout: 30 * time.Second},
		FlushInterval: -1,
		ErrorHandler: func(w http.ResponseWriter, r *http.Request, err error) {
			if !errors.Is(err, context.Canceled) {
				p.log.DebugContext(r.Context(), "what passes web sites through does not answer", "err", err)
			}
			waits.ServeHTTP(w, r)
		},
	}}
}

// door is what listens: web sites pass if they can, and all else sees how far the
// box is.
func (p *Provision) door() http.Handler {
	waits := p.pageHandler()
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if to := p.pass.Load(); to != nil && to.has(r) {
			to.proxy.ServeHTTP(w, r)
			return
		}
		waits.ServeHTTP(w, r)
	})
}

// has reports whether a request is for a web site. A site that answers for every
// name does not get those by which people look for the box itself.
func (t *pass) has(r *http.Request) bool {
	host := r.Host
	if name, _, err := net.SplitHostPort(host); err == nil {
		host = name
	}
	host = strings.ToLower(strings.TrimSuffix(strings.Trim(host, "[]"), "."))
	for _, own := range t.Hosts {
		own = strings.ToLower(own)
		if own == host || strings.HasPrefix(own, "*.") && strings.HasSuffix(host, own[1:]) {
			return true
		}
	}
	if rest, ok := strings.CutPrefix(r.URL.Path, "/o/"); ok {
		name, _, _ := strings.Cut(rest, "/")
		return slices.Contains(t.Names, name)
	}
	_, err := netip.ParseAddr(host)
	itself := err == nil || !strings.Contains(host, ".") || strings.HasSuffix(host, ".local") || strings.HasSuffix(host, ".localhost")
	return slices.Contains(t.Hosts, "*") && !itself
}
