// Package follow is a box's part in its region: it follows the feed, keeps its
// own copy of what concerns its school, and does what that says.
//
// What is purged is gone from the cache before the region hears that the box
// knows of it. What is published can be had on the box under /r/, and is
// fetched ahead where pins, subscriptions or hints say so, within the hours and
// at the rate that the region's policy sets; what several boxes of a school want
// crosses the line once (SetNear, NearBlocks). Sites are asked for by way of the
// region's servers. Counts of what is asked for go up, above a threshold, and
// name no device. What is added on the box is brought to the region.
//
// In memory is what the box wants to hold, not what there is: resources are
// looked up in the copy, and an index beside it tells which ones a collection
// has.
//
// A box without its region goes on with what it has; nothing here waits for the
// region when the box starts. The package decides nothing about what may be
// stored or served, and opens no port.
//
// Metrics: preau_follow_acted_changes_total, preau_follow_purged_objects_total,
// preau_follow_wanted_items, preau_follow_present_items,
// preau_follow_prefetch_failures_total, preau_follow_counts_total{result="taken|failed"};
// of the school's other boxes:
// preau_follow_neighbour_asks_total{result="got|absent|busy|silent|lost|altered|failed|given_up"},
// preau_follow_neighbour_requests_total{result="held|fetched|absent|busy|failed|refused"},
// preau_follow_neighbour_sent_bytes_total.
package follow

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"preau/cache/block"
	"preau/cache/parent"
	"preau/cache/popular"
	"preau/cache/shelf"
	"preau/cache/storage"
	"preau/node/lifecycle"
	"preau/node/obs"
	"preau/replication/catalogue"
	"preau/replication/enrol"
	"preau/replication/feed"
	"preau/replication/identity"
	"preau/replication/kv"
	"preau/replication/wire"
)

// ErrAlone reports a box that was not enrolled in any region.
var ErrAlone = enrol.ErrNotEnrolled

// Config says where things are, and how often is looked.
type Config struct {
	Data  string   // the box's folder
	Sites []string // by name
	// CountsEvery is how often counts go up, give or take half.
	CountsEvery time.Duration
	// Talking, unless nil, reports whether people talk to each other over the
	// school's line: what is fetched ahead, and deposits, wait meanwhile.
	Talking func() bool
	// Reach, unless nil, reports whether any web site can be reached, if that is known,
	// and has those asked soon that have not shown it since then. By it the box knows
	// its own line to be back.
	Reach func(since time.Time) (up, known bool)
	// Wire and Feed are for tests; their zero values are the defaults.
	Dial wire.DialConfig
	Feed feed.FollowerConfig
}

// DefaultConfig follows with the identity in a box's data folder.
func DefaultConfig(data string) Config {
	return Config{
		Data: data, CountsEvery: time.Hour,
		Dial: dialConfig(), Feed: feed.DefaultFollowerConfig(),
	}
}

// dialConfig is patient with servers to which all boxes come back at once.
func dialConfig() wire.DialConfig {
	cfg := wire.DefaultDialConfig()
	cfg.HandshakeTimeout = 30 * time.Second
	return cfg
}

// feedSilence is how long the feed's connection may be silent before its other
// end is asked whether it is there.
const feedSilence = 40 * time.Second

// IdentityDir is where a box's identity lies below its data folder.
func IdentityDir(data string) string { return filepath.Join(data, "identity") }

// Follower is a box's part in its region, ready to run.
type Follower struct {
	cfg       Config
	log       *slog.Logger
	me        *enrol.Store
	id        identity.Identity
	store     store
	copy      mirror
	index     *index
	feed      *feed.Follower
	renewer   *enrol.Renewer
	dialer    *wire.Dialer
	feeder    *wire.Dialer // of the feed
	parents   *parents
	supply    *supply
	shelf     *shelf.Shelf
	stock     stock // the same
	block     func(ctx context.Context, d block.Digest) ([]byte, error)
	notAfter  func() time.Time // of the box's certificate
	counts    *popular.Counter
	countBase uint64 // of the numbers of digests
	met       *metrics
	poke      chan struct{} // what is wanted may have changed
	boxes     chan struct{} // which boxes the school has may have changed
	added     bringing
	news      news // of what is published

	mu    sync.Mutex
	known known
	rate  *shelf.Rate // of what is fetched ahead over the line, nil: never yet
	lease lease
	feeds map[string]*wire.Transport // by address
	held  feed.Held
	// listing has the lists of blocks that are being fetched.
	listing map[block.Digest]chan struct{}

	reading  sync.Mutex  // of resources, into known; taken before mu
	reopened atomic.Bool // the storage is another one
	pinsFull atomic.Bool // there is no room for all that is pinned

	storage atomic.Pointer[storage.Storage] // nil while there is no room for one
	acting  sync.Mutex                      // one at a time does what the copy says
	acted   feed.Seq                        // what was done; guarded by acting
}

