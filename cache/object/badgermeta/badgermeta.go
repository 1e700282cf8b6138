// Package badgermeta keeps the objects' records in one small Badger.
//
// Everything lies in the LSM tree, nothing in the value log, so that room is
// reclaimed by compaction and no garbage collection is needed. Writes reach
// the kernel at once (a kill -9 loses nothing) and the disk every second (a
// power cut loses at most that second, which for a cache means fetching it
// again). A folder that can't be opened is put aside and an empty one begun:
// the caller restores the objects from the records beside the bodies.
package badgermeta

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"

	badger "github.com/dgraph-io/badger/v4"
	"github.com/dgraph-io/badger/v4/options"
	"golang.org/x/sys/unix"

	"preau/cache/object"
)

// syncEvery is how much of its latest records a power cut may cost.
const syncEvery = time.Second

// openingFile marks that a process is opening the store: one that is found at
// the next start tells that the last one died of it.
const openingFile = "opening"

// Config says where the store is. Start from DefaultConfig.
type Config struct {
	Dir string
	// ReserveBytes must stay free on the disk for a write to be tried: Badger
	// writes through maps, and a map whose page the disk has no room for kills
	// the process (see room).
	ReserveBytes int64

	space func(dir string) (free int64, known bool) // for tests; nil: the disk's own
	wait  time.Duration                             // for what Badger writes once it is open; 0: settleWait
}

// DefaultConfig returns a store in dir that leaves 24 MiB of the disk free,
// or a sixteenth of a disk smaller than 384 MiB.
func DefaultConfig(dir string) Config {
	reserve := int64(24 << 20)
	var st unix.Statfs_t
	if unix.Statfs(existing(dir), &st) == nil {
		reserve = min(reserve, int64(st.Blocks)*int64(st.Bsize)/16)
	}
	return Config{Dir: dir, ReserveBytes: reserve}
}

// existing is the nearest folder of path that is there.
func existing(path string) string {
	for {
		if _, err := os.Stat(path); err == nil || path == filepath.Dir(path) {
			return path
		}
		path = filepath.Dir(path)
	}
}

// Store is an object.KV in Badger.
type Store struct {
	cfg  Config
	db   *badger.DB
	log  *slog.Logger
	sums *sums // Run's, then Close's

	mu   sync.Mutex // one Write at a time: Badger has but one writer
	room *room
}

// Open opens the store, or an empty one in its place if what is there can't be
// read: then fresh is true and lost says why (nil for a first start).
func Open(cfg Config, log *slog.Logger) (s *Store, fresh bool, lost, err error) {
	log = log.With("part", "badgermeta")
	if err := os.MkdirAll(cfg.Dir, 0o700); err != nil {
		return nil, false, nil, fmt.Errorf("make metadata folder: %w", err)
	}
	entries, err := os.ReadDir(cfg.Dir)
	if err != nil {
		return nil, false, nil, fmt.Errorf("read metadata folder: %w", err)
	}
	fresh = len(entries) == 0
	if err := errors.Join(dropBallast(cfg.Dir), dropEmpty(cfg.Dir)); err != nil {
		return nil, fresh, nil, err
	}
	if !cfg.roomy() {
		return nil, fresh, nil, fmt.Errorf("open metadata: %w: free at least %d MiB on the disk of %s", object.ErrFull, cfg.ReserveBytes>>20, cfg.Dir)
	}
	mark := filepath.Join(cfg.Dir, openingFile)
	if _, err := os.Stat(mark); err == nil {
		lost = errors.New("the last start died while it opened the metadata")
	}
	known := &sums{dir: cfg.Dir}
	if lost == nil && !fresh {
		known, lost = verify(cfg.Dir)
	}
	// Whoever waits for the store must not be told that it is open while Badger
	// still writes what it found, nor may that begin without the room for it.
	var db *badger.DB
	need, compacts := int64(0), false
	if lost == nil {
		if need, compacts, err = openNeed(cfg.Dir); err != nil {
			return nil, fresh, nil, fmt.Errorf("open metadata: %w", err)
		}
		if free, known := cfg.free(); known && free < need+cfg.ReserveBytes {
			return nil, fresh, nil, fmt.Errorf("open metadata: %w: the records of the last run need %d MiB: free at least %d MiB on the disk of %s",
				object.ErrFull, need>>20, (need+cfg.ReserveBytes)>>20+1, cfg.Dir)
		}
		if err := os.WriteFile(mark, nil, 0o600); err != nil {
			return nil, fresh, nil, fmt.Errorf("mark metadata: %w", err)
		}
		db, lost = open(cfg.Dir, log)
		if lost != nil && outOfRoom(lost) { // of somebody else's making, in this moment
			return nil, fresh, nil, errors.Join(fmt.Errorf("open metadata: %w: %w", object.ErrFull, lost), os.Remove(mark))
		}
	}
	if lost != nil {
		log.Error("the metadata can't be read and is put aside; objects are restored from the body stores", "err", lost)
		if err := putAside(cfg.Dir); err != nil {
			return nil, false, lost, err
		}
		fresh = true
		known = &sums{dir: cfg.Dir}
		compacts = false
		if db, err = open(cfg.Dir, log); err != nil {
			return nil, true, lost, fmt.Errorf("open metadata: %w", err)
		}
	}
	s = &Store{cfg: cfg, db: db, log: log, sums: known}
	// The mark tells of a start that died of what it found, not of one that gave
	// up, or was killed while it waited for the disk.
	if err = os.Remove(mark); errors.Is(err, fs.ErrNotExist) {
		err = nil
	}
	if err == nil {
		err = settle(cfg, db, compacts, log)
	}
	// The list before the room: that takes all there is on a small disk.
	if err == nil {
		err = known.update(stateOpen, tablesOf(db))
	}
	if err == nil {
		s.room, err = newRoom(cfg, db, log)
	}
	if errors.Is(err, unix.ENOSPC) {
		err = errors.Join(object.ErrFull, err)
	}
	if err != nil {
		return nil, fresh, lost, errors.Join(fmt.Errorf("open metadata: %w", err), db.Close())
	}
	return s, fresh, lost, nil
}

