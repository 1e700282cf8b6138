package evict_test

import (
	"bytes"
	"errors"
	"io"
	"testing"
	"testing/iotest"

	"preau/cache/evict"
)

// small is a config whose saved form is under a kilobyte.
func small() evict.Config {
	c := config()
	c.Objects = 64
	return c
}

// experienced has seen a few things.
func experienced(tb testing.TB, c evict.Config) *evict.Policy {
	tb.Helper()
	p := mustNew(tb, c)
	for k := range evict.Key(20) {
		for range k % 4 {
			p.Touch(k)
		}
		evicted(tb, p, 100+k, 3*mib)
	}
	return p
}

func saved(tb testing.TB, p *evict.Policy) []byte {
	tb.Helper()
	var b bytes.Buffer
	if err := p.Save(&b); err != nil {
		tb.Fatal(err)
	}
	return b.Bytes()
}

func TestLoadRestoresWhatWasSaved(t *testing.T) {
	c := small()
	c.Objects = 50_000 // several pieces of each table
	was := experienced(t, c)
	data := saved(t, was)
	p := experienced(t, c)
	p.Touch(9999) // to be forgotten
	in := bytes.NewReader(append(bytes.Clone(data), "what follows"...))
	if err := p.Load(iotest.HalfReader(in)); err != nil {
		t.Fatal(err)
	}
	if rest, err := io.ReadAll(in); err != nil || string(rest) != "what follows" {
		t.Errorf("Load left %q, %v", rest, err)
	}
	if !bytes.Equal(saved(t, p), data) {
		t.Error("what was loaded is not saved again alike")
	}
	if keep, _ := p.Retire(9999, evict.Main, 1); keep {
		t.Error("a touch from before Load still counts")
	}
	for k := range evict.Key(20) {
		gotKeep, _ := p.Retire(k, evict.Main, 1)
		wantKeep, _ := was.Retire(k, evict.Main, 1)
		if gotKeep != wantKeep {
			t.Errorf("Retire(%d) = %v, want %v", k, gotKeep, wantKeep)
		}
		if got := p.Admit(100+k, 10*mib); got != evict.Main {
			t.Errorf("Admit(%d) = %d: it is no longer known that it was evicted", 100+k, got)
		}
	}
}

func TestLoadOfAnythingElseLeavesThePolicyEmpty(t *testing.T) {
	good := saved(t, experienced(t, small()))
	fresh := saved(t, mustNew(t, small()))
	check := func(t *testing.T, r io.Reader) error {
		t.Helper()
		p := experienced(t, small())
		err := p.Load(r)
		if err == nil {
			t.Error("Load accepted it")
		}
		if !bytes.Equal(saved(t, p), fresh) {
			t.Error("the policy is not empty")
		}
		return err
	}
	t.Run("each byte damaged", func(t *testing.T) {
		for i := range good {
			data := bytes.Clone(good)
			data[i] ^= 0x10
			_ = check(t, bytes.NewReader(data))
		}
	})
	t.Run("each length", func(t *testing.T) {
		for i := range good {
			if err := check(t, bytes.NewReader(good[:i])); !errors.Is(err, io.ErrUnexpectedEOF) {
				t.Errorf("cut at %d: %v, want io.ErrUnexpectedEOF", i, err)
			}
		}
	})
	t.Run("disk error", func(t *testing.T) {
		broken := errors.New("broken disk")
		r := io.MultiReader(bytes.NewReader(good[:len(good)/2]), iotest.ErrReader(broken))
		if err := check(t, r); !errors.Is(err, broken) {
			t.Errorf("Load: %v, want %v", err, broken)
		}
	})
	t.Run("other budget", func(t *testing.T) {
		c := small()
		c.BudgetBytes *= 2
		_ = check(t, bytes.NewReader(saved(t, experienced(t, c))))
	})
	t.Run("other tables", func(t *testing.T) {
		c := small()
		c.Objects *= 2
		_ = check(t, bytes.NewReader(saved(t, experienced(t, c))))
	})
}

func TestSaveReportsAFullDisk(t *testing.T) {
	full := errors.New("disk is full")
	size := len(saved(t, experienced(t, small())))
	for _, room := range []int{0, 10, size - 1} {
		if err := experienced(t, small()).Save(&disk{room: room, err: full}); !errors.Is(err, full) {
			t.Errorf("with room for %d bytes: %v, want %v", room, err, full)
		}
	}
}

// disk takes room bytes, then fails.
type disk struct {
	room int
	err  error
}

func (d *disk) Write(p []byte) (int, error) {
	n := min(d.room, len(p))
	d.room -= n
	if n < len(p) {
		return n, d.err
	}
	return n, nil
}

func FuzzLoad(f *testing.F) {
	c := small()
	c.Objects = 1
	f.Add(saved(f, experienced(f, c)))
	f.Add(saved(f, mustNew(f, c)))
	f.Add([]byte("preauev1"))
	fresh := saved(f, mustNew(f, c))
	f.Fuzz(func(t *testing.T, data []byte) {
		p := experienced(t, c)
		want := fresh
		if p.Load(bytes.NewReader(data)) == nil {
			want = data[:len(fresh)]
		}
		if !bytes.Equal(saved(t, p), want) {
			t.Error("the policy is neither empty nor what was loaded")
		}
		// Whatever it was told, it must work.
		p.Touch(1)
		p.Retire(2, evict.Probation, 5*mib)
		p.Retire(1, evict.Probation, 2000*mib)
		p.Admit(2, 5*mib)
	})
}
