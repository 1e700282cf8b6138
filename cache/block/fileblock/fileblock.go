// Package fileblock keeps blocks as files, one each, for bytes that must not be
// lost: what a region holds for its boxes, rather than what a cache may forget.
//
// A block lies in DIR/xx/DIGEST. Put writes it to DIR/tmp, syncs it, renames it
// and syncs its folder before it returns, so that an acknowledged block is there
// after a power cut and a half-written one never is. What is read is checked
// against the digest whenever it is opened, unless the same file was checked
// before, has not changed and still lies in memory whole.
//
// It evicts nothing, knows nothing of who needs a block and ignores rings: an
// owner walks the blocks and removes those that nothing refers to. A disk that
// has reached its reserve refuses new blocks (block.ErrNoSpace) and serves on.
package fileblock

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"preau/cache/block"
	"preau/cache/block/lockfile"
)

// segment is where all blocks lie.
const segment block.Segment = 1

const (
	lockName = "lock"
	tempName = "tmp"
)

var (
	errClosed = errors.New("block store is closed")
	// ErrLocked reports that another process uses the folder.
	ErrLocked = lockfile.ErrHeld
)

// Config says where blocks lie.
type Config struct {
	Dir string
	// ReserveBytes is what is left free on the file system for others; 0 is a
	// fiftieth of it, but 64 MiB to 1 GiB (and a quarter at most).
	ReserveBytes int64
}

// Validate reports every mistake in c.
func (c Config) Validate() error {
	var errs []error
	if c.Dir == "" {
		errs = append(errs, errors.New("dir: must name a folder"))
	}
	if c.ReserveBytes < 0 {
		errs = append(errs, fmt.Errorf("reserve bytes %d: must not be negative", c.ReserveBytes))
	}
	return errors.Join(errs...)
}

// Store is a block.Store of files.
type Store struct {
	cfg     Config
	log     *slog.Logger
	lock    *lockfile.Lock
	metrics *metrics

	mu      sync.Mutex
	blocks  map[block.Digest]*entry
	writing map[block.Digest]chan struct{} // closed when the write has ended
	folders [256]bool                      // which are there for good
	used    int64
	pending int64 // bytes of writes under way
	closed  bool
}

var _ block.Store = (*Store)(nil)

// entry is what is known of a file. Its fields are under Store.mu.
type entry struct {
	size    int64
	modtime time.Time // when it was put last
	checked fileStat  // how the file was when its bytes were last found right
}

// Open opens the store in cfg.Dir, which is made if it is not there, removes
// what a kill left half written, and lists the blocks. It reads none of them.
func Open(cfg Config, log *slog.Logger, reg prometheus.Registerer) (*Store, error) {
	if err := cfg.Validate(); err != nil {
		return nil, fmt.Errorf("fileblock config: %w", err)
	}
	s := &Store{
		cfg: cfg, log: log,
		blocks:  make(map[block.Digest]*entry),
		writing: make(map[block.Digest]chan struct{}),
	}
	if err := s.start(); err != nil {
		err = fmt.Errorf("open blocks in %s: %w", cfg.Dir, err)
		if s.lock != nil {
			err = errors.Join(err, s.lock.Close())
		}
		return nil, err
	}
	var err error
	if s.metrics, err = newMetrics(s, reg); err != nil {
		return nil, errors.Join(fmt.Errorf("open blocks in %s: %w", cfg.Dir, err), s.lock.Close())
	}
	return s, nil
}

func (s *Store) start() error {
	temp := filepath.Join(s.cfg.Dir, tempName)
	if err := os.MkdirAll(temp, 0o700); err != nil {
		return err
	}
	var err error
	if s.lock, err = lockfile.Take(filepath.Join(s.cfg.Dir, lockName)); err != nil {
		return err
	}
	left, err := os.ReadDir(temp)
	if err != nil {
		return err
	}
	for _, e := range left {
		if err := os.RemoveAll(filepath.Join(temp, e.Name())); err != nil {
			return err
		}
	}
	for i := range s.folders {
		dir := filepath.Join(s.cfg.Dir, fmt.Sprintf("%02x", i))
		switch err := s.list(dir); {
		case err == nil:
			s.folders[i] = true
		case !errors.Is(err, fs.ErrNotExist):
			return err
		}
	}
	return errors.Join(syncDir(s.cfg.Dir), syncDir(filepath.Dir(s.cfg.Dir)))
}

