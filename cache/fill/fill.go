// Package fill is the one fetch of an object that is under way, and its many
// readers.
//
// The first reader starts the fetch, all others follow it as bytes arrive. A
// range asked for in the middle of a body that is being filled is fetched at
// once on its own and never again. A fetch that breaks goes on from where it
// was; what is held when all readers have left is kept for the next one. Bytes
// of two versions are never mixed: a reader either gets every byte of the
// version it began with, or an error.
//
// What another keeps, and lends, is but passed on to its readers (Spec.Pass): it is
// in memory while they follow its fetch, and nothing of it is stored until it turns
// out to be wanted.
//
// The package knows no HTTP: a Source opens byte ranges of one version, a
// block.Store keeps what comes, a save function keeps the manifest. It decides
// neither what may be stored nor who may read it.
//
// Metrics: preau_fill_bodies, preau_fill_fetches, preau_fill_fetches_total,
// preau_fill_resumes_total, preau_fill_refetched_blocks_total,
// preau_fill_duplicate_bytes_total, preau_fill_failures_total{cause}.
package fill

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"preau/cache/block"
)

var (
	// ErrChanged reports that the authority no longer has the version that was
	// being read. What is held of it stays readable.
	ErrChanged = errors.New("the body changed at its source")
	// ErrUnavailable reports that bytes that are not held could not be fetched
	// in the time readers can be made to wait.
	ErrUnavailable = errors.New("the rest of the body can't be fetched now")
	// ErrStopped reports that the box is shutting down.
	ErrStopped = errors.New("fills are stopped")
)

// Stream is an answer of a Source: bytes of the body from From on.
type Stream struct {
	// Body may be a Compared: then its blocks are not hashed once more; or a Giver,
	// which are not copied either.
	Body io.ReadCloser
	From int64
	// To is where the stream ends, -1 if that is not known before it does.
	To int64
	// Total is the length of the whole body, block.UnknownLength if not said.
	Total int64
	// Proven says that the authority vouched (by a strong validator) that these
	// are bytes of the version asked for. A stream that is not proven must begin
	// at 0: its bytes are compared with all that is held before any new one is
	// believed.
	Proven bool
}

// Compared is a stream's body whose blocks have been compared with their digests
// before any of their bytes was given. The digest that it says becomes the name
// under which a block is stored.
type Compared interface {
	// Digest is that of block i of the body (on the grid of block.Size from its
	// beginning), if the byte that was read last is the block's last and all of it
	// was compared. It is called between reads.
	Digest(i int) (block.Digest, bool)
}

// Giver is a Compared that gives whole blocks with their memory.
type Giver interface {
	Compared
	// Give returns the next length bytes, if they are a whole block of a body whose
	// length is known. The chunks are the caller's from then on. Else they are nil,
	// and what comes next is to be read. It waits no longer than Read does.
	Give() (chunks []*block.Chunk, length int64)
}

// Source opens parts of one version of a body.
type Source interface {
	// Open returns a stream that holds the byte at from and, if the source can,
	// ends before to (-1: the end of the body). A source that can't do ranges
	// returns a stream from 0. If the body ends at or before from, the stream is
	// empty and its Total says so. Errors: ErrChanged if that version is gone;
	// any other error is taken for a passing one and tried again.
	Open(ctx context.Context, from, to int64) (*Stream, error)
	// Ranges reports whether Open can begin elsewhere than at 0.
	Ranges() bool
	// Ready returns a channel that is closed while it makes sense to try; used
	// between attempts so that a fill goes on the moment the line is back.
	Ready() <-chan struct{}
}

// Config says how patient fills are. Start from DefaultConfig.
type Config struct {
	// Patience is how long readers are kept waiting for a byte while the
	// source can't be reached, or sends nothing.
	Patience time.Duration
	// SaveEvery is how often the manifest of a running fill is saved: what a
	// kill -9 may cost.
	SaveEvery time.Duration
	// AskedLately is the time in which a second reader of a body makes it worth
	// finishing with no reader left.
	AskedLately time.Duration
	// LittleLeft is the part of a body in per cent, and never less than one
	// block, that is fetched to the end with no reader left.
	LittleLeft int
	// Near, Skip and Fetches are the planner's distances in bytes, and its
	// bound on fetches for one body.
	Near, Skip int64
	Fetches    int
}

