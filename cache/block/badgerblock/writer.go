package badgerblock

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"runtime/debug"
	"strings"
	"sync"

	"github.com/dgraph-io/badger/v4"
	"golang.org/x/sys/unix"

	"preau/cache/block"
)

const ballastName = "ballast"

// writer is the Badger of the one segment of a ring that is being written.
// Such a Badger is always new: one that was left open by a crash is never
// opened again but read as what it is, a value log (see recover).
type writer struct {
	fill
	db  *badger.DB
	ts  uint64
	buf [commitBuffer]byte // for reading back what was written

	once sync.Once
	err  error // of closing
}

// fill counts what a segment holds against what it may.
type fill struct {
	geo  geometry
	size int64 // of the value log
	n    int64 // entries
	lsm  int64 // bytes of keys and what goes with them
}

// fits reports whether a value of n bytes under a key of k bytes has room.
func (f *fill) fits(k, n int) bool {
	return f.size+int64(k+n)+entryOverhead+commitOverhead <= f.geo.values &&
		f.n < f.geo.entries && f.lsm+int64(k)+lsmOverhead <= f.geo.lsm
}

// add counts one entry; the commit mark is counted by who wrote it.
func (f *fill) add(k, n int) {
	f.size += int64(k+n) + entryOverhead
	f.n++
	f.lsm += int64(k) + lsmOverhead
}

// openWriter makes dir a new Badger with all the room it may ever need.
func openWriter(dir string, geo geometry, log *slog.Logger) (w *writer, err error) {
	if err := os.Mkdir(dir, 0o700); err != nil {
		return nil, fmt.Errorf("create segment: %w", err)
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, os.RemoveAll(dir))
		}
	}()
	// Badger ends the process if it cannot open DISCARD. An empty file that is
	// there already is as good to it as none.
	for name, n := range map[string]int64{"DISCARD": 4096, ballastName: geo.ballast} {
		if err := preallocate(filepath.Join(dir, name), n); err != nil {
			return nil, fmt.Errorf("create segment: %w", err)
		}
	}
	opt := badger.DefaultOptions(dir).
		WithLogger(quiet{log}).
		WithSyncWrites(false).
		WithDetectConflicts(false).
		WithMetricsEnabled(false).
		WithValueThreshold(0). // every value to the value log
		WithCompression(0).
		WithBlockCacheSize(0).
		WithIndexCacheSize(0).
		// One value log and one memtable for the segment's whole life:
		// nothing is rotated, flushed or compacted while it is written.
		WithValueLogFileSize(geo.values + 4096).
		WithValueLogMaxEntries(1 << 30).
		WithMemTableSize(max(geo.lsm, mib) + 256<<10).
		WithNumMemtables(1).
		WithNumCompactors(0)
	db, err := openBadger(opt)
	if err != nil {
		return nil, err
	}
	// The second log is begun when Badger is closed, which takes an empty file
	// for a new one.
	w = &writer{fill: fill{geo: geo, size: vlogHeader}, db: db, ts: 1}
	for name, n := range map[string]int64{vlogName: geo.values, "00001.mem": geo.lsm + 4096, "00002.mem": 4096} {
		if err := preallocate(filepath.Join(dir, name), n); err != nil {
			return nil, errors.Join(fmt.Errorf("create segment: %w", err), w.close(dir))
		}
	}
	return w, nil
}

// openBadger turns a panic into an error: also that of a memory map whose page
// the disk has no room for.
func openBadger(opt badger.Options) (db *badger.DB, err error) {
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() {
		if r := recover(); r != nil {
			db, err = nil, fmt.Errorf("open badger: panic: %v", r)
		}
	}()
	db, err = badger.OpenManaged(opt)
	if err != nil {
		return nil, fmt.Errorf("open badger: %w", err)
	}
	return db, nil
}

func preallocate(path string, n int64) error {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return err
	}
	if err := allocate(f.Fd(), n); err != nil {
		return errors.Join(fmt.Errorf("allocate %d bytes for %s: %w", n, filepath.Base(path), err), f.Close())
	}
	return f.Close()
}