// putAside keeps one damaged folder for whoever wants to know, and no more.
func putAside(dir string) error {
	aside := dir + ".damaged"
	if err := os.RemoveAll(aside); err != nil {
		return fmt.Errorf("remove older damaged metadata: %w", err)
	}
	if err := os.Rename(dir, aside); err != nil {
		return fmt.Errorf("put damaged metadata aside: %w", err)
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("make metadata folder: %w", err)
	}
	return nil
}

// outOfRoom reports whether err is of a full disk. Badger keeps but the text of
// such errors.
func outOfRoom(err error) bool {
	return errors.Is(err, unix.ENOSPC) || strings.Contains(err.Error(), unix.ENOSPC.Error())
}

// open opens Badger and makes a panic of its own an error.
func open(dir string, log *slog.Logger) (db *badger.DB, err error) {
	// Badger takes an empty DISCARD for none, and ends the process if it can't
	// have one.
	if _, err := allocate(filepath.Join(dir, discardFile), firstPages); err != nil {
		return nil, fmt.Errorf("make room for %s: %w", discardFile, err)
	}
	defer func() {
		if p := recover(); p != nil {
			db, err = nil, fmt.Errorf("badger panicked: %v", p)
		}
	}()
	return badger.Open(badgerOptions(dir, log))
}

// badgerOptions are chosen for little memory. Badger keeps up to eight buffers
// of its table builders for reuse, each as large as the largest table that it
// ever built, and lets a dozen builders wait for a slow disk; each of them is
// the smaller for small tables that are not compressed, which would take as
// much again. Digests and keys, most of what records hold, don't shrink anyway.
// With three tables of level 0 at most they are never merged into one large.
// Tables that were compressed by an earlier version stay readable.
//
// There is no cache of blocks: it would hold views of the mapped file, checked
// once and never again. What the disk returns later, when the page was dropped
// from memory, would be read unchecked, and a merge of tables that meets such a
// block ends the process.
func badgerOptions(dir string, log *slog.Logger) badger.Options {
	o := badger.DefaultOptions(dir).
		WithLogger(logger{log}).
		WithSyncWrites(false).
		WithDetectConflicts(false).
		WithMetricsEnabled(false).
		WithMemTableSize(memTableSize).
		WithNumMemtables(1).
		WithNumLevelZeroTables(levelZero).
		WithNumLevelZeroTablesStall(levelStall).
		WithBaseLevelSize(baseLevel).
		WithMaxLevels(lastLevel + 1).
		WithValueThreshold(1 << 20). // everything lies in the tree
		WithValueLogFileSize(1 << 20).
		WithBaseTableSize(1 << 20).
		WithNumCompactors(2).
		WithBlockCacheSize(0).
		WithCompression(options.None).
		WithChecksumVerificationMode(options.OnBlockRead)
	o.TableSizeMultiplier = 1
	return o
}

// Run brings what was written to the disk every second until ctx ends.
func (s *Store) Run(ctx context.Context) error {
	tick := time.NewTicker(syncEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
			s.mu.Lock()
			s.room.prepare() // the disk may be filling without a Write
			s.mu.Unlock()
			if err := s.db.Sync(); err != nil {
				s.log.WarnContext(ctx, "metadata could not be brought to the disk", "err", err)
			}
			if err := s.sums.update(stateOpen, tablesOf(s.db)); err != nil {
				s.log.WarnContext(ctx, "checksums of the metadata are behind", "err", err)
			}
		}
	}
}

// Sync brings what was written to the disk.
func (s *Store) Sync() error {
	if err := s.db.Sync(); err != nil {
		return fmt.Errorf("bring metadata to the disk: %w", err)
	}
	return nil
}