// mirror is the copy of what the region has, as feed.Copy keeps it.
type mirror interface {
	Get(kind catalogue.Kind, id string) (catalogue.Record, error)
	List(kind catalogue.Kind, fn func(r catalogue.Record) (more bool)) error
	Changes(after feed.Seq, fn func(r catalogue.Record, seq feed.Seq) (more bool)) error
	OnChange(fn func(changes []catalogue.Record, upto feed.Seq))
	Forget(upto feed.Seq) error
	Doubt() time.Time
	Whole() bool
}

// New opens what a box knows of its region. The error matches ErrAlone if it
// has none. A follower that is made must be run, or closed.
func New(cfg Config, log *slog.Logger, reg prometheus.Registerer) (_ *Follower, err error) {
	me, err := enrol.OpenStore(IdentityDir(cfg.Data))
	if err != nil {
		return nil, err
	}
	f := &Follower{
		cfg: cfg, log: log.With("part", "follow"), me: me, id: me.Identity(),
		poke: make(chan struct{}, 1), boxes: make(chan struct{}, 1), added: newBringing(), feeds: map[string]*wire.Transport{}, listing: map[block.Digest]chan struct{}{},
	}
	f.notAfter = func() time.Time { return me.Certificate().NotAfter }
	if f.id.Role != identity.Box {
		return nil, fmt.Errorf("%s holds the identity of a %s, and this is a box: enrol it with a token for a box", me.Dir(), f.id.Role)
	}
	if f.met, err = newMetrics(reg); err != nil {
		return nil, err
	}
	if f.dialer, err = wire.NewDialer(me.Credentials(), cfg.Dial); err != nil {
		return nil, err
	}
	// The feed has a heartbeat of its own. Asking more often whether the server
	// is there costs that a good part of what a quiet box costs it.
	quiet := cfg.Dial
	quiet.Silence = max(quiet.Silence, feedSilence)
	// A connection that is quiet for hours costs a server half of the memory over
	// TCP, and it carries too little to gain from QUIC.
	quiet.QUIC = false
	if f.feeder, err = wire.NewDialer(me.Credentials(), quiet); err != nil {
		return nil, err
	}
	if f.renewer, err = enrol.NewRenewer(me, f.dialer, enrol.DefaultRenewConfig(), log, reg); err != nil {
		return nil, err
	}
	if err := reg.Register(f.dialer.Collector(f.feeder)); err != nil {
		return nil, fmt.Errorf("register metrics of the paths: %w", err)
	}
	f.parents = newParents(f.dialer)
	f.supply = newSupply(func(ctx context.Context, of string, d block.Digest) ([]byte, error) {
		return f.parents.block(withOf(ctx, of), d)
	}, f.log, f.met)
	f.block = f.supply.list
	if f.shelf, err = shelf.New(shelf.DefaultConfig(), published{f}, f.storage.Load, blockSource{f.supply}, log, reg); err != nil {
		return nil, err
	}
	f.stock = f.shelf
	if err := f.openCounts(); err != nil {
		return nil, err
	}
	copied, err := f.openCopy(filepath.Join(cfg.Data, "region"))
	if err != nil {
		return nil, err
	}
	f.copy = copied
	defer func() {
		if err != nil {
			err = errors.Join(err, f.store.Close())
		}
	}()
	if err := f.load(); err != nil {
		return nil, err
	}
	fc := cfg.Feed
	fc.Box, fc.Version = f.id, obs.ReadBuild().Version
	if f.feed, err = feed.NewFollower(fc, copied, region{f}, log, reg); err != nil {
		return nil, err
	}
	return f, nil
}

