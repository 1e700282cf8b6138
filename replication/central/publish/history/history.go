// Package history remembers for the ministry's gateways what has been published
// of one bucket: a log of all changes, and a table of what is there now.
//
// Both lie in a bucket of the object store that belongs to the gateways, so that
// any number of them can stand behind one name, come and go. The log is the
// truth. It is cut into batches, each an object that is named by the number of
// its first change and written on the condition that there is none: of several
// gateways exactly one wins a number, and the loser reads what it lost to before
// it goes on. The table is what the log comes to, up to some change: immutable
// pages, found through a root that is replaced by comparing and swapping. It can
// be made anew of the log at any time.
//
//	log/BUCKET/epoch              which history this is, and whose signatures are in it
//	log/BUCKET/EPOCH/NUMBER       a batch: CBOR (RFC 8949 §4.2.1) in Zstandard
//	table/BUCKET/root             how far the table is, and where its pages begin
//	table/BUCKET/pages/NAME       some ten thousand rows, in the order of their keys
//
// A log would grow for ever. Compact writes what of it still counts into the log
// of a new epoch, and ends the old one with a batch that names the new: from then
// on any gateway can finish what is left to do. So a log has about twice as many
// changes as its bucket has objects, and those that were agreed on (Due); it costs
// one reading and at most one writing of the log at a time, and every region reads
// the new one, some 500 bytes for each object. The old one stays for a day (Prune).
//
// A decision about a key (it is new, it is gone) is an Attempt: it begins with
// what the history says of the key and is appended only if that is still so. So
// the changes of one key are in the order in which the bucket was looked at,
// whichever gateway looked.
//
// The package does not look at the watched bucket, signs nothing and owns no
// goroutine. The gateways' bucket must not have versions switched on: Ceph does
// not honour If-None-Match on such a bucket.
package history

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"

	"preau/replication/central"
	"preau/replication/central/store"
)

var (
	// ErrOtherKey is a history whose changes were signed by another key.
	ErrOtherKey = errors.New("the history is signed by another key")
	// ErrEpoch is a history that has been replaced by another one: open it anew.
	ErrEpoch = errors.New("the history has been begun anew")
	// ErrDamaged is a log that can't be read.
	ErrDamaged = errors.New("the history is damaged")
)

// Config says where a history is kept and how much of it in memory.
type Config struct {
	System string // the gateways' own bucket
	Bucket string // whose history it is
	Key    ed25519.PublicKey
	// PageRows is how many rows a page of the table has, give or take a half.
	PageRows int
	// FoldRows is how many changed rows there may be that are not in the table
	// yet: they are kept in memory.
	FoldRows int
	// TailBytes bounds the latest changes that are kept in memory for readers.
	TailBytes int64
}

// DefaultConfig costs some 60 MiB of memory at worst.
func DefaultConfig() Config {
	return Config{PageRows: 10_000, FoldRows: 10_000, TailBytes: 16 << 20}
}

// Validate reports every mistake at once.
func (c Config) Validate() error {
	var errs []error
	bad := func(wrong bool, format string, args ...any) {
		if wrong {
			errs = append(errs, fmt.Errorf(format, args...))
		}
	}
	err := store.CheckBucket(c.System)
	bad(err != nil, "system bucket: %w", err)
	err = store.CheckBucket(c.Bucket)
	bad(err != nil, "bucket: %w", err)
	bad(c.System == c.Bucket, "bucket: %q is the gateways' own, it can't be published", c.Bucket)
	bad(len(c.Key) != ed25519.PublicKeySize, "key: not a public key of Ed25519")
	bad(c.PageRows < 2 || c.PageRows > maxPageRows/4, "page_rows: %d is not within 2 and %d", c.PageRows, maxPageRows/4)
	bad(c.FoldRows < 1, "fold_rows: %d is less than 1", c.FoldRows)
	bad(c.TailBytes < 0, "tail_bytes: %d is less than 0", c.TailBytes)
	return errors.Join(errs...)
}

// History is the history of one bucket. All methods may be called concurrently.
type History struct {
	cfg   Config
	st    store.Store
	epoch string

	// One at a time each, by contexts.
	appending, reading, folding gate

	mu      sync.Mutex
	head    uint64         // the latest change that is known
	batches int            // read or written since the table was last extended
	root    root           // of the table
	rootTag string         // its ETag; empty: there is none
	overlay map[string]Row // of the changes after root.Applied; some may be older
	tries   map[string][]*Attempt
	tail    []tailBatch // the latest batches, without gaps, up to head
	tailLen int64
	news    chan struct{} // closed when head moves
	cache   pageCache
}

type gate chan struct{}

