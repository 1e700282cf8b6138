package feed

import (
	"bytes"
	"errors"
	"fmt"
	"testing"
	"time"

	"pgregory.net/rapid"

	"preau/replication/catalogue"
	"preau/replication/identity"
)

func TestPlan(t *testing.T) {
	now := state{region: here, epoch: 3, began: 50, applied: 100, floor: 40, fresh: 90}
	anew := start{mode: ModeSnapshot, until: 90, again: true}
	tests := map[string]struct {
		c     Cursor
		until uint64
		want  start
		err   error
	}{
		"a new box":                        {Cursor{}, 0, anew, nil},
		"of another region":                {Cursor{abroad, 3, 80}, 0, anew, nil},
		"at an index":                      {Cursor{here, 3, 80}, 0, start{mode: ModeChanges, after: 80}, nil},
		"at the floor":                     {Cursor{here, 3, 40}, 0, start{mode: ModeChanges, after: 40}, nil},
		"below the floor":                  {Cursor{here, 3, 39}, 0, anew, nil},
		"ahead of the server":              {Cursor{here, 3, 101}, 0, start{mode: ModeChanges, after: 101}, nil},
		"in a snapshot":                    {Cursor{here, 3, 10}, 60, start{mode: ModeSnapshot, after: 10, until: 60}, nil},
		"at the start of a snapshot":       {Cursor{here, 3, 0}, 60, start{mode: ModeSnapshot, until: 60}, nil},
		"in a snapshot below the floor":    {Cursor{here, 3, 10}, 39, anew, nil},
		"epoch before, what still holds":   {Cursor{here, 2, 50}, 0, start{mode: ModeChanges, after: 50}, nil},
		"epoch before, what may be lost":   {Cursor{here, 2, 51}, 0, anew, nil},
		"epoch before, lost in a snapshot": {Cursor{here, 2, 10}, 51, anew, nil},
		"two epochs ago":                   {Cursor{here, 1, 45}, 0, anew, nil},
		"an epoch to come":                 {Cursor{here, 4, 45}, 0, start{}, ErrBehind},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			got, err := plan(tt.c, tt.until, now)
			if got != tt.want || !errors.Is(err, tt.err) {
				t.Errorf("plan = %+v, %v; want %+v, %v", got, err, tt.want, tt.err)
			}
		})
	}
}

func TestRecordsAreWrittenAsTheyAreRead(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		number := rapid.OneOf(rapid.Uint64Range(1, 300), rapid.Uint64Range(1, 1<<17), rapid.Uint64Range(1, 1<<63))
		r := catalogue.Record{
			Kind: catalogue.Kind(rapid.IntRange(1, 63).Draw(t, "kind")), ID: rapid.StringN(1, 300, 300).Draw(t, "id"),
			Index: number.Draw(t, "index"), At: time.UnixMilli(rapid.Int64Range(-1<<40, 1<<50).Draw(t, "at")).UTC(),
			Deleted: rapid.Bool().Draw(t, "deleted"),
		}
		if !r.Deleted {
			r.Body = rapid.SliceOfN(rapid.Byte(), 0, 300).Draw(t, "body")
		}
		got := appendRecord(nil, &r, r.Deleted)
		w := wireRecord{Kind: r.Kind, ID: r.ID, Index: r.Index, At: r.At.UnixMilli(), Deleted: r.Deleted, Body: r.Body}
		if want, err := marshal(w); err != nil || !bytes.Equal(got, want) {
			t.Fatalf("% x, want deterministic CBOR % x (%v)", got, want, err)
		}
		back, err := decodeRecords(got, 1, r.Index-1, r.Index)
		if err != nil {
			t.Fatal(err)
		}
		if b := back[0].record(); b.ID != r.ID || !b.At.Equal(r.At) || b.Index != r.Index || !bytes.Equal(b.Body, r.Body) {
			t.Fatalf("read %+v, want %+v", b, r)
		}
	})
}

func TestChoice(t *testing.T) {
	targets := []Target{{Name: "a"}, {Name: "b"}, {Name: "c"}}
	mine := func() *choice { return &choice{box: "box", spread: time.Minute} }

	t.Run("a good line that is cut is taken again, at once", func(t *testing.T) {
		c := mine()
		first, _ := c.next(targets)
		if d := c.ended(first, targets, cut, time.Hour, 1); d > 2*time.Second {
			t.Errorf("wait %s", d)
		}
		if again, _ := c.next(targets); again != first {
			t.Errorf("next is %s, want %s", again.Name, first.Name)
		}
	})
	t.Run("a second failure takes another, and it stays with that", func(t *testing.T) {
		c := mine()
		first, _ := c.next(targets)
		c.ended(first, targets, cut, time.Hour, 1)
		c.ended(first, targets, cut, 0, 1)
		second, _ := c.next(targets)
		if second == first {
			t.Fatal("the same server again")
		}
		c.ended(second, targets, cut, time.Hour, 1)
		if got, _ := c.next(targets); got != second {
			t.Errorf("next is %s, want %s", got.Name, second.Name)
		}
		if c.ended(second, targets, tired, time.Hour, 1) != 0 {
			t.Error("it waits before it goes home")
		}
		if got, _ := c.next(targets); got != first {
			t.Errorf("home is %s, want %s", got.Name, first.Name)
		}
	})
	t.Run("when all fail boxes come back over a minute", func(t *testing.T) {
		c := mine()
		for i := range targets {
			s, _ := c.next(targets)
			d := c.ended(s, targets, cut, 0, 0.9)
			if all := i == len(targets)-1; all != (d == 54*time.Second) || !all && d > 2*time.Second {
				t.Errorf("wait %s after failure %d", d, i+1)
			}
		}
	})
	t.Run("draining moves on, revoked and full wait", func(t *testing.T) {
		c := mine()
		first, _ := c.next(targets)
		if d := c.ended(first, targets, parted, time.Hour, 1); d > 2*time.Second {
			t.Errorf("wait %s after draining", d)
		}
		if got, _ := c.next(targets); got == first {
			t.Error("back to a server that drains")
		}
		for _, how := range []outcome{banished, full, twice} {
			if d := c.ended(first, targets, how, time.Hour, 0); d < 30*time.Second {
				t.Errorf("%s: wait %s", how, d)
			}
		}
	})
	t.Run("boxes are spread", func(t *testing.T) {
		n := map[identity.Name]int{}
		for i := range 3000 {
			c := &choice{box: identity.Name(fmt.Sprint("box-", i))}
			s, _ := c.next(targets)
			n[s.Name]++
		}
		for s, n := range n {
			if n < 850 || n > 1150 {
				t.Errorf("%d of 3000 boxes begin with %s", n, s)
			}
		}
	})
	t.Run("no server", func(t *testing.T) {
		if _, ok := mine().next(nil); ok {
			t.Error("found one")
		}
	})
}

func TestConfigsAreChecked(t *testing.T) {
	if (Config{}).Validate() == nil || (FollowerConfig{}).Validate() == nil {
		t.Error("empty configs pass")
	}
	cfg := DefaultConfig()
	cfg.Region, cfg.Name = here, "alpha"
	if err := cfg.Validate(); err != nil {
		t.Error(err)
	}
	box := DefaultFollowerConfig()
	box.Box = boxOf("a", lyon)
	if err := box.Validate(); err != nil {
		t.Error(err)
	}
}