// openCopy opens what is known of the region. A copy that makes no sense is
// begun anew: the region has it all. What was acted upon is then not known
// either, so everything is done again.
func (f *Follower) openCopy(dir string) (*feed.Copy, error) {
	for again := false; ; again = true {
		var err error
		if f.store, err = openStore(dir, f.log); err != nil {
			return nil, err
		}
		copied, err := feed.OpenCopy(f.store)
		if err == nil {
			return copied, nil
		}
		err = errors.Join(err, f.store.Close())
		if again || !errors.Is(err, kv.ErrDamaged) {
			return nil, err
		}
		f.log.Error("what was known of the region makes no sense and is fetched again", "err", err)
		if err := os.RemoveAll(dir); err != nil {
			return nil, fmt.Errorf("remove damaged copy: %w", err)
		}
	}
}

// Identity is who this box is in its region.
func (f *Follower) Identity() identity.Identity { return f.id }

// Credentials are what this box shows, and whom it believes.
func (f *Follower) Credentials() wire.Credentials { return f.me.Credentials() }

// Parents lists the region's servers as parents of a site.
func (f *Follower) Parents(site string) parent.List { return f.parents.of(site) }

// Shelf serves what the region has published.
func (f *Follower) Shelf() http.Handler { return f.leased(f.shelf) }

// Connected is the server that is followed, if any.
func (f *Follower) Connected() (server string, since time.Time) {
	name, since := f.feed.Connected()
	return string(name), since
}

// Add adds the follower's parts to group: its disk first.
func (f *Follower) Add(group *lifecycle.Group) {
	group.Add("copy of the region", 10*time.Second, f.store.run)
	group.Add("certificate", 5*time.Second, f.renewer.Run)
	group.Add("prefetch", 10*time.Second, f.runPrefetch)
	group.Add("blocks for other boxes", 5*time.Second, f.supply.run)
	group.Add("counts", 5*time.Second, f.runCounts)
	group.Add("lease", 5*time.Second, f.runLease)
	group.Add("deposits", 10*time.Second, f.runDeposits)
	group.Add("line", time.Second, f.runLine)
	group.Add("feed", 10*time.Second, func(ctx context.Context) error {
		f.copy.OnChange(func(changes []catalogue.Record, upto feed.Seq) { f.onChange(ctx, changes, upto) })
		return errors.Join(f.feed.Run(ctx), f.closeWays())
	})
}

// Close closes a follower that was never run.
func (f *Follower) Close() error { return errors.Join(f.store.Close(), f.closeWays()) }

func (f *Follower) closeWays() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	errs := []error{f.parents.Close()}
	for _, t := range f.feeds {
		errs = append(errs, t.Close())
	}
	f.feeds = map[string]*wire.Transport{}
	return errors.Join(errs...)
}

// region is the follower as the feed needs it.
type region struct{ f *Follower }

// Servers implements feed.Region: as the copy knows them, or as they were when
// the box was enrolled.
func (r region) Servers() []feed.Target {
	targets := r.f.parents.targets()
	if len(targets) == 0 {
		targets = r.f.me.Servers()
	}
	out := make([]feed.Target, len(targets))
	for i, t := range targets {
		out[i] = feed.Target{Name: t.Name, URL: "https://" + t.Address}
	}
	return out
}

// Client implements feed.Region. The feed has connections of its own: it must
// not wait behind bulk.
func (r region) Client(t feed.Target) http.RoundTripper {
	r.f.mu.Lock()
	defer r.f.mu.Unlock()
	key := string(t.Name) + "@" + t.URL
	if r.f.feeds[key] == nil {
		r.f.feeds[key] = r.f.feeder.Transport(wire.Target{Name: t.Name, Address: t.URL[len("https://"):]})
	}
	return feedWay{r.f.feeds[key], r.f.parents, string(t.Name)}
}

// feedWay has those who ask for bytes know too which server answers the feed: after
// a cut they need not find out for themselves which one is gone.
type feedWay struct {
	http.RoundTripper

	parents *parents
	name    string
}

// RoundTrip implements http.RoundTripper.
func (w feedWay) RoundTrip(r *http.Request) (*http.Response, error) {
	resp, err := w.RoundTripper.RoundTrip(r)
	if !errors.Is(err, context.Canceled) { // the feed gave up of its own
		w.parents.heard(w.name, err)
	}
	return resp, err
}

// Trust implements feed.Region. The box's clock may be wrong, so a server's
// certificate is checked for the time it was made for.
func (r region) Trust() (*x509.CertPool, time.Time) {
	pool := x509.NewCertPool()
	pool.AddCert(r.f.me.Authority())
	return pool, time.Now()
}

// Held implements feed.Region.
func (r region) Held() feed.Held {
	r.f.mu.Lock()
	defer r.f.mu.Unlock()
	return r.f.held
}
