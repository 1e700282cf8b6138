// Package box is the role of a school's box: it stands in front of the sites
// that the operator listed, keeps what classes use, and serves it.
//
// It puts the parts together and decides nothing itself. Nothing in its start
// waits for anything outside the machine: no network, no site, no right clock.
// With a disk that has no room left it starts all the same and passes through.
package box

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"runtime/debug"
	"slices"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"preau/node/follow"
	"preau/node/front"
	"preau/node/lifecycle"
	"preau/node/listen"
	"preau/node/obs"
	"preau/node/portal"
)

// heapGoal is a soft bound on the Go heap: a box has little memory and needs it
// for the page cache. Only unreferenced memory is given back sooner for it.
const heapGoal = 88 << 20

// Box is a box that is ready to run.
type Box struct {
	cfg      Config
	log      *slog.Logger
	reg      *prometheus.Registry
	group    *lifecycle.Group
	front    *front.Front
	region   *membership
	deposits *deposits
	near     neighbourhood
	leaving  *leaving
	public   public
	updates  *updates
	portal   *portal.Portal // nil: it has none
	staff    *staff         // nil: there is no portal
	doors    []*listen.Server
	admin    *obs.Admin
}

// Run makes a box and runs it until ctx ends.
func Run(ctx context.Context, cfg Config, log *slog.Logger) error {
	b, err := New(ctx, cfg, log)
	if err != nil {
		return err
	}
	return b.Run(ctx)
}

// New opens what the box needs, its ports among it. A box that is made must be
// run: Run closes everything.
func New(ctx context.Context, cfg Config, log *slog.Logger) (_ *Box, err error) {
	if err := cfg.Validate(Profiles()); err != nil {
		return nil, fmt.Errorf("box configuration: %w", err)
	}
	b := &Box{cfg: cfg, log: log, group: lifecycle.New(log)}
	if b.reg, err = obs.NewRegistry(obs.ReadBuild()); err != nil {
		return nil, err
	}
	if b.leaving, err = newLeaving(); err != nil {
		return nil, err
	}
	var undo []func() error
	defer func() {
		if err != nil {
			for _, f := range undo {
				err = errors.Join(err, f())
			}
		}
	}()

	if b.admin, err = obs.OpenAdmin(ctx, cfg.Admin.Listen, cfg.Admin.MayMove, b.reg, log); err != nil {
		return nil, err
	}
	undo = append(undo, b.admin.Close)
	b.group.Add("admin", 2*time.Second, b.admin.Run)

	follows := follow.DefaultConfig(cfg.Data)
	for _, s := range cfg.Site {
		follows.Sites = append(follows.Sites, s.Name)
	}
	follows.Talking, follows.Reach = b.talking, b.reach
	b.region = newMembership(follows, log, b.reg)
	if cfg.Neighbours.Enabled {
		b.region.near = &b.near
	}
	if err := b.region.open(); err != nil {
		return nil, err
	}
	b.openDeposits()
	if cfg.wantedProblem != "" {
		log.ErrorContext(ctx, "the region's settings are left out", "err", cfg.wantedProblem)
	}
	b.updates = newUpdates(cfg.Updates, b.region, log)
	if err := b.reg.Register(b.updates); err != nil {
		return nil, err
	}
	b.admin.Handle("GET /published/{id}", b.updates)
	b.admin.Handle("GET /status", http.HandlerFunc(b.status))
	b.admin.Handle("POST /explain", http.HandlerFunc(b.explain))
	b.admin.Handle("GET /neighbours", b.near.asked(showNeighbours))
	for _, method := range []string{http.MethodGet, http.MethodPut, http.MethodDelete} {
		b.admin.Handle(method+" /drain", b.near.asked(b.drain))
	}
	undo = append(undo, b.deposits.close)
	fc := front.Config{Data: cfg.Data, Budget: cfg.Budget, Sites: cfg.Site, Opened: b.region.use}
	if !b.region.alone {
		fc.Parents = b.region.parents
		if cfg.Neighbours.Enabled {
			fc.Neighbours, fc.Reports, fc.Checker = b.near.pooled, &b.near, &attested{region: b.region}
		}
	}
	undo = append(undo, b.region.close)
	if b.front, err = front.New(ctx, fc, log, b.reg); err != nil {
		return nil, err
	}
	undo = append(undo, b.front.Close)
	b.admin.Ready("storage", b.front.Ready)
	b.front.Add(b.group)
	// Stopped after all that uses it, but for the admin face, which it waits for.
	if b.deposits.wanted {
		b.group.Add("deposits", 10*time.Second, b.deposits.run)
	}
	if !b.region.alone {
		b.front.Handler().SetObserver(func(site, name string, listed bool) {
			b.region.served(site, name, listed)
			b.leaving.served(site, name, listed)
		})
		b.group.Add("region", 20*time.Second, b.region.run)
	}
	if err := b.openPublic(); err != nil {
		return nil, err
	}
	own, err := b.openPortal(b.offered(b.region.published(b.front.Handler())))
	if err != nil {
		return nil, err
	}
	handler := b.public.challenges(own)
	for _, l := range slices.Concat(cfg.Listen, b.public.listeners(cfg.Public)) {
		door, err := listen.New(ctx, l, handler, log)
		if err != nil {
			return nil, err
		}
		undo = append(undo, door.Close)
		b.doors = append(b.doors, door)
		b.group.Add("listener on "+door.Addr().String(), 10*time.Second, door.Run)
	}
	if b.staff != nil {
		b.staff.add()
	}
	if b.portal != nil { // stopped before the listeners, which wait for those who watch its pages
		b.group.Add("portal", 5*time.Second, b.portal.Run)
	}
	b.addPublic()
	if b.wantsNeighbours() {
		b.group.Add("neighbours", 8*time.Second, b.runNeighbours)
	}
	return b, nil
}

