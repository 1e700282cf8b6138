package follow

import (
	"context"
	"encoding/binary"
	"errors"
	"net/http"
	"time"

	"preau/replication/catalogue"
	"preau/replication/feed"
	"preau/replication/kv"
)

// keyAlone is where the time without contact is kept.
var keyAlone = []byte("node/alone")

const (
	defaultLease = 30 * 24 * time.Hour
	leaseEvery   = 10 * time.Minute
)

// lease says for how long a box may serve what its region has published
// without hearing from it: what was recalled meanwhile must not live for ever.
// It counts the time that the box runs, not what its clock says, which may be
// wrong both ways.
type lease struct {
	lasts time.Duration // 0: the default
	alone time.Duration // without contact, up to since
	since time.Time     // monotonic
}

func leaseOf(p catalogue.Policy) time.Duration { return time.Duration(p.LeaseSeconds) * time.Second }

// over reports whether the lease has run out at now.
func (l lease) over(now time.Time) bool {
	lasts := l.lasts
	if lasts <= 0 {
		lasts = defaultLease
	}
	alone := l.alone
	if !l.since.IsZero() {
		alone += now.Sub(l.since)
	}
	return alone > lasts
}

// contact notes that the region was heard.
func (f *Follower) contact() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.lease.alone, f.lease.since = 0, time.Now()
}

// runLease keeps count of the time without contact over restarts.
func (f *Follower) runLease(ctx context.Context) error {
	b, err := f.store.Get(keyAlone)
	if err != nil && !errors.Is(err, kv.ErrNotFound) {
		f.log.WarnContext(ctx, "the time without the region can't be read, and is counted anew", "err", err)
	}
	f.mu.Lock()
	if err == nil && len(b) == 8 && f.lease.since.IsZero() {
		f.lease.alone = time.Duration(binary.BigEndian.Uint64(b))
	}
	if f.lease.since.IsZero() {
		f.lease.since = time.Now()
	}
	f.mu.Unlock()
	tick := time.NewTicker(leaseEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			f.keepLease()
			return nil
		case <-tick.C:
			f.keepLease()
		}
	}
}

func (f *Follower) keepLease() {
	if server, _ := f.Connected(); server != "" {
		f.contact()
	}
	f.mu.Lock()
	alone := f.lease.alone + time.Since(f.lease.since)
	f.mu.Unlock()
	err := f.store.Write([]feed.Change{{Key: keyAlone, Value: binary.BigEndian.AppendUint64(nil, uint64(alone))}})
	if err != nil {
		f.log.Warn("the time without the region can't be kept", "err", err)
	}
}

// leased serves from next while the lease lasts.
func (f *Follower) leased(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if f.leaseOver() {
			w.Header().Set("Cache-Control", "no-store")
			http.Error(w, "Cette boîte n'a plus de nouvelles de sa région depuis trop longtemps : elle ne peut plus savoir si ce document est encore valable.\n"+
				"This box has not heard from its region for too long: it can't tell any more whether this document still stands.", http.StatusServiceUnavailable)
			return
		}
		f.servedItem(r.URL.Path)
		next.ServeHTTP(w, r)
	})
}

// leaseOver reports whether nothing published may be served any more.
func (f *Follower) leaseOver() bool {
	f.mu.Lock()
	over := f.lease.over(time.Now())
	f.mu.Unlock()
	if !over {
		return false
	}
	server, _ := f.Connected()
	return server == ""
}
