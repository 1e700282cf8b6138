package badgermeta

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	badger "github.com/dgraph-io/badger/v4"
)

// What Badger writes by itself soon after it is opened, or after a memtable is
// full: the tables of the logs that it found or has left behind, and what it
// then compacts. Both go through maps in goroutines of its own, so the room
// for them must be there first, and nobody may be told that all is well, nor
// may we take room ourselves, until it is over.
const (
	settleWait = 20 * time.Second // on a disk that writes half a MiB a second
	settlePoll = 5 * time.Millisecond
	// mostMerged bounds what is compacted without a limit of time: no more than is
	// written within settleWait.
	mostMerged = 8 << 20
)

// settle waits for what a Badger that was just opened does by itself. That is so
// with plenty of room too: a compaction that meets a damaged table ends the
// process, and now it reads what has just been checked.
//
// Badger's compactors rest for up to a second before they begin, and a device
// would wait for them. What is left of a school's usual life is small, so it is
// compacted here and now.
func settle(cfg Config, db *badger.DB, compacts bool, log *slog.Logger) error {
	mem, err := newestMem(cfg.Dir)
	if err != nil {
		return err
	}
	wait := cmp.Or(cfg.wait, settleWait)
	done := waitFlushed(cfg.Dir, mem, wait)
	if done && compacts && mergeable(db) {
		if err := db.Flatten(1); err != nil {
			log.Warn("the metadata could not be compacted at once, and are later", "err", err)
		}
	}
	if done && compacts {
		done = waitCompacted(cfg.Dir, db, wait)
	}
	if !done {
		log.Warn("the disk is slow: the metadata are still being written", "waited", wait)
	}
	return nil
}

// layout is what counts for the room that compaction takes.
type layout struct {
	zero   int   // tables of level 0
	all    int64 // bytes of all tables
	filled bool  // a level between the first and the last has its fill, or is being emptied
}

func (l layout) due() bool { return l.zero >= levelZero || l.filled }

// need is the room for what is compacted next: at most all there is, again.
func (l layout) need() int64 {
	if !l.due() {
		return 0
	}
	return min(l.all, maxCompaction)
}

// layoutOf is the layout of an open store.
func layoutOf(db *badger.DB) (l layout) {
	for _, level := range db.Levels() {
		l.all += level.Size
		if level.Level == 0 {
			l.zero = level.NumTables
		}
		// By its size, since its score leaves out what is being compacted now.
		l.filled = l.filled || level.Level > 0 && level.Level < lastLevel && level.Size >= level.TargetSize
	}
	return l
}

// mergeable reports whether all there is lies in level 0 and the one that it is
// compacted into, and is little: then Flatten does what is due and no more.
func mergeable(db *badger.DB) bool {
	var all int64
	for _, level := range db.Levels() {
		if level.Size > 0 && level.Level > 0 && !level.IsBaseLevel {
			return false
		}
		all += level.Size
	}
	return all <= mostMerged
}

// layoutIn is the layout of the store in dir before it is opened. What MANIFEST
// can't tell is left to Badger, which reads it too and says what is wrong.
func layoutIn(dir string) (l layout) {
	f, err := os.Open(filepath.Join(dir, badger.ManifestFilename))
	if err != nil {
		return l
	}
	defer f.Close() //nolint:errcheck // only read
	m, _, err := badger.ReplayManifestFile(f, 0, badger.DefaultOptions(dir))
	if err != nil {
		return l
	}
	levels := make(map[uint8]int64)
	for id, t := range m.Tables {
		if info, err := os.Stat(filepath.Join(dir, tableName(id))); err == nil {
			levels[t.Level] += info.Size()
			l.all += info.Size()
		}
		if t.Level == 0 {
			l.zero++
		}
	}
	for level, size := range levels {
		l.filled = l.filled || level > 0 && level < lastLevel && size >= baseLevel
	}
	return l
}

func tableName(id uint64) string { return fmt.Sprintf("%06d.sst", id) }

// leftLogs are the logs that dir's last process left: Badger makes each a table
// as soon as it is opened.
type leftLogs struct {
	tables int   // that come of them
	bytes  int64 // room for these, at most
	spare  int64 // what is allocated for the logs beyond their content: Badger cuts it off
}

