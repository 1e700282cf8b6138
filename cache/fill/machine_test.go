package fill

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// TestAnyInterleaving lets readers come and go while the source dies, hangs,
// lies, changes its version, blocks are lost and the box restarts, in random
// order. Whatever happens, a reader has the bytes of the version it began with
// or an error, and in the end nothing is left running.
func TestAnyInterleaving(t *testing.T) {
	runs := uint64(250) / raceDivides
	if testing.Short() {
		runs /= 5
	}
	// FILL_RUNS=100000 is for an idle night.
	if n, err := strconv.ParseUint(os.Getenv("FILL_RUNS"), 10, 64); err == nil {
		runs = n
	}
	for seed := range runs {
		ok := t.Run(fmt.Sprintf("seed %d", seed), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { interleave(t, seed) })
		})
		if !ok {
			return
		}
	}
}

func interleave(t *testing.T, seed uint64) {
	rng := rand.New(rand.NewPCG(seed, 7))
	size := []int{1, 1000, int(mb), int(mb) + 1, int(2*mb) + 77, int(3 * mb)}[rng.IntN(6)]
	kind := rng.IntN(3) // of source: ranges; no ranges but proven; neither
	faults := rng.IntN(4) > 0
	limit := int64(0)
	if faults && rng.IntN(5) == 0 {
		limit = mb + mb/3
	}
	bd := newBed(t, limit)
	bd.cfg.Patience = time.Duration(1+rng.IntN(20)) * time.Second
	bd.cfg.AskedLately = time.Duration(1+rng.IntN(5)) * time.Second
	bd.cfg.Fetches = 1 + rng.IntN(5)
	bd.cfg.Near, bd.cfg.Skip = int64(rng.IntN(300<<10)), int64(rng.IntN(70<<10))
	bd.restart()
	o := newOrigin(size)
	o.bits, o.latency = 1e6*float64(1+rng.IntN(40)), time.Duration(rng.IntN(50))*time.Millisecond
	o.noRanges, o.weak = kind > 0, kind > 1
	o.noLength = rng.IntN(4) == 0
	if faults {
		o.atZero = rng.IntN(8) == 0
	}

	var wg sync.WaitGroup
	var errs sync.Map // of readers, for what the run without faults demands
	fits := func(got []byte, from int64, data []byte) bool {
		return from >= int64(len(data)) && len(got) == 0 || from < int64(len(data)) && bytes.HasPrefix(data[from:], got)
	}
	reader := func(id int, from, to int64, stay time.Duration) {
		defer wg.Done()
		ctx, cancel := context.WithTimeout(t.Context(), stay)
		defer cancel()
		b, err := bd.open(o)
		if err != nil {
			if !errors.Is(err, ErrStopped) {
				t.Errorf("Open: %v", err)
			}
			return
		}
		defer b.Release()
		r := b.NewReader(from, to)
		defer r.Close()
		var w bytes.Buffer
		w.Grow(size)
		_, err = r.CopyTo(ctx, &w)
		if err != nil {
			errs.Store(id, err)
		}
		switch {
		case err == nil, errors.Is(err, ErrChanged), errors.Is(err, ErrUnavailable), errors.Is(err, ErrStopped), errors.Is(err, context.DeadlineExceeded):
		default:
			t.Errorf("reading %d..%d: %v", from, to, err)
		}
		o.mu.Lock()
		defer o.mu.Unlock()
		if !fits(w.Bytes(), from, o.start) && !(o.weak && fits(w.Bytes(), from, o.data)) {
			t.Errorf("reading %d..%d: wrong among %d bytes (%v)", from, to, w.Len(), err)
			return
		}
		if to < 0 || to > int64(size) {
			to = int64(size)
		}
		if err == nil && int64(w.Len()) != max(0, to-from) {
			t.Errorf("reading %d..%d of %d: ended after %d bytes with no error", from, to, size, w.Len())
		}
	}
	readers := 0
	for range 5 + rng.IntN(25) {
		act := rng.IntN(16)
		if act > 8 && !faults {
			act = rng.IntN(8)
		}
		switch act {
		case 0, 1, 2, 3, 4, 5:
			from, to := int64(0), int64(-1)
			if rng.IntN(2) == 0 {
				from = rng.Int64N(int64(size))
				to = from + 1 + rng.Int64N(int64(size)-from)
			}
			stay := time.Hour
			if rng.IntN(3) == 0 {
				stay = time.Duration(rng.IntN(3000)) * time.Millisecond
			}
			wg.Add(1)
			go reader(readers, from, to, stay)
			readers++
		case 6, 7, 8:
			time.Sleep(time.Duration(rng.IntN(2000)) * time.Millisecond)
		case 9:
			o.set(func() { o.dieAfter = rng.Int64N(int64(size)) })
		case 10:
			o.set(func() { o.down, o.cuts = !o.down, o.cuts+1 })
		case 11:
			o.set(func() { o.silent, o.cuts = !o.silent, o.cuts+1 })
		case 12:
			o.set(func() { o.dieAfter, o.dieEach, o.down, o.silent = -1, int64(rng.IntN(3))*200_000, false, false })
		case 13:
			o.set(func() {
				if rng.IntN(4) == 0 && bytes.Equal(o.data, o.start) {
					o.data = bytes.Clone(o.start)
					// Here and there from some place on: a mixture is neither version.
					for i := rng.IntN(size); i < size; i += 50_000 {
						o.data[i] ^= 0x55
					}
					o.cuts++
				}
			})
		case 14:
			if bl := bd.saved().Blocks; len(bl) > 0 {
				d := bl[rng.IntN(len(bl))]
				if rng.IntN(2) == 0 {
					bd.store.Damage(d)
				} else {
					bd.store.Drop(d)
				}
			}
		case 15:
			if rng.IntN(3) == 0 {
				bd.restart()
			} else if p := bd.saved().Pieces; len(p) > 0 {
				bd.store.Damage(p[rng.IntN(len(p))].Digest)
			}
		}
	}
	time.Sleep(2 * time.Hour) // everybody has left or given up by then
	wg.Wait()
	synctest.Wait()
	bd.quiet(o)
	if !faults {
		errs.Range(func(id, err any) bool {
			if !errors.Is(err.(error), context.DeadlineExceeded) {
				t.Errorf("reader %d: %v, with no fault", id, err)
			}
			return true
		})
		// A source without ranges begins anew when all had left.
		if sent := o.sent(); kind == 0 && !o.noLength && sent > int64(size)+int64(size)/50 {
			t.Errorf("sent %d of %d", sent, size)
		}
	}
	bd.m.Close()
}
