package storage

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/raft"
	"go.uber.org/goleak"
	"pgregory.net/rapid"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func entry(i, term uint64) *raft.Log {
	return &raft.Log{Index: i, Term: term, Data: fmt.Appendf(nil, "%d.%d", i, term), AppendedAt: time.Unix(0, 0).UTC()}
}

func open(tb testing.TB, dir, kind string) *Stores {
	tb.Helper()
	s, err := Files{Dir: dir, Kind: kind}.Open(hclog.NewNullLogger())
	if err != nil {
		tb.Fatal(err)
	}
	return s
}

func shut(tb testing.TB, s *Stores) {
	tb.Helper()
	if err := s.Close(); err != nil {
		tb.Fatal(err)
	}
}

func check(tb testing.TB, l raft.LogStore, want map[uint64]uint64, first, last uint64) {
	tb.Helper()
	f, err := l.FirstIndex()
	if err != nil {
		tb.Fatal(err)
	}
	e, err := l.LastIndex()
	if err != nil {
		tb.Fatal(err)
	}
	if last > 0 && f != first || e != last {
		tb.Fatalf("log is %d..%d, want %d..%d", f, e, first, last)
	}
	for i, term := range want {
		var got raft.Log
		if err := l.GetLog(i, &got); err != nil {
			tb.Fatalf("entry %d: %v", i, err)
		}
		if got.Term != term || string(got.Data) != string(entry(i, term).Data) {
			tb.Fatalf("entry %d = %d %q, want term %d", i, got.Term, got.Data, term)
		}
	}
	var got raft.Log
	if err := l.GetLog(last+1, &got); !errors.Is(err, raft.ErrLogNotFound) {
		tb.Fatalf("entry after the end: %v, want ErrLogNotFound", err)
	}
}

// A log does what raft asks of it, through restarts, for both kinds.
func TestLogKeepsWhatItWasGiven(t *testing.T) {
	for _, kind := range []string{WAL, Bolt} {
		t.Run(kind, func(t *testing.T) {
			root, tries := t.TempDir(), 0
			rapid.Check(t, func(rt *rapid.T) {
				dir := filepath.Join(root, strconv.Itoa(tries))
				tries++
				s := open(t, dir, kind)
				defer func() { shut(t, s) }()
				want := map[uint64]uint64{}
				var first, last, term uint64 = 0, 0, 1
				for range rapid.IntRange(1, 12).Draw(rt, "steps") {
					switch rapid.IntRange(0, 3).Draw(rt, "step") {
					case 0:
						next := last + 1
						if last == 0 {
							next = uint64(rapid.IntRange(1, 50).Draw(rt, "start"))
							first = next
						}
						var logs []*raft.Log
						for i := range uint64(rapid.IntRange(1, 20).Draw(rt, "n")) {
							logs = append(logs, entry(next+i, term))
							want[next+i] = term
							last = next + i
						}
						if err := s.Logs.StoreLogs(logs); err != nil {
							rt.Fatal(err)
						}
					case 1: // the leader has changed and thinks otherwise
						if last == 0 {
							continue
						}
						from := uint64(rapid.IntRange(int(first), int(last)).Draw(rt, "from"))
						if err := s.Logs.DeleteRange(from, last); err != nil {
							rt.Fatal(err)
						}
						for i := from; i <= last; i++ {
							delete(want, i)
						}
						term++
						if last = from - 1; from == first {
							first, last = 0, 0
						}
					case 2: // a snapshot was taken
						if last == 0 {
							continue
						}
						to := uint64(rapid.IntRange(int(first), int(last)).Draw(rt, "to"))
						if err := s.Logs.DeleteRange(first, to); err != nil {
							rt.Fatal(err)
						}
						for i := first; i <= to; i++ {
							delete(want, i)
						}
						if first = to + 1; to == last {
							first, last = 0, 0
						}
					case 3:
						shut(t, s)
						s = open(t, dir, kind)
					}
					check(t, s.Logs, want, first, last)
				}
			})
		})
	}
}

func TestOneProcessAtATime(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir, WAL)
	if _, err := (Files{Dir: dir, Kind: WAL}).Open(hclog.NewNullLogger()); !errors.Is(err, ErrLocked) {
		t.Errorf("second opening: %v, want ErrLocked", err)
	}
	shut(t, s)
	s = open(t, dir, WAL)
	shut(t, s)
}

