// Package outbox keeps what is added in a school until the ministry's centre has
// it: deposits, each a file with a few words about it.
//
// Add returns once every byte and the words are synced to this box's disk, line
// or no line. From then on the Outbox brings the deposit to the region whenever
// that can be reached (Run), and learns from the region's catalogue how it fares
// (Learn). A deposit's bytes are given up only after the centre has said that it
// keeps them, and only for room. The package decides nothing about who may add,
// shows nothing to people, and opens no connection: the region and the school's
// other boxes are behind interfaces.
//
// Blocks lie in DIR/blocks (cache/block/fileblock), so a file that comes twice is
// stored once; what is known of a deposit lies in DIR/deposits/ID.
//
// # Two boxes
//
// Where the school has other boxes, RunCopies has one of them keep a copy of what
// the region does not have yet: a guest of that box. Copied waits for it, for a
// while: whoever adds a file is told that it is kept once a second box has synced
// it too or, if that takes too long, once this one has, and the copy goes on
// behind. It is not sent while the upload is coming in: what breaks off would have
// to be cleared on two boxes, neither room nor name could be told before the
// end, and the LAN carries in the few seconds of Copied what most files have.
//
// Guests lie among the same blocks, and what is known of them in DIR/guests/BOX/ID.
// A box can put them under its own name only. They may take half of the budget,
// and go when the region has agreed on the deposit: from then on most of its
// servers keep it, and a copy here would guard against nothing.
//
// A guest whose box was not seen for a while, or whose box says that it has lost
// it, is taken over: it becomes a deposit of this box, with the same id, words and
// content, and goes the way of all of them, to the region and to another box. The
// region takes an id once: who comes second with the same is told that it is done,
// whichever box of the school came first, and the record names the one that did.
// So whatever becomes of the first box it is there once in the end, and neither
// box waits for the other. What differs in a byte is refused, and its owner brings
// it under another id (Deposit.As), so nobody can stand in another's way either.
// What came from a box that was revoked is not brought, but kept for a month.
//
// A box that lost its disk does not take its guests back: it has no way to tell
// its own from what a neighbour made up, and would bring that in its own name. It
// says that it has lost them, and they are taken over.
//
// An id is made of what it names. So what calls itself as another box's deposit is
// called is that deposit, and a link to it may be followed on any box that has it
// (Look, Open). Of what was added by an older version, whose ids say nothing, no
// copies are kept.
//
// # Metrics
//
//	preau_outbox_deposits{state}          deposits by state: box, region, central
//	preau_outbox_bytes                    bytes of the blocks held
//	preau_outbox_added_total{result}      what became of what was added: kept, refused, failed
//	preau_outbox_sent_total{result}       attempts to bring one to the region: ok, failed
//	preau_outbox_sent_bytes_total         bytes of blocks sent to the region
//	preau_outbox_alone                    deposits that the region lacks and no other box is known to have
//	preau_outbox_copies_total{result}     attempts to have another box keep one: ok, full, failed
//	preau_outbox_copied_bytes_total       bytes of blocks sent to other boxes
//	preau_outbox_guests                   copies kept for other boxes
//	preau_outbox_guest_bytes              what they may take
//	preau_outbox_taken_over_total         guests that became deposits of this box
package outbox

import (
	"cmp"
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
	// ErrTaken is an id under which the region has another deposit.
	ErrTaken = errors.New("the region has another deposit of that id")
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
	// As is what the region calls it, if that had another under its id.
	As string `cbor:"16,keyasint,omitempty" json:"region_id,omitzero"`
	// Held names the boxes that keep a copy.
	Held []string `cbor:"17,keyasint,omitempty" json:"also_on,omitzero"`
	// From is the box on which it was added, if that was another one.
	From string `cbor:"18,keyasint,omitempty" json:"from,omitzero"`
	// Nonce tells two deposits apart that are else the same; 0 in those whose id
	// was not made of what they are.
	Nonce uint64 `cbor:"19,keyasint,omitempty" json:"-"`

	// Sent is how many bytes the region has of it so far; Waiting why it goes no
	// further; Copies on how many boxes of the school it is, as far as is known.
	// They are for people and not kept.
	Sent    int64  `cbor:"-" json:"sent"`
	Waiting string `cbor:"-" json:"waiting,omitzero"`
	Copies  int    `cbor:"-" json:"copies"`
}