func (g gate) enter(ctx context.Context) error {
	select {
	case g <- struct{}{}:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (g gate) leave() { <-g }

// Open reads the history of a bucket, or begins one, up to its latest change.
// The gateways' bucket must be there. Errors: ErrOtherKey, ErrDamaged, or the
// store's.
func Open(ctx context.Context, cfg Config, st store.Store) (*History, error) {
	if err := cfg.Validate(); err != nil {
		return nil, fmt.Errorf("history config: %w", err)
	}
	h, err := open(ctx, cfg, st)
	for range 3 {
		if !errors.Is(err, ErrEpoch) {
			break
		}
		h, err = open(ctx, cfg, st) // the one that has just taken its place
	}
	return h, err
}

func open(ctx context.Context, cfg Config, st store.Store) (*History, error) {
	h := &History{
		cfg: cfg, st: st, appending: make(gate, 1), reading: make(gate, 1), folding: make(gate, 1),
		overlay: map[string]Row{}, tries: map[string][]*Attempt{}, news: make(chan struct{}), cache: pageCache{limit: 8},
	}
	e, _, err := h.readEpoch(ctx)
	if errors.Is(err, store.ErrNotFound) {
		e, err = h.makeEpoch(ctx)
	}
	if err != nil {
		return nil, fmt.Errorf("open the history of %s: %w", cfg.Bucket, err)
	}
	if !bytes.Equal(e.Key, cfg.Key) {
		return nil, fmt.Errorf("open the history of %s: %w: give this gateway the key file of the others, or remove the object %s from bucket %s to begin a new history",
			cfg.Bucket, ErrOtherKey, h.epochName(), cfg.System)
	}
	h.epoch = e.ID
	if err := h.loadRoot(ctx); err != nil {
		return nil, fmt.Errorf("open the history of %s: %w", cfg.Bucket, err)
	}
	h.head = h.root.Applied
	if err := h.Refresh(ctx); err != nil {
		return nil, fmt.Errorf("open the history of %s: %w", cfg.Bucket, err)
	}
	return h, nil
}

func (h *History) epochName() string { return "log/" + h.cfg.Bucket + "/epoch" }
func (h *History) rootName() string  { return "table/" + h.cfg.Bucket + "/root" }
func (h *History) pagesDir() string  { return "table/" + h.cfg.Bucket + "/pages/" }
func (h *History) logDir() string    { return "log/" + h.cfg.Bucket + "/" }

func (h *History) batchName(first uint64) string { return h.batchOf(h.epoch, first) }

func (h *History) batchOf(epoch string, first uint64) string {
	return fmt.Sprintf("%s%s/%016d", h.logDir(), epoch, first)
}

// readEpoch reads which history there is, and the ETag of where that is written.
func (h *History) readEpoch(ctx context.Context) (epoch, string, error) {
	p, tag, err := h.get(ctx, h.epochName(), 4<<10)
	if err != nil {
		return epoch{}, "", err
	}
	e, err := decodeEpoch(p)
	return e, tag, err
}

func (h *History) makeEpoch(ctx context.Context) (epoch, error) {
	var id [10]byte
	rand.Read(id[:]) // never fails
	p, err := encode(epoch{Version: version, ID: hex.EncodeToString(id[:]), Key: h.cfg.Key})
	if err != nil {
		return epoch{}, err
	}
	_, err = h.put(ctx, h.epochName(), p, store.Condition{Absent: true})
	if err != nil && !errors.Is(err, store.ErrChanged) {
		return epoch{}, err
	}
	now, _, err := h.readEpoch(ctx)
	return now, err
}

// Current returns ErrEpoch if another history has taken the place of this one.
func (h *History) Current(ctx context.Context) error {
	e, _, err := h.readEpoch(ctx)
	if errors.Is(err, store.ErrNotFound) || err == nil && e.ID != h.epoch {
		return fmt.Errorf("history of %s: %w", h.cfg.Bucket, ErrEpoch)
	}
	return err
}

// Epoch names the history.
func (h *History) Epoch() string { return h.epoch }

// Head is the number of the latest change that is known here, and news is closed
// when there is a later one.
func (h *History) Head() (head uint64, news <-chan struct{}) {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.head, h.news
}

// Behind is how many changed rows and how many batches are not in the table yet.
func (h *History) Behind() (rows, batches int) {
	h.mu.Lock()
	defer h.mu.Unlock()
	return len(h.overlay), h.batches
}

// get reads an object of at most limit bytes.
func (h *History) get(ctx context.Context, name string, limit int64) ([]byte, string, error) {
	body, info, err := h.st.Get(ctx, h.cfg.System, name, 0, -1, "")
	if err != nil {
		return nil, "", fmt.Errorf("read %s: %w", name, err)
	}
	defer body.Close()
	p, err := io.ReadAll(io.LimitReader(body, limit+1))
	switch {
	case err != nil:
		return nil, "", fmt.Errorf("read %s: %w", name, err)
	case int64(len(p)) > limit:
		return nil, "", fmt.Errorf("read %s: %w: more than %d bytes", name, ErrDamaged, limit)
	case int64(len(p)) != info.Size:
		return nil, "", fmt.Errorf("read %s: %w: %d of %d bytes came", name, store.ErrUnavailable, len(p), info.Size)
	}
	return p, info.ETag, nil
}

func (h *History) put(ctx context.Context, name string, p []byte, c store.Condition) (store.Info, error) {
	info, err := h.st.Put(ctx, h.cfg.System, name, bytes.NewReader(p), int64(len(p)), store.Options{ContentType: "application/octet-stream"}, c)
	if err != nil {
		return store.Info{}, fmt.Errorf("write %s: %w", name, err)
	}
	return info, nil
}

// Record is one change as the log keeps it.
type Record struct {
	Change central.Change
	// Place tells this change from any other one of its key.
	Place uint64
	// Meta is the Fingerprint of the version's metadata.
	Meta uint64
	// Held is set if there is a version that must not be published; Change is
	// then a deletion.
	Held *Held
}

// Held says of which version that is, and why.
type Held struct {
	ETag     string    `cbor:"1,keyasint"`
	Size     int64     `cbor:"2,keyasint"`
	Modified time.Time `cbor:"3,keyasint"`
	Reason   string    `cbor:"4,keyasint"`
}
