package catalogue_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"io"
	"testing"
	"testing/iotest"

	"preau/replication/catalogue"
	"preau/replication/kv/kvtest"
)

// furnished is a world with some of everything.
func furnished(tb testing.TB) *world {
	tb.Helper()
	w := newWorld(tb)
	w.enrol("box-1", lyon, keyA)
	w.must(put(tb, collection("c", lyon)), put(tb, resource("r1", "c")), put(tb, resource("r2", "c")))
	w.must(catalogue.NewDelete(catalogue.KindResource, "r2"))
	w.must(counts("box-1", 1, catalogue.Tally{Key: "r/r1", N: 7}))
	return w
}

func TestASnapshotIsTheWholeState(t *testing.T) {
	w := furnished(t)
	p := snapshot(t, w.s)
	other := newWorld(t)
	other.must(put(t, collection("goes")))
	if err := other.s.Restore(iotest.OneByteReader(bytes.NewReader(p))); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(snapshot(t, other.s), p) {
		t.Error("what was restored is something else")
	}
	index, term := other.s.Applied()
	if i, tm := w.s.Applied(); i != index || tm != term {
		t.Errorf("applied = %d, %d", index, term)
	}
	other.store = other.store.Crash()
	if other.s = open(t, other.store); !bytes.Equal(snapshot(t, other.s), p) {
		t.Error("what was restored is not durable")
	}
	// The commands of before are known.
	results, _, err := other.s.Apply([]catalogue.Entry{{Index: index + 1, Term: 1, Data: w.log[1].Data}})
	if err != nil || !results[0].Repeat || results[0].School != lyon {
		t.Errorf("a command of before the snapshot: %+v, %v", results, err)
	}
	empty := newWorld(t)
	if err := other.s.Restore(bytes.NewReader(snapshot(t, empty.s))); err != nil {
		t.Errorf("an empty state: %v", err)
	}
	if index, _ := other.s.Applied(); index != 0 {
		t.Errorf("applied = %d", index)
	}
}

func TestASnapshotStaysStill(t *testing.T) {
	w := furnished(t)
	want := snapshot(t, w.s)
	snap, err := w.s.Snapshot()
	if err != nil {
		t.Fatal(err)
	}
	defer snap.Close()
	w.must(put(t, collection("later")))
	for range 2 {
		var p bytes.Buffer
		n, err := snap.WriteTo(&p)
		if err != nil || n != int64(p.Len()) || !bytes.Equal(p.Bytes(), want) {
			t.Errorf("%d of %d bytes, %v", n, p.Len(), err)
		}
	}
	if _, err := snap.WriteTo(short{}); !errors.Is(err, io.ErrShortWrite) {
		t.Errorf("a full disk: %v", err)
	}
}

type short struct{}

func (short) Write([]byte) (int, error) { return 0, io.ErrShortWrite }

func TestABadSnapshotLeavesTheOldState(t *testing.T) {
	good := snapshot(t, furnished(t).s)
	head := len("PREAUCAT") + 18
	// sealed ends a snapshot as it should, whatever is in it.
	sealed := func(rows []byte, n uint64) []byte {
		p := append(bytes.Clone(good[:head]), rows...)
		p = binary.BigEndian.AppendUint64(append(p, 0), n)
		sum := sha256.Sum256(p)
		return append(p, sum[:]...)
	}
	row := func(key, value string) []byte {
		p := binary.AppendUvarint(nil, uint64(len(key)))
		p = binary.AppendUvarint(p, uint64(len(value)))
		return append(append(p, key...), value...)
	}
	huge := append(bytes.Clone(good[:head]), binary.AppendUvarint([]byte{1}, 1<<40)...)
	newer := bytes.Clone(good)
	newer[len("PREAUCAT")]++
	tests := map[string]struct {
		p    []byte
		want error
	}{
		"empty":             {nil, catalogue.ErrDamaged},
		"something else":    {bytes.Repeat([]byte("abc"), 100), catalogue.ErrDamaged},
		"bytes after it":    {append(bytes.Clone(good), 0), catalogue.ErrDamaged},
		"absurd length":     {huge, catalogue.ErrDamaged},
		"newer layout":      {newer, catalogue.ErrNewer},
		"unknown row":       {sealed(row("z", "1"), 1), catalogue.ErrDamaged},
		"rows in disorder":  {sealed(append(row("x2", "1"), row("x1", "1")...), 2), catalogue.ErrDamaged},
		"wrong number":      {sealed(nil, 3), catalogue.ErrDamaged},
		"no first row":      {sealed(row("x1", "1"), 1), catalogue.ErrDamaged},
		"other first row":   {sealed(row("m", "\x01\xa0"), 1), catalogue.ErrDamaged},
		"newer first row":   {sealed(row("m", "\x02\xa0"), 1), catalogue.ErrNewer},
		"no command":        {sealed(row("c1", "1"), 1), catalogue.ErrDamaged},
		"endless length":    {append(bytes.Clone(good[:head]), bytes.Repeat([]byte{0xff}, 20)...), nil},
		"a key of nothing?": {append(bytes.Clone(good[:head]), 0), catalogue.ErrDamaged},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) { unharmed(t, tt.p, tt.want) })
	}
	t.Run("cut short", func(t *testing.T) {
		for n := 0; n < len(good); n += 1 + n/50 {
			unharmed(t, good[:n], catalogue.ErrDamaged)
		}
	})
	t.Run("one bit", func(t *testing.T) {
		for n := 0; n < len(good); n += 7 {
			p := bytes.Clone(good)
			p[n] ^= 1 << (n % 8)
			unharmed(t, p, nil)
		}
	})
	t.Run("broken line", func(t *testing.T) {
		w := newWorld(t)
		err := w.s.Restore(iotest.TimeoutReader(iotest.HalfReader(bytes.NewReader(good))))
		if !errors.Is(err, iotest.ErrTimeout) {
			t.Errorf("err = %v", err)
		}
	})
}

