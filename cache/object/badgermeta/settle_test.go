package badgermeta

import (
	"bytes"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"testing"
	"time"

	badger "github.com/dgraph-io/badger/v4"
	"github.com/dgraph-io/badger/v4/options"

	"preau/cache/object"
)

// killed is a folder as a kill -9 leaves it, with n logs of the same records
// that are not yet tables.
func killed(t *testing.T, records, size, n int) string {
	t.Helper()
	dir := t.TempDir()
	s := mustOpen(t, dir)
	batch := make([]object.Change, records)
	for i := range batch {
		batch[i] = object.Change{Key: num('k', i), Value: noise(size, i)}
	}
	if err := s.Write(batch); err != nil {
		t.Fatal(err)
	}
	log := memName("", s.room.mem)
	left := copyOf(t, dir)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(filepath.Join(left, log))
	if err != nil {
		t.Fatal(err)
	}
	for i := range n {
		if err := os.WriteFile(memName(left, s.room.mem+uint64(i)), b, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return left
}

func files(t *testing.T, dir, pattern string) []string {
	t.Helper()
	names, err := filepath.Glob(filepath.Join(dir, pattern))
	if err != nil {
		t.Fatal(err)
	}
	return names
}

// What is asked for before Badger is opened must be enough for the tables that
// it then writes.
func TestRoomForTheLogsIsMeasured(t *testing.T) {
	for _, c := range []struct {
		name          string
		records, size int
	}{
		{"nothing", 0, 0},
		{"one", 1, 10},
		{"tiny", fewer(20_000, 3_000), 0},
		{"small", fewer(8_000, 2_000), 300},
		{"large", 30, 200 << 10},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := killed(t, c.records, c.size, 1)
			if c.records == 0 {
				if logs, err := logsIn(dir); err != nil || logs.tables != 0 || logs.bytes != 0 {
					t.Fatalf("an empty log: %+v, %v", logs, err)
				}
				return
			}
			before, err := logsIn(dir)
			if err != nil || before.tables != 1 {
				t.Fatalf("%+v, %v", before, err)
			}
			s := mustOpen(t, dir)
			defer s.Close()
			wrote := int64(0)
			for _, name := range files(t, dir, "*.sst") {
				size, _ := allocated(t, name)
				wrote += size
			}
			if wrote == 0 || wrote > before.bytes {
				t.Errorf("tables of %d bytes, want some and at most %d", wrote, before.bytes)
			}
			if most := 2*wrote + 3<<20; before.bytes > most {
				t.Errorf("%d bytes are asked for, want at most %d", before.bytes, most)
			}
		})
	}
}

func TestOpenNeedsTheRoomThatBadgerTakes(t *testing.T) {
	dir := killed(t, 30, 200<<10, 1)
	for _, name := range files(t, dir, "*.mem") { // as long as it was used, so that nothing is given back
		edit(t, name, func(b []byte) []byte { return bytes.TrimRight(b, "\x00") })
	}
	need, _, err := openNeed(dir)
	if err != nil || need < 30*200<<10 {
		t.Fatalf("need = %d, %v", need, err)
	}
	before, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	cfg := DefaultConfig(dir)
	free := cfg.ReserveBytes + need - 1
	cfg.space = func(string) (int64, bool) { return free, true }
	for range 2 { // it may be tried again
		_, fresh, lost, err := Open(cfg, slog.New(slog.DiscardHandler))
		if !errors.Is(err, object.ErrFull) || fresh || lost != nil {
			t.Fatalf("with a byte too little: fresh = %v, lost = %v, %v", fresh, lost, err)
		}
		if after, err := os.ReadDir(dir); err != nil || len(after) != len(before) {
			t.Fatalf("it left %d files, want %d; %v", len(after), len(before), err)
		}
	}
	free++
	s, fresh, lost, err := Open(cfg, slog.New(slog.DiscardHandler))
	if err != nil || fresh || lost != nil {
		t.Fatalf("with enough: fresh = %v, lost = %v, %v", fresh, lost, err)
	}
	defer s.Close()
	for i := range 30 {
		if got, err := s.Get(num('k', i)); err != nil || !bytes.Equal(got, noise(200<<10, i)) {
			t.Errorf("record %d is not what was written: %v", i, err)
		}
	}
}

// Whoever has opened the store must not see Badger write what it found.
func TestOpenReturnsWhenAllIsWritten(t *testing.T) {
	if testing.Short() {
		t.Skip("a longer one: make test-system runs it")
	}
	for _, c := range []struct {
		name  string
		logs  int
		tight bool
	}{
		{"a log", 1, false},
		{"a log, little room", 1, true},
		{"logs that are compacted, little room", levelZero + 1, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := killed(t, 8_000, 500, c.logs)
			cfg := patientConfig(dir)
			if c.tight {
				cfg.space = func(string) (int64, bool) { return scarce - 1, true }
			}
			s, fresh, lost, err := Open(cfg, slog.New(slog.DiscardHandler))
			if err != nil || fresh || lost != nil {
				t.Fatalf("fresh = %v, lost = %v, %v", fresh, lost, err)
			}
			defer s.Close()
			if !flushed(dir, s.room.mem) {
				t.Errorf("logs are left: %v", files(t, dir, "*.mem"))
			}
			if c.logs < levelZero || c.tight {
				if l := layoutOf(s.db); l.all == 0 || l.due() || writing(dir, s.db) {
					t.Errorf("something is still to be compacted: %+v", l)
				}
			}
			for i := range 8_000 {
				if got, err := s.Get(num('k', i)); err != nil || !bytes.Equal(got, noise(500, i)) {
					t.Fatalf("record %d is not what was written: %v", i, err)
				}
			}
		})
	}
}

