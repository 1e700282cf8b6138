package badgermeta

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"time"

	badger "github.com/dgraph-io/badger/v4"
	"golang.org/x/sys/unix"

	"preau/cache/object"
)

// Badger writes nearly everything through maps of sparse files, where a full
// disk is no error but a SIGBUS, in goroutines of its own. Its writers, and
// what keeps each from one:
//
//   - the log of the memtable (*.mem): the file in use is allocated as far as
//     it is ever written before a Write may begin, and so is the next one, once
//     the disk has little left;
//   - a memtable that becomes a table (*.sst): a Write that may fill the
//     memtable, and Close, need the room free that its table takes, for which
//     the ballast is given up, which is taken once the disk has little left;
//   - compaction, which begins after such a table: the Write that brings it
//     about needs its room too, and none of ours is taken until it is over;
//   - both, once more, when it is opened with what the last run left: Open
//     needs the room for that before, and returns when it is over (see settle);
//   - the value log and DISCARD: only their first page is ever written;
//     allocated once open, DISCARD before;
//   - MANIFEST: plain writes, that fail properly; allocated ahead all the same.
//
// What remains is somebody else who takes all of that, and the reserve, between
// the look at the disk and the table (a tenth of a second, more on a slow
// machine); Badger makes its tables itself, so they can't be allocated ahead.
const (
	memTableSize = 8 << 20
	// A log is changed by the transaction that finds memTableSize in it, so it
	// grows beyond that by one at most, which Badger bounds at 15% of it.
	logReach      = memTableSize + (2 << 20)
	firstPages    = 64 << 10
	levelZero     = 2 // tables of level 0 that start a compaction
	levelStall    = 3 // that hold up the next one
	baseLevel     = 10 << 20
	lastLevel     = 6
	maxCompaction = 64 << 20
	manifestAhead = 256 << 10
	maxBallast    = 12 << 20
	scarce        = 1 << 30 // free: what is not needed with more
	ballastFile   = "ballast"
	discardFile   = "DISCARD"
	flushWait     = 5 * time.Second
	flushPoll     = 2 * time.Millisecond
	entryOverhead = 160 // of an entry in the log or the memtable, at most
	tableEntry    = 40  // of an entry in a table, its index and filter
	tableOverhead = 1 << 20
)

// room keeps Badger from running out of disk. Its methods are called by one
// goroutine at a time.
type room struct {
	cfg     Config
	db      *badger.DB
	log     *slog.Logger
	mem     uint64 // number of the .mem file in use
	ready   bool   // it is allocated
	spare   bool   // the next one is, too
	scarce  int64
	unable  bool   // the file system can't allocate
	written int64  // at most this much is in the memtable
	table   int64  // at most this much will its table take
	tight   bool   // the disk may not have room for all that follows
	slow    uint64 // the log in use while flush waited in vain
	stuck   uint64 // the log in use while settle waited in vain for a compaction
	ballast int64  // held
}

func memName(dir string, n uint64) string { return filepath.Join(dir, fmt.Sprintf("%05d.mem", n)) }

// newRoom allocates what Badger has just opened. A disk without the room for
// it is no error: Write asks again.
func newRoom(cfg Config, db *badger.DB, log *slog.Logger) (*room, error) {
	r := &room{cfg: cfg, db: db, log: log, scarce: scarce}
	var err error
	if r.mem, err = newestMem(cfg.Dir); err != nil {
		return nil, err
	}
	logs, err := filepath.Glob(filepath.Join(cfg.Dir, "*.vlog"))
	if err != nil {
		return nil, err
	}
	for _, name := range append(logs, filepath.Join(cfg.Dir, discardFile)) {
		if _, err := allocate(name, firstPages); err != nil {
			log.Warn("no room is left for the metadata", "err", err)
		}
	}
	r.prepare()
	return r, nil
}

