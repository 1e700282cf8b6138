package uplink

import (
	"cmp"
	"context"
	"slices"
	"time"
)

// Report is how it stands with the gateway, as this server sees it.
type Report struct {
	// Asked is when the gateway was asked last, zero if it never was: a server
	// that does not lead asks only for blocks.
	Asked     time.Time
	Reachable bool
	Since     time.Time // it is reachable, or is not
	// Err is why it is not, or what it said against the last question.
	Err error
	// Buckets that this server follows, by name: none unless it leads.
	Buckets []Bucket
}

// Bucket is how far a bucket is followed.
type Bucket struct {
	Name   string
	Behind uint64    // changes that the gateway has and the region has not
	Synced time.Time // when the region had all of them last; zero: not yet
}

// Report tells how it stands. It may be called at any time.
func (u *Uplink) Report() Report {
	u.mu.Lock()
	defer u.mu.Unlock()
	out := u.last
	out.Buckets = nil
	for _, b := range u.followed {
		out.Buckets = append(out.Buckets, b)
	}
	slices.SortFunc(out.Buckets, func(a, b Bucket) int { return cmp.Compare(a.Name, b.Name) })
	return out
}

// said notes what came of asking the gateway, unless we gave up ourselves.
func (u *Uplink) said(ctx context.Context, err error) {
	if ctx.Err() != nil {
		return
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	now := time.Now()
	reachable := err == nil || answered(err)
	if u.last.Asked.IsZero() || reachable != u.last.Reachable {
		u.last.Since = now
		if reachable {
			u.Poke() // deposits wait for it
		}
	}
	u.last.Asked, u.last.Reachable, u.last.Err = now, reachable, err
	if reachable {
		u.met.reachable.Set(1)
	} else {
		u.met.reachable.Set(0)
	}
}

// at notes how far a bucket is followed.
func (u *Uplink) at(bucket string, behind uint64) {
	u.mu.Lock()
	defer u.mu.Unlock()
	b := u.followed[bucket]
	b.Name, b.Behind = bucket, behind
	u.followed[bucket] = b
	u.met.behind.WithLabelValues(bucket).Set(float64(behind))
}

// synced notes that the region has all that the gateway has of a bucket.
func (u *Uplink) synced(bucket string) {
	u.mu.Lock()
	defer u.mu.Unlock()
	b := u.followed[bucket]
	b.Synced = time.Now()
	u.followed[bucket] = b
	u.met.synced.WithLabelValues(bucket).Set(float64(b.Synced.UnixMilli()) / 1000)
}

// unfollow forgets how far buckets are followed: another server may know more by
// the time that this one leads again.
func (u *Uplink) unfollow() {
	u.mu.Lock()
	defer u.mu.Unlock()
	clear(u.followed)
	u.met.behind.Reset()
	u.met.synced.Reset()
}

// waits notes what the centre does not keep yet.
func (u *Uplink) waits(n, bytes int64, oldest time.Time) {
	u.met.waiting.Set(float64(n))
	u.met.waitBytes.Set(float64(bytes))
	if oldest.IsZero() {
		u.met.oldest.Set(0)
	} else {
		u.met.oldest.Set(float64(oldest.UnixMilli()) / 1000)
	}
}