// openDeposits opens what is added here. A disk without room or a damaged folder
// keeps no box from serving.
func (b *Box) openDeposits() {
	d := newDeposits(b.cfg.Deposits, b.cfg.Data, b.log, b.reg)
	b.deposits = d
	d.bring, d.why = b.region.bring, b.region.lineless
	if b.cfg.Neighbours.Enabled && !b.region.alone {
		d.useNeighbours(depositNeighbours{&b.near}, b.region.barred)
	}
	if b.region.alone {
		d.why = func() string { return "this box belongs to no region yet" }
	}
	if !d.wanted {
		return
	}
	if err := d.open(); err != nil {
		d.log.Error("nothing can be added here for now, and what was waits; the folder of deposits is tried again", "err", err)
	}
	b.admin.Handle(depositPrefix, d.handler(onLoopback(b.admin.Addr())))
}

// onLoopback reports an address that only this machine reaches.
func onLoopback(a net.Addr) bool {
	tcp, ok := a.(*net.TCPAddr)
	return ok && tcp.IP.IsLoopback()
}

// talking reports whether people talk to each other over the school's line.
func (b *Box) talking() bool {
	_, now := b.front.Handler().Live()
	return now
}

// offered serves deposits under every host name that is not a site's own, and
// next all else.
func (b *Box) offered(next http.Handler) http.Handler {
	if !b.deposits.wanted {
		return next
	}
	own := b.deposits.handler(false)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.HasPrefix(r.URL.Path, depositPrefix) && !b.front.Handler().Owns(r.Host) {
			own.ServeHTTP(w, r)
			return
		}
		next.ServeHTTP(w, r)
	})
}

// Run serves until ctx ends, then stops in order: doors, fetches, lines, disk.
func (b *Box) Run(ctx context.Context) error {
	if os.Getenv("GOMEMLIMIT") == "" {
		debug.SetMemoryLimit(heapGoal)
	}
	for _, d := range b.doors {
		b.log.InfoContext(ctx, "serving", "address", d.Addr().String(), "https", d.Secure(), "sites", len(b.cfg.Site))
	}
	return b.group.Run(ctx)
}

// Addrs is where devices connect, in the order of the configuration.
func (b *Box) Addrs() []net.Addr {
	out := make([]net.Addr, len(b.doors))
	for i, d := range b.doors {
		out[i] = d.Addr()
	}
	return out
}

// Snapshot describes the box's cache as it is now. It may be called at any time.
func (b *Box) Snapshot(ctx context.Context) front.Snapshot { return b.front.Snapshot(ctx) }