// prepare allocates the .mem file in use and, where the disk has little left,
// the next one and the ballast. It reports whether Badger may write. Badger
// takes an empty file of the next number for a new one and sets its length,
// which leaves it what it was given.
func (r *room) prepare() bool {
	r.follow()
	if r.unable {
		return true
	}
	if !r.ready {
		done, err := allocate(memName(r.cfg.Dir, r.mem), logReach)
		if r.unable = err == nil && !done; err != nil || !done {
			return r.unable
		}
		r.ready = true
		if _, err := allocate(filepath.Join(r.cfg.Dir, badger.ManifestFilename), r.manifest()+manifestAhead); err != nil {
			r.log.Debug("no room ahead of the manifest", "err", err)
		}
	}
	free, known := r.cfg.free()
	if !known || free >= r.scarce {
		if r.ballast > 0 && free >= 2*r.scarce {
			r.dropBallast()
		}
		return true
	}
	if !r.spare {
		name := memName(r.cfg.Dir, r.mem+1)
		if _, err := allocate(name, logReach); err != nil {
			if err := os.Remove(name); err != nil {
				r.log.Warn("an empty file can't be removed", "err", err)
			}
			return false
		}
		r.spare = true
	}
	if free > r.cfg.ReserveBytes+r.ballastSize() {
		r.takeBallast()
	}
	return true
}

// follow notes that Badger has gone on to the next .mem file: by one, since no
// transaction fills more than a part of a log.
func (r *room) follow() {
	if r.changed() {
		r.mem, r.ready, r.spare, r.written, r.table = r.mem+1, false, false, 0, 0
	}
}

// changed reports whether Badger has gone on to the next .mem file.
func (r *room) changed() bool {
	info, err := os.Stat(memName(r.cfg.Dir, r.mem+1))
	return err == nil && info.Size() > 0
}

func (r *room) manifest() int64 {
	info, err := os.Stat(filepath.Join(r.cfg.Dir, badger.ManifestFilename))
	if err != nil {
		return 0
	}
	return info.Size()
}

// admit is called before a transaction of weight w, and done after it.
// Deletions may use what is kept back from others.
func (r *room) admit(w weight, deletions bool) error {
	r.tight = false
	if !deletions && !r.cfg.roomy() {
		return object.ErrFull
	}
	if !r.prepare() && !deletions {
		return object.ErrFull
	}
	if r.written+w.memory < memTableSize {
		return nil // it can't fill the memtable
	}
	r.flush(r.mem) // what is left takes memory, and room that still looks free
	if r.plenty() {
		return nil
	}
	r.tight = true
	if !r.settle(r.mem) && !deletions {
		return object.ErrFull
	}
	need := r.flushNeed()
	if free, known := r.cfg.free(); !deletions && known && free < need+r.cfg.ReserveBytes {
		return object.ErrFull // the ballast is for deletions and Close
	}
	// Even so it is given up for as long: whoever else writes has less chance.
	if r.dropBallast(); !r.unable && !r.spare || !r.clear(need) {
		r.takeBallast()
		return object.ErrFull
	}
	return nil
}

// plenty reports whether there is the room for whatever Badger may do, and for
// what prepare may take meanwhile.
func (r *room) plenty() bool {
	free, known := r.cfg.free()
	return known && free >= r.cfg.ReserveBytes+tableNeed(logReach)+maxCompaction+logReach+maxBallast
}

// closable reports whether there is the room for closing, for which it may give
// up the ballast.
func (r *room) closable() bool {
	r.follow()
	return r.plenty() || r.settle(r.mem) && r.clear(r.flushNeed())
}

// done counts what was written. If that has filled the memtable on a disk with
// little room, it waits until the table is written and what is due is
// compacted, so that nothing of ours takes the room meanwhile that was made for
// it.
func (r *room) done(w weight) {
	r.written += w.memory
	r.table = min(r.table+w.table, logReach)
	rotated := r.changed()
	settled := true
	if rotated && r.tight {
		settled = r.settle(r.mem + 1)
	}
	if rotated {
		r.prepare()
		r.written, r.table = w.memory, w.table // what found it full is in the new one
	}
	if r.tight && settled {
		r.takeBallast()
	}
}

// flush waits until the logs before number mem are tables: so there is but one
// memtable on its way to the disk at a time. A Scan holds up the removal of a
// log that it reads from, and nobody waits in vain for the same log twice.
func (r *room) flush(mem uint64) bool {
	if _, err := os.Stat(memName(r.cfg.Dir, mem-1)); errors.Is(err, os.ErrNotExist) {
		return true // they go in order
	}
	wait := flushWait
	if r.slow == mem {
		wait = 0
	}
	done := waitFlushed(r.cfg.Dir, mem, wait)
	if !done {
		r.slow = mem
	}
	return done
}

