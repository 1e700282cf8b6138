package box

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"os"
	"strings"
	"sync/atomic"

	"github.com/prometheus/client_golang/prometheus"

	"preau/cache/edge"
	"preau/cache/object"
	"preau/cache/parent"
	"preau/cache/shelf"
	"preau/cache/storage"
	"preau/node/follow"
	"preau/node/lifecycle"
	"preau/replication/kv"
	"preau/replication/outbox"
)

// Enrolled reports whether the box with that data folder belongs to a region.
func Enrolled(data string) bool {
	_, err := os.Stat(follow.IdentityDir(data))
	return data != "" && err == nil
}

// membership is the box's place in a region, if it was enrolled in one. On a
// disk without room it can't be opened at first, like the storage, and nothing
// is served from the disk before it is: what was purged must not come back.
type membership struct {
	cfg      follow.Config
	log      *slog.Logger
	reg      prometheus.Registerer
	alone    bool
	near     follow.Near // the school's other boxes; nil for none
	follower atomic.Pointer[follow.Follower]
	opened   chan struct{} // closed with follower set
}

func newMembership(cfg follow.Config, log *slog.Logger, reg prometheus.Registerer) *membership {
	return &membership{cfg: cfg, log: log, reg: reg, opened: make(chan struct{})}
}

// open opens what is known of the region. Neither a disk without room nor a
// damaged identity is an error.
func (m *membership) open() error {
	reg := prometheus.NewRegistry()
	f, err := follow.New(m.cfg, m.log, reg)
	switch {
	case errors.Is(err, follow.ErrAlone):
		m.alone = true
		return nil
	case errors.Is(err, kv.ErrFull):
		m.log.Error("the disk has no room for what is known of the region", "err", err)
		return nil
	case err != nil:
		// A school does not lose its box for what its region would mend.
		m.log.Error("the box can't take part in its region and goes on without; preau enrol makes its identity anew", "err", err)
		m.alone = true
		return nil
	}
	if err := m.reg.Register(reg); err != nil {
		return errors.Join(err, f.Close())
	}
	if m.near != nil {
		f.SetNear(m.near)
	}
	m.follower.Store(f)
	close(m.opened)
	return nil
}

// use is called with a storage before anything is served from it.
func (m *membership) use(ctx context.Context, s *storage.Storage) error {
	if m.alone {
		return nil
	}
	if m.follower.Load() == nil {
		if err := m.open(); err != nil {
			return err
		}
	}
	f := m.follower.Load()
	if f == nil {
		return object.ErrFull
	}
	return f.Opened(ctx, s)
}

// served counts a response for the region.
func (m *membership) served(site, name string, listed bool) {
	if f := m.follower.Load(); f != nil {
		f.Served(site, name, listed)
	}
}

// parents are the region's servers that answer for a site.
func (m *membership) parents(site string) parent.List {
	return func(key string) []parent.Parent {
		f := m.follower.Load()
		if f == nil {
			return nil
		}
		return f.Parents(site)(key)
	}
}

// bring has deposits brought to the region, once it can be followed.
func (m *membership) bring(ctx context.Context, box *outbox.Outbox) {
	select {
	case <-ctx.Done():
	case <-m.opened:
		m.follower.Load().Bring(box)
	}
}

// lineless is why nothing goes to the region now, or nothing if something does.
func (m *membership) lineless() string {
	if f := m.follower.Load(); f != nil {
		if server, _ := f.Connected(); server != "" {
			return ""
		}
	}
	return "the region can't be reached now; it goes on by itself"
}

// run follows the region once it can.
func (m *membership) run(ctx context.Context) error {
	select {
	case <-ctx.Done():
		return nil
	case <-m.opened:
	}
	f := m.follower.Load()
	id := f.Identity()
	m.log.InfoContext(ctx, "following", "region", string(id.Region), "box", string(id.Name), "school", string(id.School))
	group := lifecycle.New(m.log)
	f.Add(group)
	return group.Run(ctx)
}

// close closes what was never run.
func (m *membership) close() error {
	if f := m.follower.Load(); f != nil {
		return f.Close()
	}
	return nil
}

// published serves what the region has published, under every host name that
// is not a site's own, and next all else.
func (m *membership) published(next *edge.Handler) http.Handler {
	if m.alone {
		return next
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if f := m.follower.Load(); f != nil && strings.HasPrefix(r.URL.Path, shelf.Prefix) && !next.Owns(r.Host) {
			f.Shelf().ServeHTTP(w, r)
			return
		}
		next.ServeHTTP(w, r)
	})
}