func logsIn(dir string) (l leftLogs, err error) {
	names, err := filepath.Glob(filepath.Join(dir, "*.mem"))
	if err != nil {
		return l, err
	}
	for _, name := range names {
		size, room, err := contentOf(name)
		if err != nil {
			return l, fmt.Errorf("measure log: %w", err)
		}
		l.spare += max(room-size, 0)
		if size <= walHeader {
			continue // nothing was written
		}
		l.tables++
		l.bytes += logTable(size)
	}
	return l, nil
}

// logTable is the room for the table of a log with n bytes of content. What is
// least in a log, a key of a byte, takes 18 bytes there and 22 in a table.
func logTable(n int64) int64 { return tableNeed(n + n/4) }

// contentOf is how far a file goes up to its last byte that is not 0, and what
// is allocated for it.
func contentOf(name string) (size, room int64, err error) {
	f, err := os.Open(name)
	if err != nil {
		return 0, 0, err
	}
	defer f.Close() //nolint:errcheck // only read
	info, err := f.Stat()
	if err != nil {
		return 0, 0, err
	}
	if st, ok := info.Sys().(*syscall.Stat_t); ok {
		room = st.Blocks * 512
	}
	buf := make([]byte, 64<<10)
	for end := info.Size(); end > 0; {
		at := max(end-int64(len(buf)), 0)
		p := buf[:end-at]
		if _, err := f.ReadAt(p, at); err != nil && !errors.Is(err, io.EOF) {
			return 0, 0, err
		}
		for i := len(p); i > 0; i-- {
			if p[i-1] != 0 {
				return at + int64(i), room, nil
			}
		}
		end = at
	}
	return 0, room, nil
}

// openNeed is the room that Badger takes by itself when it opens dir, over what
// it gives back, and whether there is something to compact.
func openNeed(dir string) (need int64, compacts bool, err error) {
	logs, err := logsIn(dir)
	if err != nil {
		return 0, false, err
	}
	l := layoutIn(dir)
	l.zero += logs.tables
	l.all += logs.bytes
	return max(logs.bytes+l.need()-logs.spare, 0), l.due(), nil
}

// waitFlushed waits until the logs before number mem are tables, and reports
// whether they were in time.
func waitFlushed(dir string, mem uint64, wait time.Duration) bool {
	tick := time.NewTicker(flushPoll)
	defer tick.Stop()
	for end := time.Now().Add(wait); !flushed(dir, mem); <-tick.C {
		if time.Now().After(end) {
			return false
		}
	}
	return true
}

// waitCompacted waits until what is due is compacted, and reports whether it
// was in time. What is being compacted counts as due until its tables have
// left their level, and what comes after that as soon as they are in the next,
// so there is no moment in between.
func waitCompacted(dir string, db *badger.DB, wait time.Duration) bool {
	tick := time.NewTicker(settlePoll)
	defer tick.Stop()
	for end := time.Now().Add(wait); compacting(dir, db); <-tick.C {
		if time.Now().After(end) {
			return false
		}
	}
	return true
}

// compacting reports whether there is a sign of a compaction, or of one to come.
func compacting(dir string, db *badger.DB) bool { return layoutOf(db).due() || writing(dir, db) }

// flushed reports whether no log before number mem is left.
func flushed(dir string, mem uint64) bool {
	names, err := filepath.Glob(filepath.Join(dir, "*.mem"))
	if err != nil {
		return true // there is no such pattern
	}
	for _, name := range names {
		n, err := memNumber(name)
		if err != nil || n >= mem {
			continue
		}
		if _, err := os.Stat(name); err == nil {
			return false
		}
	}
	return true
}

// writing reports whether there is a table that is not yet, or no longer, part
// of the tree.
func writing(dir string, db *badger.DB) bool {
	names, err := filepath.Glob(filepath.Join(dir, "*.sst"))
	return err == nil && len(names) != len(db.Tables())
}

func memNumber(name string) (uint64, error) {
	return strconv.ParseUint(strings.TrimSuffix(filepath.Base(name), ".mem"), 10, 32)
}

// newestMem is the number of the log in use.
func newestMem(dir string) (newest uint64, err error) {
	names, err := filepath.Glob(filepath.Join(dir, "*.mem"))
	if err != nil {
		return 0, err
	}
	for _, name := range names {
		n, err := memNumber(name)
		if err != nil {
			return 0, fmt.Errorf("number of %s: %w", name, err)
		}
		newest = max(newest, n)
	}
	return newest, nil
}