// settle is flush and then waits for what Badger compacts because of it.
func (r *room) settle(mem uint64) bool {
	if !r.flush(mem) {
		return false
	}
	if !compacting(r.cfg.Dir, r.db) {
		return true
	}
	wait := flushWait
	if r.stuck == mem {
		wait = 0
	}
	done := waitCompacted(r.cfg.Dir, r.db, wait)
	if !done {
		r.stuck = mem
	}
	return done
}

// flushNeed is the room that the memtable's table takes, and what is compacted
// because of it.
func (r *room) flushNeed() int64 {
	need := tableNeed(r.table)
	l := layoutOf(r.db)
	l.zero++
	l.all += need
	return need + l.need()
}

func tableNeed(bytes int64) int64 { return bytes + bytes/16 + tableOverhead }

// clear reports whether need bytes are free, for which it may give up the ballast.
func (r *room) clear(need int64) bool {
	if free, known := r.cfg.free(); !known || free >= need+r.cfg.ReserveBytes {
		return true
	}
	r.dropBallast()
	free, known := r.cfg.free()
	return !known || free >= need
}

// ballastSize is what the ballast should be: a table of a full memtable, or
// less on a disk so small that this would be a good part of it.
func (r *room) ballastSize() int64 { return min(maxBallast, 2*r.cfg.ReserveBytes) }

// takeBallast takes as much of the ballast as there is room for.
func (r *room) takeBallast() {
	if r.unable || r.ballast >= r.ballastSize() {
		return
	}
	name := filepath.Join(r.cfg.Dir, ballastFile)
	for want := r.ballastSize(); want > r.ballast && want >= 1<<20; want /= 2 {
		if done, err := allocate(name, want); err == nil {
			if done {
				r.ballast = want
			}
			return
		}
	}
}

func (r *room) dropBallast() {
	if err := dropBallast(r.cfg.Dir); err != nil {
		r.log.Warn("the ballast can't be removed", "err", err)
	}
	r.ballast = 0
}

// drop removes what only this process knows the use of. Badger is closed.
func (r *room) drop() error {
	return errors.Join(dropBallast(r.cfg.Dir), dropEmpty(r.cfg.Dir))
}

func dropBallast(dir string) error {
	if err := os.Remove(filepath.Join(dir, ballastFile)); err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("remove ballast: %w", err)
	}
	return nil
}

// dropEmpty removes .mem files of no length: the next one, made ahead, or one
// that a process died over. Badger doesn't open with one.
func dropEmpty(dir string) error {
	names, err := filepath.Glob(filepath.Join(dir, "*.mem"))
	if err != nil {
		return err
	}
	for _, name := range names {
		info, err := os.Stat(name)
		if err != nil || info.Size() > 0 {
			continue
		}
		if err := os.Remove(name); err != nil {
			return fmt.Errorf("remove empty log: %w", err)
		}
	}
	return nil
}

// weight is what changes take, at most.
type weight struct {
	memory int64 // in the log or the memtable, whichever is more
	table  int64
}

func (w *weight) add(n int) {
	w.memory += int64(n) + entryOverhead
	w.table += int64(n) + tableEntry
}

func onlyDeletions(batch []object.Change) bool {
	return !slices.ContainsFunc(batch, func(c object.Change) bool { return !c.Delete })
}

// roomy reports whether the disk has more free than the reserve.
func (c Config) roomy() bool {
	free, known := c.free()
	return !known || free > c.ReserveBytes // unknown: better to try
}

// free is what the store's disk has for us.
func (c Config) free() (free int64, known bool) {
	if c.space != nil {
		return c.space(c.Dir)
	}
	return diskSpace(c.Dir)
}

func diskSpace(dir string) (free int64, known bool) {
	var st unix.Statfs_t
	if err := unix.Statfs(existing(dir), &st); err != nil {
		return 0, false
	}
	return int64(st.Bavail) * int64(st.Bsize), true
}