// list takes up the blocks in one folder.
func (s *Store) list(dir string) error {
	files, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	for _, f := range files {
		d, err := block.ParseDigest(f.Name())
		path := filepath.Join(dir, f.Name())
		if err != nil || s.path(d) != path || !f.Type().IsRegular() {
			s.log.Warn("Strange file among the blocks is ignored", "path", path)
			continue
		}
		fi, err := f.Info()
		if err != nil {
			return err
		}
		if fi.Size() > block.Size {
			s.log.Warn("File too long for a block is ignored", "path", path, "bytes", fi.Size())
			continue
		}
		s.blocks[d] = &entry{size: fi.Size(), modtime: fi.ModTime()}
		s.used += fi.Size()
	}
	return nil
}

func (s *Store) path(d block.Digest) string {
	name := d.String()
	return filepath.Join(s.cfg.Dir, name[:2], name)
}

// Has implements block.Store. All blocks lie in segment 1.
func (s *Store) Has(d block.Digest) (block.Segment, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, ok := s.blocks[d]; !ok {
		return 0, false
	}
	return segment, true
}

// Len is the number of blocks held.
func (s *Store) Len() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.blocks)
}

// Usage is the sum of the lengths of the blocks held.
func (s *Store) Usage() int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.used
}

// Drop implements block.Store.
func (s *Store) Drop(d block.Digest) {
	if err := s.Remove(d); err != nil {
		s.log.Warn("Block could not be removed", "digest", d, "err", err)
	}
}

// Remove removes d. That it is not there is no error.
func (s *Store) Remove(d block.Digest) error {
	_, err := s.remove(d, func(*entry) bool { return true })
	return err
}

// RemoveOlder removes d unless it was put, or put again, at or after since; it
// reports whether it did. With it a sweep that decided some time ago that
// nothing refers to d can't remove what somebody has put in the meantime.
func (s *Store) RemoveOlder(d block.Digest, since time.Time) (bool, error) {
	return s.remove(d, func(e *entry) bool { return e.modtime.Before(since) })
}

func (s *Store) remove(d block.Digest, which func(*entry) bool) (bool, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return false, errClosed
	}
	e, ok := s.blocks[d]
	if !ok || !which(e) {
		return false, nil
	}
	// Under mu: nobody puts d meanwhile, since it is still listed.
	if err := os.Remove(s.path(d)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return false, fmt.Errorf("remove block: %w", err)
	}
	s.unlist(d, e)
	return true, nil
}

// unlist forgets d. mu is held.
func (s *Store) unlist(d block.Digest, e *entry) {
	s.used -= e.size
	delete(s.blocks, d)
}

// Walk calls fn for the blocks that are held when it starts, in order of their
// digests, until fn returns an error, which it returns, or ctx ends. modtime is
// when a block was put last. fn may remove blocks.
func (s *Store) Walk(ctx context.Context, fn func(d block.Digest, size int64, modtime time.Time) error) error {
	for _, d := range s.digests() {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		s.mu.Lock()
		e, ok := s.blocks[d]
		var size int64
		var modtime time.Time
		if ok {
			size, modtime = e.size, e.modtime
		}
		s.mu.Unlock()
		if !ok {
			continue
		}
		if err := fn(d, size, modtime); err != nil {
			return err
		}
	}
	return nil
}

func (s *Store) digests() []block.Digest {
	s.mu.Lock()
	all := make([]block.Digest, 0, len(s.blocks))
	for d := range s.blocks {
		all = append(all, d)
	}
	s.mu.Unlock()
	slices.SortFunc(all, func(a, b block.Digest) int { return slices.Compare(a[:], b[:]) })
	return all
}

// Close lets go of the folder. Blocks that are open stay readable; everything
// else returns errors.
func (s *Store) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return errClosed
	}
	s.closed = true
	s.metrics.unregister()
	if err := s.lock.Close(); err != nil {
		return fmt.Errorf("close blocks: %w", err)
	}
	return nil
}