func TestOtherKindIsRefused(t *testing.T) {
	dir := t.TempDir()
	shut(t, open(t, dir, WAL))
	if _, err := (Files{Dir: dir, Kind: Bolt}).Open(hclog.NewNullLogger()); err == nil {
		t.Error("a bolt log was begun beside a wal")
	}
	shut(t, open(t, dir, WAL))
}

// After a write that failed the log goes on, with nothing lost and nothing that
// was not promised.
func TestWALGoesOnAfterAFailedWrite(t *testing.T) {
	l, err := openWAL(filepath.Join(t.TempDir(), "log"), hclog.NewNullLogger())
	if err != nil {
		t.Fatal(err)
	}
	if err := l.StoreLogs([]*raft.Log{entry(1, 1), entry(2, 1)}); err != nil {
		t.Fatal(err)
	}
	// Behind its back: an entry that reached the disk although the caller was told otherwise.
	if err := l.w.StoreLogs([]*raft.Log{entry(3, 1)}); err != nil {
		t.Fatal(err)
	}
	if err := l.w.Close(); err != nil { // every write fails from here on
		t.Fatal(err)
	}
	if err := l.StoreLogs([]*raft.Log{entry(3, 2)}); err == nil {
		t.Fatal("a write to a closed file went well")
	}
	if err := l.StoreLogs([]*raft.Log{entry(3, 2), entry(4, 2)}); err != nil {
		t.Fatalf("write after the failure: %v", err)
	}
	check(t, l, map[uint64]uint64{1: 1, 2: 1, 3: 2, 4: 2}, 1, 4)
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
}

// A crash after a segment was filled and before the next one was begun leaves a
// tail that takes nothing more.
func TestWALMendsASealedTail(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "log")
	l, err := openWAL(dir, hclog.NewNullLogger())
	if err != nil {
		t.Fatal(err)
	}
	big := make([]byte, 1<<20)
	want := map[uint64]uint64{}
	var i uint64
	for i = 1; i <= 15; i++ {
		if err := l.StoreLog(&raft.Log{Index: i, Term: 1, Data: big}); err != nil {
			t.Fatal(err)
		}
	}
	crash := filepath.Join(t.TempDir(), "log")
	// The metadata of before the change of segment, the segment of after it.
	meta, err := os.ReadFile(filepath.Join(l.path(l.gen), "wal-meta.db"))
	if err != nil {
		t.Fatal(err)
	}
	for ; i <= 17; i++ {
		if err := l.StoreLog(&raft.Log{Index: i, Term: 1, Data: big}); err != nil {
			t.Fatal(err)
		}
		segments, err := filepath.Glob(filepath.Join(l.path(l.gen), "*.wal"))
		if err != nil {
			t.Fatal(err)
		}
		if len(segments) > 1 {
			break
		}
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	gen := filepath.Join(crash, filepath.Base(l.path(l.gen)))
	if err := os.MkdirAll(gen, 0o700); err != nil {
		t.Fatal(err)
	}
	segments, err := filepath.Glob(filepath.Join(l.path(l.gen), "*.wal"))
	if err != nil {
		t.Fatal(err)
	}
	data, err := os.ReadFile(segments[0])
	if err != nil {
		t.Fatal(err)
	}
	for name, b := range map[string][]byte{"wal-meta.db": meta, filepath.Base(segments[0]): data} {
		if err := os.WriteFile(filepath.Join(gen, name), b, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	l, err = openWAL(crash, hclog.NewNullLogger())
	if err != nil {
		t.Fatal(err)
	}
	last, err := l.LastIndex()
	if err != nil || last < 15 {
		t.Fatalf("last = %d, %v", last, err)
	}
	if err := l.StoreLogs([]*raft.Log{entry(last+1, 2)}); err != nil {
		t.Fatalf("append after the crash: %v", err)
	}
	want[last+1] = 2
	check(t, l, want, 1, last+1)
	if l.gen != 2 {
		t.Errorf("generation = %d: this did not meet a sealed tail", l.gen)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
}
