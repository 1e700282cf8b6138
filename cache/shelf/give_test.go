package shelf_test

import (
	"bytes"
	"context"
	"errors"
	"sync"
	"testing"
	"time"

	"preau/cache/block"
	"preau/cache/shelf"
)

// digests are the names of an item's blocks.
func (w *world) digests(it shelf.Item) (out []block.Digest) {
	for _, p := range w.lists[it.List] {
		out = append(out, p.Digest)
	}
	return append(out, it.Blocks...)
}

// both is a world with an item in blocks of block.Size, and one that is cut.
func both(t *testing.T, seed byte) (*world, map[string][]byte, []shelf.Item) {
	t.Helper()
	w := newWorld(t)
	data := map[string][]byte{"even": noise(2<<20+3, seed), "listed": noise(1_500_000, seed+1)}
	items := []shelf.Item{w.publish("even", data["even"]), w.publishCut("listed", data["listed"])}
	for _, it := range items {
		w.upsert(it)
	}
	return w, data, items
}

func TestWhatIsGivenIsKept(t *testing.T) {
	w, data, items := both(t, 90)
	for _, it := range items {
		var got []byte
		for _, d := range w.digests(it) {
			if _, err := w.Lent(t.Context(), it.ID, d); !errors.Is(err, block.ErrNotFound) {
				t.Errorf("before it came: %v", err)
			}
			p, done, err := w.Give(t.Context(), it.ID, d, false, nil)
			w.check(err)
			got = append(got, p...)
			done()
			if n, err := w.Lent(t.Context(), it.ID, d); err != nil || n != len(p) {
				t.Errorf("it has %d bytes, %v", n, err)
			}
			if again, err := w.Lend(t.Context(), it.ID, d); err != nil || !bytes.Equal(again, p) {
				t.Errorf("it gives %d bytes, %v", len(again), err)
			}
		}
		if !bytes.Equal(got, data[it.ID]) {
			t.Errorf("%d bytes were given", len(got))
		}
		if st := w.state(it.ID); !st.Complete {
			t.Errorf("%s: %+v", it.ID, st)
		}
	}
	w.region.set(func() { w.down = true })
	w.reopen()
	for _, it := range items {
		if r := w.get(it.Path()); r.status != 200 || !bytes.Equal(r.body, data[it.ID]) {
			t.Errorf("without the line: %d, %d bytes, %v", r.status, len(r.body), r.err)
		}
	}
	if w.most() != 1 {
		t.Errorf("a block was fetched %d times", w.most())
	}
}

func TestWhatIsNoBlockOfAnItemIsNotGiven(t *testing.T) {
	w, _, items := both(t, 92)
	for _, it := range items {
		w.check(w.Fetch(t.Context(), it.ID, nil))
	}
	w.took()
	even, listed := w.digests(items[0])[0], w.digests(items[1])[0]
	for name, tt := range map[string]struct {
		id   string
		d    block.Digest
		want error
	}{
		"another item's":    {"even", listed, block.ErrNotFound},
		"the other way":     {"listed", even, block.ErrNotFound},
		"nobody's":          {"even", block.Sum(nil), block.ErrNotFound},
		"no item's":         {"none", even, shelf.ErrUnknown},
		"not even a name's": {"../even", even, shelf.ErrUnknown},
	} {
		if _, err := w.Lent(t.Context(), tt.id, tt.d); !errors.Is(err, tt.want) {
			t.Errorf("%s: lent: %v", name, err)
		}
		if _, err := w.Lend(t.Context(), tt.id, tt.d); !errors.Is(err, tt.want) {
			t.Errorf("%s: lend: %v", name, err)
		}
		if _, _, err := w.Give(t.Context(), tt.id, tt.d, false, nil); !errors.Is(err, tt.want) {
			t.Errorf("%s: give: %v", name, err)
		}
	}
	w.remove("even")
	if _, err := w.Lend(t.Context(), "even", even); !errors.Is(err, shelf.ErrUnknown) {
		t.Errorf("what was taken back: %v", err)
	}
	if w.took() != 0 {
		t.Error("something was fetched")
	}
}

// Two boxes do not learn of a new version in the same moment.
func TestTheVersionBeforeIsLent(t *testing.T) {
	for name, cut := range map[string]bool{"even": false, "listed": true} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			before, now, _, _ := w.versions(cut)
			w.upsert(now)
			named := map[block.Digest]bool{}
			for _, d := range w.digests(now) {
				named[d] = true
			}
			old := 0
			for _, d := range w.digests(before) {
				if named[d] {
					continue
				}
				old++
				if _, err := w.Lend(t.Context(), "a", d); err != nil {
					t.Errorf("a block of the version before: %v", err)
				}
				if _, _, err := w.Give(t.Context(), "a", d, false, nil); !errors.Is(err, block.ErrNotFound) {
					t.Errorf("it would be fetched: %v", err)
				}
			}
			if old == 0 {
				t.Error("no block is of the version before alone")
			}
		})
	}
}

func TestManyBoxesAreGivenABlockThatIsFetchedOnce(t *testing.T) {
	w, _, items := both(t, 94)
	gate := make(chan struct{})
	w.region.set(func() { w.slow = gate })
	var asking sync.WaitGroup
	for range 10 {
		for _, it := range items {
			asking.Go(func() {
				_, done, err := w.Give(t.Context(), it.ID, w.digests(it)[0], false, nil)
				if err != nil {
					t.Error(err)
					return
				}
				done()
			})
		}
	}
	close(gate)
	asking.Wait()
	if w.most() != 1 {
		t.Errorf("a block was fetched %d times", w.most())
	}
}

func TestWhatNobodyWaitsForIsGivenSlowly(t *testing.T) {
	w, _, items := both(t, 96)
	limit := shelf.NewRate(1 << 10)
	w.check(limit.WaitN(t.Context(), 1<<20)) // the next is a quarter of an hour away
	d := w.digests(items[0])[0]
	ctx, cancel := context.WithCancel(t.Context())
	waiting := make(chan error, 1)
	go func() {
		_, _, err := w.Give(ctx, "even", d, true, limit)
		waiting <- err
	}()
	began := time.Now()
	_, done, err := w.Give(t.Context(), "even", d, false, limit)
	w.check(err)
	done()
	if time.Since(began) > time.Minute {
		t.Error("people waited at the pace of what nobody waits for")
	}
	cancel()
	if err := <-waiting; err != nil && !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}

func TestWithoutADiskBlocksAreGivenAllTheSame(t *testing.T) {
	w, _, items := both(t, 98)
	st := w.store.Swap(nil)
	defer w.store.Store(st)
	d := w.digests(items[0])[0]
	for _, ahead := range []bool{false, true} {
		p, done, err := w.Give(t.Context(), "even", d, ahead, nil)
		if err != nil || block.Sum(p) != d {
			t.Fatalf("ahead %v: %d bytes, %v", ahead, len(p), err)
		}
		done()
	}
	if _, err := w.Lend(t.Context(), "even", d); !errors.Is(err, block.ErrNotFound) {
		t.Errorf("lend: %v", err)
	}
}