// DefaultConfig returns what suits a school's line of 2 to 100 Mbit/s.
func DefaultConfig() Config {
	return Config{
		Patience: 60 * time.Second, SaveEvery: time.Second, AskedLately: time.Minute,
		LittleLeft: 10, Near: 256 << 10, Skip: 4 << 10, Fetches: 64,
	}
}

// Validate reports every mistake at once.
func (c Config) Validate() error {
	var errs []error
	for name, d := range map[string]time.Duration{"patience": c.Patience, "save_every": c.SaveEvery, "asked_lately": c.AskedLately} {
		if d <= 0 {
			errs = append(errs, fmt.Errorf("%s: must be longer than 0", name))
		}
	}
	if c.LittleLeft < 0 || c.LittleLeft > 100 {
		errs = append(errs, errors.New("little_left: must be 0 to 100 per cent"))
	}
	if c.Near < 0 || c.Skip < 0 {
		errs = append(errs, errors.New("near, skip: must not be negative"))
	}
	if c.Fetches < 1 {
		errs = append(errs, errors.New("fetches: must be at least 1"))
	}
	return errors.Join(errs...)
}

// Manager owns all bodies being read and all fetches for them.
type Manager struct {
	cfg     Config
	store   block.Store
	log     *slog.Logger
	metrics *metrics
	memory  *memory

	ctx    context.Context // of every fetch; ends with Close
	cancel context.CancelCauseFunc
	work   sync.WaitGroup

	closing sync.Mutex // held while Close runs

	mu      sync.Mutex // nothing else is locked or waited for while it is held
	byID    map[ID]*Body
	loading map[ID]chan struct{} // closed when the load is over
	closed  bool
}

// New checks cfg and registers metrics. Close ends what the manager runs.
func New(cfg Config, store block.Store, log *slog.Logger, reg prometheus.Registerer) (*Manager, error) {
	if err := cfg.Validate(); err != nil {
		return nil, fmt.Errorf("fill config: %w", err)
	}
	m := &Manager{cfg: cfg, store: store, memory: newMemory(), log: log.With("part", "fill"), byID: map[ID]*Body{}, loading: map[ID]chan struct{}{}}
	m.ctx, m.cancel = context.WithCancelCause(context.Background())
	var err error
	if m.metrics, err = newMetrics(reg); err != nil {
		return nil, err
	}
	return m, nil
}

// Run lives until ctx ends, then stops every fetch, keeps what it had, and
// returns with nothing left running.
func (m *Manager) Run(ctx context.Context) error {
	<-ctx.Done()
	m.Close()
	return nil
}

// Close stops every fetch, fails every waiting reader with ErrStopped, saves
// what is held and returns when all of that is done.
func (m *Manager) Close() {
	m.closing.Lock()
	defer m.closing.Unlock()
	m.mu.Lock()
	m.closed = true
	bodies := slices.Collect(maps.Values(m.byID))
	m.mu.Unlock()
	m.cancel(ErrStopped)
	for _, b := range bodies {
		b.fail(ErrStopped)
	}
	m.work.Wait()
	for _, b := range bodies {
		b.settle()
		b.drop()
		b.disown()
		b.leave()
	}
}

// start counts one more thing for Close to wait for; false once it has begun.
func (m *Manager) start() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.closed {
		return false
	}
	m.work.Add(1)
	return true
}

// Bodies calls fn for every body that is being read or fetched.
func (m *Manager) Bodies(fn func(*Body)) {
	m.mu.Lock()
	bodies := slices.Collect(maps.Values(m.byID))
	m.mu.Unlock()
	for _, b := range bodies {
		fn(b)
	}
}

// InUse reports whether the body named id is being read or fetched.
func (m *Manager) InUse(id ID) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.byID[id] != nil || m.loading[id] != nil
}