// Close writes what is in memory and closes the store. Run must have returned.
// On a disk that has no room for it Badger is left as it is, since it would
// kill the process: all records are in its log, and the error is ErrFull.
func (s *Store) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.db.IsClosed() {
		return nil
	}
	if !s.room.closable() {
		return errors.Join(fmt.Errorf("close metadata: %w", object.ErrFull), s.db.Sync())
	}
	// Should this fail, a start that finds no log has the objects restored.
	if err := s.sums.update(stateClosing, tablesOf(s.db)); err != nil {
		s.log.Warn("checksums of the metadata are behind", "err", err)
	}
	if err := s.db.Close(); err != nil {
		return fmt.Errorf("close metadata: %w", err)
	}
	names, err := filepath.Glob(filepath.Join(s.cfg.Dir, "*.sst"))
	if err != nil {
		return err
	}
	for i := range names {
		names[i] = filepath.Base(names[i])
	}
	return errors.Join(s.room.drop(), s.sums.update(stateClosed, names))
}

// Get implements object.KV.
func (s *Store) Get(key []byte) ([]byte, error) {
	var out []byte
	err := s.db.View(func(txn *badger.Txn) error {
		item, err := txn.Get(key)
		if err != nil {
			return err
		}
		out, err = item.ValueCopy(nil)
		return err
	})
	if errors.Is(err, badger.ErrKeyNotFound) {
		return nil, object.ErrNotFound
	}
	return out, err
}

// What a batch may hold at most to be carried out wholly or not at all.
const (
	AtomicChanges = 10_000
	AtomicBytes   = 1 << 20 // of keys and values
)

// Write implements object.KV. A batch of at most AtomicChanges and AtomicBytes
// is one transaction: all of it or none, whatever happens. A larger one is
// carried out in that many steps, in order, and may stop between two: it must
// hold only changes that don't need each other, such as the deletions after a
// segment is gone. Deletions are still taken when the disk has less than the
// reserve.
func (s *Store) Write(batch []object.Change) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	deletions := onlyDeletions(batch)
	for len(batch) > 0 {
		var w weight
		w.add(0) // the transaction's end
		n, used := 0, 0
		for ; n < len(batch) && n < AtomicChanges; n++ {
			used += len(batch[n].Key) + len(batch[n].Value)
			if n > 0 && used > AtomicBytes {
				break
			}
			w.add(len(batch[n].Key) + len(batch[n].Value))
		}
		if err := s.room.admit(w, deletions); err != nil {
			return err
		}
		err := s.commit(batch[:n])
		s.room.done(w)
		if err != nil {
			return err
		}
		batch = batch[n:]
	}
	return nil
}

func (s *Store) commit(batch []object.Change) error {
	txn := s.db.NewTransaction(true)
	defer txn.Discard()
	for _, c := range batch {
		if err := apply(txn, c); err != nil {
			return err
		}
	}
	return txn.Commit()
}

func apply(txn *badger.Txn, c object.Change) error {
	if c.Delete {
		return txn.Delete(c.Key)
	}
	return txn.Set(c.Key, c.Value)
}

// Scan implements object.KV.
func (s *Store) Scan(prefix []byte, keysOnly bool, fn func(key, value []byte) error) error {
	return s.db.View(func(txn *badger.Txn) error {
		o := badger.DefaultIteratorOptions
		o.Prefix, o.PrefetchValues = prefix, false
		it := txn.NewIterator(o)
		defer it.Close()
		for it.Rewind(); it.Valid(); it.Next() {
			var v []byte
			if !keysOnly {
				var err error
				if v, err = it.Item().ValueCopy(nil); err != nil {
					return err
				}
			}
			if err := fn(it.Item().Key(), v); err != nil {
				if errors.Is(err, object.ErrStopScan) {
					return nil
				}
				return err
			}
		}
		return nil
	})
}

// DiskUsage is what the store in dir takes on the disk, in bytes; with what was
// put aside.
func DiskUsage(dir string) int64 { return diskUsage(dir) + diskUsage(dir+".damaged") }

func diskUsage(dir string) int64 {
	var n int64
	_ = filepath.WalkDir(dir, func(_ string, d fs.DirEntry, err error) error { //nolint:errcheck // the function returns none
		if err != nil {
			return nil // a file that went away between the listing and the look
		}
		if info, err := d.Info(); err == nil {
			if st, ok := info.Sys().(*syscall.Stat_t); ok {
				n += st.Blocks * 512
			}
		}
		return nil
	})
	return n
}

// logger passes on what Badger wants people to know; what it does all day is
// for debugging.
type logger struct{ log *slog.Logger }

func (l logger) Errorf(f string, a ...any)   { l.log.Error("badger", "msg", fmt.Sprintf(f, a...)) }
func (l logger) Warningf(f string, a ...any) { l.log.Warn("badger", "msg", fmt.Sprintf(f, a...)) }
func (l logger) Infof(f string, a ...any)    { l.debug(f, a) }
func (l logger) Debugf(f string, a ...any)   { l.debug(f, a) }

// debug spares the formatting when nobody reads it: Badger tells a lot.
func (l logger) debug(f string, a []any) {
	if l.log.Enabled(context.Background(), slog.LevelDebug) {
		l.log.Debug("badger", "msg", fmt.Sprintf(f, a...))
	}
}
