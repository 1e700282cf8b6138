// Package outbox keeps what is added in a school until the ministry's centre has
// it: deposits, each a file with a few words about it.
//
// Add returns once every byte and the words are synced to this box's disk, line
// or no line. From then on the Outbox brings the deposit to the region whenever
// that can be reached (Run), and learns from the region's catalogue how it fares
// (Learn). A deposit's bytes are given up only after the centre has said that it
// keeps them, and only for room. The package decides nothing about who may add,
// shows nothing to people, and opens no connection: the region is behind an
// interface.
//
// Blocks lie in DIR/blocks (cache/block/fileblock), so a file that comes twice is
// stored once; what is known of a deposit lies in DIR/deposits/ID.
//
// # Metrics
//
//	preau_outbox_deposits{state}          deposits by state: box, region, central
//	preau_outbox_bytes                    bytes of the blocks held
//	preau_outbox_added_total{result}      what became of what was added: kept, refused, failed
//	preau_outbox_sent_total{result}       attempts to bring one to the region: ok, failed
//	preau_outbox_sent_bytes_total         bytes of blocks sent to the region
package outbox

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"preau/cache/block"
	"preau/cache/block/fileblock"
	"preau/replication/hold"
)

// State is how far a deposit has come. Each was acknowledged by those who hold it
// before it is told.
type State string

// The states, in their order.
const (
	OnBox     State = "box"     // on this box's disk
	InRegion  State = "region"  // on most of the region's servers, and agreed on
	InCentral State = "central" // in the ministry's object store, checked
)

// Sentinels.
var (
	// ErrFull is a deposit that would take more room than there is.
	ErrFull = errors.New("no room is left for deposits")
	// ErrTooLarge is a file that is larger than one deposit may be.
	ErrTooLarge = errors.New("the file is too large for a deposit")
	// ErrName is a name that no file can have.
	ErrName = errors.New("the file can't have that name")
	// ErrNotFound is a deposit that this box does not know.
	ErrNotFound = errors.New("there is no such deposit on this box")
	// ErrShort is an upload that ended before its announced end.
	ErrShort = errors.New("the file came in short: send it again")
)

// Deposit is one file that was added.
type Deposit struct {
	ID          string       `cbor:"1,keyasint" json:"id"`
	Filename    string       `cbor:"2,keyasint" json:"filename"`
	ContentType string       `cbor:"3,keyasint" json:"content_type"`
	Title       string       `cbor:"4,keyasint,omitempty" json:"title,omitzero"`
	Description string       `cbor:"5,keyasint,omitempty" json:"description,omitzero"`
	Collection  string       `cbor:"6,keyasint,omitempty" json:"collection,omitzero"`
	At          time.Time    `cbor:"7,keyasint" json:"at"`
	Length      int64        `cbor:"8,keyasint" json:"length"`
	SHA256      block.Digest `cbor:"9,keyasint" json:"sha256"`
	List        block.Digest `cbor:"10,keyasint,omitzero" json:"-"` // of its blocks; zero for an empty file
	State       State        `cbor:"11,keyasint" json:"state"`
	// Bucket, Key and ETag say where the centre keeps it.
	Bucket string `cbor:"12,keyasint,omitempty" json:"bucket,omitzero"`
	Key    string `cbor:"13,keyasint,omitempty" json:"key,omitzero"`
	ETag   string `cbor:"14,keyasint,omitempty" json:"etag,omitzero"`
	// Here: its bytes are still on this box.
	Here bool `cbor:"15,keyasint,omitempty" json:"here"`

	// Sent is how many bytes the region has of it so far; Waiting why it goes no
	// further. Both are for people and not kept.
	Sent    int64  `cbor:"-" json:"sent"`
	Waiting string `cbor:"-" json:"waiting,omitzero"`
}

// Words are what is said of a file by whoever adds it.
type Words struct {
	Filename    string
	ContentType string
	Title       string
	Description string
	Collection  string
}

// Region takes deposits. All methods may be called concurrently.
type Region interface {
	// Missing returns those of digests that the region lacks.
	Missing(ctx context.Context, digests []block.Digest) ([]block.Digest, error)
	// Put has the region keep a block.
	Put(ctx context.Context, d block.Digest, p []byte) error
	// Commit has the region agree on a deposit whose blocks it has. It returns nil
	// once they are on most of its servers and the catalogue names them; again
	// for one that it knows.
	Commit(ctx context.Context, d Deposit) error
}

// Refusal is an error of a Region that another try won't change soon.
type Refusal struct{ Reason string }

func (r *Refusal) Error() string { return r.Reason }

// Config says where deposits lie and how much they may take.
type Config struct {
	Dir string
	// Budget bounds the bytes of all deposits on the box; 0: only the disk does.
	Budget int64
	// ReserveBytes is left free on the disk; see fileblock.Config.
	ReserveBytes int64
}