// TestALittleIsMergedAtOnce: nobody waits for the turn of Badger's compactors,
// which would have left the second of two tables that don't touch.
func TestALittleIsMergedAtOnce(t *testing.T) {
	dir := t.TempDir()
	const tables = levelZero + 1 // the first is merged, by Badger itself
	for n := range tables {
		s := mustOpen(t, dir)
		if err := s.Write([]object.Change{{Key: num('k', n), Value: noise(500, n)}}); err != nil {
			t.Fatal(err)
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
	if _, compacts, err := openNeed(dir); err != nil || !compacts {
		t.Fatalf("there is nothing to compact: %v", err)
	}
	s := mustOpen(t, dir)
	defer s.Close()
	if l := layoutOf(s.db); l.zero != 0 || l.all == 0 || l.due() || writing(dir, s.db) {
		t.Errorf("something is left to be compacted: %+v", l)
	}
	for n := range tables {
		if got, err := s.Get(num('k', n)); err != nil || !bytes.Equal(got, noise(500, n)) {
			t.Errorf("record %d is not what was written: %v", n, err)
		}
	}
}

// A compaction that a table sets off is asked for with it, whether the tables
// are seen in MANIFEST or in the open store.
func TestRoomForACompactionIsMeasured(t *testing.T) {
	dir := t.TempDir()
	for n := range levelZero {
		s := mustOpen(t, dir)
		if l := layoutOf(s.db); l.zero != n || l.need() != 0 {
			t.Fatalf("after %d tables: %+v", n, l)
		}
		if n == levelZero-1 {
			alone := tableNeed(s.room.table)
			if need := s.room.flushNeed(); need <= alone {
				t.Errorf("a table that starts a compaction needs %d, want more than %d", need, alone)
			}
		}
		if err := s.Write([]object.Change{{Key: num('k', n), Value: noise(100<<10, n)}}); err != nil {
			t.Fatal(err)
		}
		if n == levelZero-1 {
			dir = copyOf(t, dir)
			need, compacts, err := openNeed(dir)
			logs, logErr := logsIn(dir)
			if err := errors.Join(err, logErr); err != nil || !compacts || need <= logs.bytes-logs.spare {
				t.Errorf("need = %d, compacts = %v, %v; logs = %+v", need, compacts, err, logs)
			}
			if l := layoutIn(dir); l.zero != n || l.all < int64(n)*100<<10 {
				t.Errorf("in the folder: %+v", l)
			}
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

// A scan that holds on to a log must not hold up every write after it.
func TestNobodyWaitsTwiceForTheSameLog(t *testing.T) {
	dir := t.TempDir()
	s := mustOpen(t, dir)
	defer s.Close()
	s.room.slow = s.room.mem
	if err := os.WriteFile(memName(dir, s.room.mem-1), []byte{1}, 0o600); err != nil {
		t.Fatal(err)
	}
	if s.room.flush(s.room.mem) {
		t.Error("a log that is there counts as written")
	}
	if err := os.Remove(memName(dir, s.room.mem-1)); err != nil {
		t.Fatal(err)
	}
	if !s.room.flush(s.room.mem) {
		t.Error("a log that is gone does not count as written")
	}
}

// Tables of an earlier version are compressed, larger, and lie in more of level 0.
func TestCompressedTablesStayReadable(t *testing.T) {
	dir := t.TempDir()
	if err := mustOpen(t, dir).Close(); err != nil {
		t.Fatal(err)
	}
	log := slog.New(slog.DiscardHandler)
	for n := range 4 {
		db, err := badger.Open(badgerOptions(dir, log).
			WithCompression(options.Snappy).
			WithBlockCacheSize(1 << 20). // Badger writes none without
			WithBaseTableSize(2 << 20).
			WithNumLevelZeroTablesStall(15).
			WithNumLevelZeroTables(5))
		if err != nil {
			t.Fatal(err)
		}
		err = db.Update(func(txn *badger.Txn) error {
			return txn.Set(num('k', n), bytes.Repeat([]byte{byte(n)}, 5000))
		})
		if err := errors.Join(err, db.Close()); err != nil {
			t.Fatal(err)
		}
	}
	names := files(t, dir, "*.sst")
	for i := range names {
		names[i] = filepath.Base(names[i])
	}
	if err := (&sums{dir: dir}).update(stateClosed, names); err != nil || len(names) < 4 {
		t.Fatal(names, err)
	}
	s := mustOpen(t, dir)
	defer s.Close()
	for range 2 { // as they were, and when they are merged
		for n := range 4 {
			if got, err := s.Get(num('k', n)); err != nil || !bytes.Equal(got, bytes.Repeat([]byte{byte(n)}, 5000)) {
				t.Errorf("record %d is not what was written: %v", n, err)
			}
		}
		if !waitCompacted(dir, s.db, time.Minute) {
			t.Error("never merged")
		}
	}
}