// RegionID is what the region calls it.
func (d *Deposit) RegionID() string { return cmp.Or(d.As, d.ID) }

// Same reports whether two are the same file with the same words, whoever
// brings them.
func (d *Deposit) Same(other *Deposit) bool {
	return d.SHA256 == other.SHA256 && d.Length == other.Length && d.Filename == other.Filename && d.ContentType == other.ContentType &&
		d.Title == other.Title && d.Description == other.Description && d.Collection == other.Collection && d.At.Equal(other.At)
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
	// Commit has the region agree on a deposit whose blocks it has, under its
	// RegionID. It returns nil once they are on most of its servers and the
	// catalogue names them; again for one that it knows. It returns an error that
	// matches ErrTaken if there is another of that id.
	Commit(ctx context.Context, d Deposit) error
	// Barred reports whether what comes from a box must not be brought, as it was
	// revoked.
	Barred(box string) bool
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
	// Away is how long another box must not have been seen before what it kept is
	// copied elsewhere, and what was kept for it is taken over; 0: DefaultAway.
	Away time.Duration
	// KeepRevoked is how long what came from a box is kept after that was revoked;
	// 0: DefaultKeepRevoked.
	KeepRevoked time.Duration
}

// What a Config says by saying nothing.
const (
	// DefaultAway is longer than it takes to start a box anew.
	DefaultAway = 10 * time.Minute
	// DefaultKeepRevoked is long enough for IT to look at it.
	DefaultKeepRevoked = 30 * 24 * time.Hour
)

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
	renamed  map[string]string // ids by As

	guests  guests
	copying copying
}

// Open opens the outbox in cfg.Dir, which is made if it is not there, and removes
// the bytes of uploads that were cut off. The caller closes it.
func Open(cfg Config, log *slog.Logger, reg prometheus.Registerer) (*Outbox, error) {
	if cfg.Dir == "" || cfg.Budget < 0 || cfg.Away < 0 || cfg.KeepRevoked < 0 {
		return nil, errors.New("outbox: no folder, or a budget or time below 0")
	}
	o := &Outbox{
		cfg: cfg, log: log.With("part", "outbox"), pokes: make(chan struct{}, 1),
		deposits: make(map[string]*Deposit), lists: make(map[block.Digest][]hold.Entry), watchers: make(map[chan struct{}]struct{}),
		renamed: make(map[string]string), guests: newGuests(), copying: newCopying(),
	}
	o.cfg.Away, o.cfg.KeepRevoked = cmp.Or(cfg.Away, DefaultAway), cmp.Or(cfg.KeepRevoked, DefaultKeepRevoked)
	for _, dir := range []string{o.records(), o.guestRecords()} {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return nil, fmt.Errorf("make folder of deposits: %w", err)
		}
	}
	var err error
	o.blocks, err = fileblock.Open(fileblock.Config{Dir: filepath.Join(cfg.Dir, "blocks"), ReserveBytes: cfg.ReserveBytes}, log, reg)
	if err != nil {
		return nil, err
	}
	if err := errors.Join(o.load(), o.loadGuests()); err != nil {
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
		out = append(out, o.shown(d))
	}
	slices.SortFunc(out, latestFirst)
	return out
}

func latestFirst(a, b Deposit) int {
	if c := b.At.Compare(a.At); c != 0 {
		return c
	}
	return strings.Compare(a.ID, b.ID)
}

// Get returns a deposit.
func (o *Outbox) Get(id string) (Deposit, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if d, ok := o.deposits[id]; ok {
		return o.shown(d), nil
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

// Poke has Run and RunCopies look for work now: the region can be reached again,
// or another box has come. It never blocks.
func (o *Outbox) Poke() {
	for _, c := range []chan struct{}{o.pokes, o.copying.pokes} {
		select {
		case c <- struct{}{}:
		default:
		}
	}
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