// Outbox holds deposits. All methods may be called concurrently.
type Outbox struct {
	cfg    Config
	log    *slog.Logger
	blocks *fileblock.Store
	met    metrics
	pokes  chan struct{}

	adding sync.RWMutex // held for writing while blocks are removed
	litter atomic.Bool  // an upload has come to nothing

	mu       sync.Mutex
	deposits map[string]*Deposit
	lists    map[block.Digest][]hold.Entry // of deposits that are here
	reserved int64                         // bytes that uploads under way may take
	watchers map[chan struct{}]struct{}
}

// Open opens the outbox in cfg.Dir, which is made if it is not there, and removes
// the bytes of uploads that were cut off. The caller closes it.
func Open(cfg Config, log *slog.Logger, reg prometheus.Registerer) (*Outbox, error) {
	if cfg.Dir == "" || cfg.Budget < 0 {
		return nil, errors.New("outbox: no folder, or a budget below 0")
	}
	o := &Outbox{
		cfg: cfg, log: log.With("part", "outbox"), pokes: make(chan struct{}, 1),
		deposits: make(map[string]*Deposit), lists: make(map[block.Digest][]hold.Entry), watchers: make(map[chan struct{}]struct{}),
	}
	if err := os.MkdirAll(o.records(), 0o700); err != nil {
		return nil, fmt.Errorf("make folder of deposits: %w", err)
	}
	var err error
	o.blocks, err = fileblock.Open(fileblock.Config{Dir: filepath.Join(cfg.Dir, "blocks"), ReserveBytes: cfg.ReserveBytes}, log, reg)
	if err != nil {
		return nil, err
	}
	if err := o.load(); err != nil {
		return nil, errors.Join(err, o.blocks.Close())
	}
	if err := o.removeUnnamed(); err != nil {
		o.log.Warn("what is left of uploads that were cut off can't be removed", "err", err)
	}
	if o.met, err = newMetrics(reg, o); err != nil {
		return nil, errors.Join(err, o.blocks.Close())
	}
	return o, nil
}

// Close lets go of the folder.
func (o *Outbox) Close() error { return o.blocks.Close() }

func (o *Outbox) records() string { return filepath.Join(o.cfg.Dir, "deposits") }

// List returns all deposits, latest first.
func (o *Outbox) List() []Deposit {
	o.mu.Lock()
	defer o.mu.Unlock()
	out := make([]Deposit, 0, len(o.deposits))
	for _, d := range o.deposits {
		out = append(out, *d)
	}
	slices.SortFunc(out, func(a, b Deposit) int {
		if c := b.At.Compare(a.At); c != 0 {
			return c
		}
		return strings.Compare(a.ID, b.ID)
	})
	return out
}

// Get returns a deposit.
func (o *Outbox) Get(id string) (Deposit, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if d, ok := o.deposits[id]; ok {
		return *d, nil
	}
	return Deposit{}, fmt.Errorf("%w: %q", ErrNotFound, id)
}

// Watch returns a channel that has something to receive whenever a deposit has
// changed, until stop is called.
func (o *Outbox) Watch() (changed <-chan struct{}, stop func()) {
	c := make(chan struct{}, 1)
	o.mu.Lock()
	defer o.mu.Unlock()
	o.watchers[c] = struct{}{}
	return c, func() {
		o.mu.Lock()
		defer o.mu.Unlock()
		delete(o.watchers, c)
	}
}

// tell tells watchers. o.mu is held.
func (o *Outbox) tell() {
	for c := range o.watchers {
		select {
		case c <- struct{}{}:
		default:
		}
	}
}

// Poke has Run look for work now: the region can be reached again. It never
// blocks.
func (o *Outbox) Poke() {
	select {
	case o.pokes <- struct{}{}:
	default:
	}
}

// Learn tells what the region's catalogue says of a deposit: it is agreed on, or
// kept by the centre. A deposit of another box is none of ours.
func (o *Outbox) Learn(id string, state State, bucket, key, etag, waiting string) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	d, ok := o.deposits[id]
	if !ok || rank(state) < rank(d.State) {
		return nil
	}
	if d.Waiting != waiting {
		d.Waiting = waiting
		o.tell()
	}
	if state == d.State && d.Key == key && d.Bucket == bucket {
		return nil
	}
	now := *d
	now.State, now.Bucket, now.Key, now.ETag, now.Waiting, now.Sent = state, bucket, key, etag, waiting, d.Length
	if err := o.write(now); err != nil {
		return err
	}
	*d = now
	o.tell()
	return nil
}

// Forgotten tells that the region does not know a deposit that it had agreed on,
// as when its servers had to be set back: it is brought again. One that the
// centre keeps stays what it is.
func (o *Outbox) Forgotten(id string) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	d, ok := o.deposits[id]
	if !ok || d.State != InRegion {
		return nil
	}
	now := *d
	now.State, now.Waiting, now.Sent = OnBox, "the region has lost it", 0
	if err := o.write(now); err != nil {
		return err
	}
	*d = now
	o.tell()
	o.Poke()
	return nil
}

func rank(s State) int {
	switch s {
	case InRegion:
		return 1
	case InCentral:
		return 2
	}
	return 0
}