// commit writes pairs in one transaction and calls learned with each entry as
// it lies in the value log vlog. When it returns nil every pair was learned.
func (w *writer) commit(vlog *os.File, pairs []pair, learned func(entry)) error {
	txn := w.db.NewTransactionAt(w.ts, true)
	defer txn.Discard()
	for _, p := range pairs {
		if err := txn.SetEntry(badger.NewEntry(p.key, p.value)); err != nil {
			return fmt.Errorf("write to badger: %w", err)
		}
	}
	from := w.size
	w.ts++
	if err := txn.CommitAt(w.ts, nil); err != nil {
		return fmt.Errorf("write to badger: %w", err)
	}
	for _, p := range pairs {
		w.add(len(p.key), len(p.value))
	}
	// The order within a transaction is Badger's own, so look.
	n, committed := 0, false
	end, err := scan(vlog, w.buf[:], from, w.geo.values, func(e entry) error {
		if isCommit(e.key) {
			committed = true
			return errStop
		}
		n++
		learned(e)
		return nil
	})
	if err != nil {
		return err
	}
	w.size = end
	if !committed || n != len(pairs) {
		return fmt.Errorf("value log has %d of %d entries, commit mark: %v", n, len(pairs), committed)
	}
	return nil
}

// scarce is how much of a disk, in bytes, nobody fills while one table is written.
const scarce = 1 << 30

// close closes the Badger, for which its ballast makes room. Later calls
// return what the first did.
//
// Badger writes the table of its memtable in a goroutine of its own, where a page
// that somebody else has taken the room of kills the process. Nobody needs that
// table, so where room is scarce all keys are dropped first: Badger then writes
// it, and the head of the next memtable's log, in the goroutine that asks, where
// it is an error, and has nothing left to write on closing. A Badger that this
// happened to is left as it is, with its goroutines, until the process ends.
// With plenty of room that is not done: what is dropped Badger merges away, and
// a merge that meets damage ends the process too.
func (w *writer) close(dir string) error {
	w.once.Do(func() {
		if err := os.Remove(filepath.Join(dir, ballastName)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			w.err = fmt.Errorf("close segment: %w", err)
		}
		defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
		defer func() {
			if r := recover(); r != nil {
				w.err = fmt.Errorf("close badger: panic: %v", r)
			}
		}()
		if free, _, err := diskSpace(dir); err != nil || free < scarce {
			if err := w.db.DropPrefix([]byte{kindBlock}, []byte{kindRecord}); err != nil {
				w.err = fmt.Errorf("empty badger: %w", err)
				return
			}
		}
		if err := w.db.Close(); err != nil {
			w.err = fmt.Errorf("close badger: %w", err)
		}
	})
	return w.err
}

// pair is a key and a value on their way into Badger.
type pair struct {
	key, value []byte
}

func blockKey(d block.Digest) []byte {
	return append([]byte{kindBlock}, d[:]...)
}

// noSpace reports whether err is a disk's way of saying that it is full.
func noSpace(err error) bool {
	return errors.Is(err, unix.ENOSPC) || errors.Is(err, unix.EDQUOT)
}

// quiet passes on what Badger has to say, one step less loud than it says it:
// nothing in a cache's segment is an operator's business.
type quiet struct{ log *slog.Logger }

func (q quiet) say(l slog.Level, format string, args []any) {
	if q.log.Enabled(context.Background(), l) {
		q.log.Log(context.Background(), l, "badger says", "text", strings.TrimSpace(fmt.Sprintf(format, args...)))
	}
}

func (q quiet) Errorf(format string, args ...any)   { q.say(slog.LevelWarn, format, args) }
func (q quiet) Warningf(format string, args ...any) { q.say(slog.LevelDebug, format, args) }
func (q quiet) Infof(format string, args ...any)    { q.say(slog.LevelDebug-4, format, args) }
func (q quiet) Debugf(format string, args ...any)   { q.say(slog.LevelDebug-4, format, args) }