// unharmed restores what can't be restored.
func unharmed(t *testing.T, p []byte, want error) {
	t.Helper()
	w := newWorld(t)
	c := w.command(put(t, collection("stays")))
	w.send(c)
	before := snapshot(t, w.s)
	err := w.s.Restore(bytes.NewReader(p))
	if err == nil || want != nil && !errors.Is(err, want) {
		t.Errorf("err = %v, want %v", err, want)
	}
	if !bytes.Equal(snapshot(t, w.s), before) {
		t.Error("the old state has changed")
	}
	if r := w.send(c); !r.Repeat {
		t.Error("the old commands are forgotten")
	}
}

func TestAStoreOfAnotherSortIsRefused(t *testing.T) {
	tests := map[string]struct {
		rows []string
		want error
	}{
		"another program's": {[]string{"key", "value"}, catalogue.ErrDamaged},
		"newer layout":      {[]string{"m", "\x02\xa0"}, catalogue.ErrNewer},
		"no layout":         {[]string{"m", "\x00"}, catalogue.ErrDamaged},
		"no meta":           {[]string{"m", "\x01\xff"}, catalogue.ErrDamaged},
		"bad command":       {[]string{"c", "x", "m", "\x01\xa0"}, catalogue.ErrDamaged},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			store := kvtest.NewMemory()
			kvtest.Put(t, store, tt.rows...)
			if _, err := catalogue.Open(store); !errors.Is(err, tt.want) {
				t.Errorf("err = %v, want %v", err, tt.want)
			}
		})
	}
}

func FuzzRestore(f *testing.F) {
	good := snapshot(f, furnished(f).s)
	f.Add(good[:len(good)-32], true)
	f.Add(good, false)
	f.Fuzz(func(t *testing.T, p []byte, seal bool) {
		if seal { // else few inputs get past the sum
			sum := sha256.Sum256(p)
			p = append(bytes.Clone(p), sum[:]...)
		}
		w := newWorld(t)
		before := snapshot(t, w.s)
		if err := w.s.Restore(bytes.NewReader(p)); err != nil {
			if !bytes.Equal(snapshot(t, w.s), before) {
				t.Fatal("the old state has changed")
			}
			return
		}
		if !bytes.Equal(snapshot(t, w.s), p) {
			t.Fatal("what was restored is something else")
		}
		// Whatever it holds, commands are carried out, or refused with an error.
		index, _ := w.s.Applied()
		for i, c := range someCommands(t) {
			p, err := catalogue.Encode(c)
			if err != nil {
				t.Fatal(err)
			}
			if index+uint64(i)+1 <= index {
				return
			}
			if _, _, err := w.s.Apply([]catalogue.Entry{{Index: index + uint64(i) + 1, Term: 1, Data: p}}); err != nil && !errors.Is(err, catalogue.ErrDamaged) {
				t.Fatal(err)
			}
		}
	})
}

// someCommands is a few commands that touch all sorts of rows.
func someCommands(tb testing.TB) []catalogue.Command {
	tb.Helper()
	w := &world{t: tb, now: noon}
	return []catalogue.Command{
		w.command(put(tb, collection("c", brest)), put(tb, resource("r1", "c"))),
		w.command(counts("box-1", 2, catalogue.Tally{Key: "r/r1", N: 7})),
		w.command(put(tb, catalogue.Purge{ID: "p", Scope: catalogue.ScopeCollection, Target: "c"})),
		w.command(prune(noon)),
	}
}
