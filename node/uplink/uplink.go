// Package uplink is what a region's server has to do with the ministry's
// gateway: it follows the watched buckets into the region's catalogue, gets the
// blocks that boxes ask for, and brings the schools' deposits up.
//
// The leader alone follows and brings up; every server gets blocks, each those
// that rendezvous hashing gives it, so that a block crosses the line to the
// centre once for the whole region. What was done is in the catalogue, so a new
// leader goes on where the old one was, and everything may be done twice. The
// package opens no connection but through the transports that it is given, and
// decides nothing by itself: the region does.
//
// # Metrics
//
//	preau_uplink_reachable                     1 if the gateway answered last time
//	preau_uplink_changes_total{result}         changes of buckets: taken, skipped
//	preau_uplink_behind{bucket}                changes that the gateway has and the region has not
//	preau_uplink_blocks_total{result}          blocks asked for: fetched, passed_on, failed
//	preau_uplink_block_bytes_total             bytes of the blocks fetched from the gateway
//	preau_uplink_synced_timestamp_seconds{bucket}  when the region had all of a bucket last
//	preau_uplink_deposits_waiting              deposits that the centre does not keep yet
//	preau_uplink_deposits_waiting_bytes        their bytes
//	preau_uplink_deposits_oldest_timestamp_seconds  when the oldest of them was added, 0 if there is none
//	preau_uplink_deposits_total{result}        attempts to bring one up: kept, failed
//
// The leader alone has those of buckets and of what waits.
package uplink

import (
	"context"
	"crypto/ed25519"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"slices"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"preau/cache/block"
	"preau/replication/catalogue"
	"preau/replication/central"
	"preau/replication/identity"
)

// Region is what an uplink needs of the server that it is part of. All methods
// may be called concurrently.
type Region interface {
	// ID is the region's.
	ID() identity.Region
	// Leads reports whether this server is the leader.
	Leads() bool
	// Submit has the region decide; ErrRefused if it refuses.
	Submit(ctx context.Context, ops ...catalogue.Op) error
	// Resource and the others read this server's catalogue; false: there is none.
	Resource(id string) (catalogue.Resource, bool, error)
	Collection(id string) (bool, error)
	Source(bucket string) (catalogue.Source, bool, error)
	// Resources lists all that came from a bucket; Deposits all that are not kept.
	Resources(ctx context.Context, bucket string, fn func(id string) bool) error
	Deposits(ctx context.Context, fn func(catalogue.Deposit) bool) error
	// Read returns a block that the region holds, from this server or another.
	Read(ctx context.Context, d block.Digest) ([]byte, error)
	// Keep puts a block on this server's shelf, if there is room for it.
	Keep(ctx context.Context, d block.Digest, p []byte) error
	// Owner is the server whose turn it is to get a block, or "" if it is this
	// one's. Ask gets the block from there.
	Owner(d block.Digest) string
	Ask(ctx context.Context, server string, d block.Digest, of string) ([]byte, error)
}

// ErrRefused is a command that the region's catalogue does not carry out.
var ErrRefused = errors.New("the region refuses it")

// Config says what of the centre the region takes.
type Config struct {
	// Buckets that the region takes; none: all that the gateway publishes.
	Buckets []string
}

const (
	askAgain    = 5 * time.Second  // after an error, at first
	askAgainMax = 2 * time.Minute  // and at most
	leaderPoll  = time.Second      // between looks whether this server leads
	longPoll    = 30 * time.Second // a question for changes stays open
	aboutEvery  = 10 * time.Minute
	atOnce      = 200 // changes in one command
)

// Uplink is ready to run.
type Uplink struct {
	cfg    Config
	region Region
	client *central.Client // questions and deposits
	bulk   *central.Client // blocks
	log    *slog.Logger
	met    metrics
	pokes  chan struct{}

	flights flights
	runs    runs
	lists   listCache

	mu       sync.Mutex
	key      ed25519.PublicKey
	last     Report            // but for Buckets
	followed map[string]Bucket // by name
}

// New returns an uplink through control, and through bulk for blocks, which both
// belong to the caller and lead to the gateway under any host name.
func New(cfg Config, region Region, control, bulk http.RoundTripper, log *slog.Logger, reg prometheus.Registerer) (*Uplink, error) {
	u := &Uplink{cfg: cfg, region: region, log: log.With("part", "uplink"), pokes: make(chan struct{}, 1), followed: map[string]Bucket{}}
	var err error
	if u.client, err = central.NewClient("https://central.invalid", control); err != nil {
		return nil, err
	}
	if u.bulk, err = central.NewClient("https://central.invalid", bulk); err != nil {
		return nil, err
	}
	u.met, err = newMetrics(reg)
	return u, err
}

// Poke tells that there is a new deposit. It never blocks.
func (u *Uplink) Poke() {
	select {
	case u.pokes <- struct{}{}:
	default:
	}
}

// answered reports whether an error came from the gateway itself.
func answered(err error) bool {
	return slices.ContainsFunc([]error{
		central.ErrGone, central.ErrNoBucket, central.ErrWrongBytes, central.ErrIncomplete, central.ErrInvalid, central.ErrWaiting,
	}, func(known error) bool { return errors.Is(err, known) })
}

// Run follows and brings up while this server leads, until ctx ends.
func (u *Uplink) Run(ctx context.Context) error {
	var wg sync.WaitGroup
	wg.Go(func() { u.whileLeading(ctx, u.follow) })
	wg.Go(func() { u.whileLeading(ctx, u.bringUp) })
	wg.Wait()
	return nil
}

// whileLeading runs fn whenever this server leads, and ends it when it does no
// longer.
func (u *Uplink) whileLeading(ctx context.Context, fn func(context.Context)) {
	for ctx.Err() == nil {
		if !u.region.Leads() {
			pause(ctx, leaderPoll)
			continue
		}
		during, end := context.WithCancel(ctx)
		var wg sync.WaitGroup
		wg.Go(func() {
			for during.Err() == nil && u.region.Leads() {
				pause(during, leaderPoll)
			}
			end()
		})
		fn(during)
		end()
		wg.Wait()
	}
}

// pause waits, and returns early when ctx ends.
func pause(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
	case <-t.C:
	}
}

// backoff is how long to wait after failures in a row.
func backoff(failures int) time.Duration {
	d := min(askAgain<<min(failures-1, 6), askAgainMax)
	return d/2 + rand.N(d)
}

// follow follows every bucket until ctx ends.
func (u *Uplink) follow(ctx context.Context) {
	running := make(map[string]bool)
	var wg sync.WaitGroup
	defer u.unfollow()
	defer wg.Wait()
	for failures := 0; ctx.Err() == nil; {
		about, err := u.client.About(ctx)
		if ctx.Err() != nil {
			return
		}
		u.said(ctx, err)
		if err == nil && len(about.Key) != ed25519.PublicKeySize {
			err = fmt.Errorf("the centre's key has %d bytes", len(about.Key))
		}
		if err != nil {
			failures++
			u.log.WarnContext(ctx, "the centre can't be asked what it publishes", "err", err)
			pause(ctx, backoff(failures))
			continue
		}
		failures = 0
		u.mu.Lock()
		u.key = about.Key
		u.mu.Unlock()
		for _, bucket := range about.Buckets {
			if !running[bucket] && (len(u.cfg.Buckets) == 0 || slices.Contains(u.cfg.Buckets, bucket)) {
				running[bucket] = true
				wg.Go(func() { u.followBucket(ctx, bucket) })
			}
		}
		pause(ctx, aboutEvery)
	}
}

func (u *Uplink) signer() ed25519.PublicKey {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.key
}
