package fill

import (
	"errors"
	"fmt"
	"io"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"preau/cache/block"
)

// TestAnnouncedIsNotFetchedTwice: between the head of the answer that told of a
// body and the begin of its fetch the class finds that fetch under way.
func TestAnnouncedIsNotFetchedTwice(t *testing.T) {
	for _, size := range []int{1, 1000, 300 << 10, block.Size, block.Size + block.Size/4} {
		for _, noLength := range []bool{false, true} {
			t.Run(fmt.Sprintf("%d bytes, no length %v", size, noLength), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					bd, o := newBed(t, 0), newOrigin(size)
					o.noLength = noLength
					b := bd.body(o)
					first := b.Expect(o.first())
					var wg sync.WaitGroup
					for range fewer(6, 3) {
						wg.Go(func() { bd.mustGet(o, 0, -1) })
					}
					synctest.Wait() // all of them wait for the first byte
					first.Feed()
					wg.Wait()
					b.Release()
					synctest.Wait()
					bd.quiet(o)
					if asked := o.asked(); len(asked) != 1 || o.sent() != int64(size) {
						t.Errorf("the source was asked for %v and sent %d bytes of %d", asked, o.sent(), size)
					}
					if !bd.saved().Complete() {
						t.Error("not complete")
					}
					bd.m.Close()
				})
			})
		}
	}
}

// TestWhatIsTakenBack: a stream that was announced and is not given after all
// stays whole and the caller's, and nobody has its body fetched.
func TestWhatIsTakenBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		bd, o := newBed(t, 0), newOrigin(1000)
		b := bd.body(o)
		st := o.first()
		first := b.Expect(st)
		var wg sync.WaitGroup
		wg.Go(func() {
			if n, err := bd.get(t.Context(), o, 0, -1, o.data); !errors.Is(err, ErrUnavailable) || !errors.Is(err, errBroke) {
				t.Errorf("%d bytes, %v", n, err)
			}
		})
		synctest.Wait()
		first.Drop(errBroke)
		b.Release()
		wg.Wait()
		synctest.Wait()
		if asked := o.asked(); len(asked) != 1 {
			t.Errorf("asked for %v", asked)
		}
		if got, err := io.ReadAll(st.Body); err != nil || len(got) != 1000 {
			t.Errorf("of the stream %d bytes are left, %v", len(got), err)
		}
		_ = st.Body.Close() // ours again
		bd.quiet(o)

		b, st = bd.body(o), o.first()
		bd.m.Close()
		b.Expect(st).Drop(errBroke)
		b.Expect(st).Feed() // closes it
		b.Release()
		bd.quiet(o)
	})
}

// TestAnAnnouncementIsPatient: how long the disk takes to record a body is not
// the source's silence.
func TestAnAnnouncementIsPatient(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		bd, o := newBed(t, 0), newOrigin(1000)
		b := bd.body(o)
		first := b.Expect(o.first())
		var wg sync.WaitGroup
		wg.Go(func() { bd.mustGet(o, 0, -1) })
		time.Sleep(2 * bd.cfg.Patience)
		bd.m.memory.storing.Add(2 * storingBytes) // and then to store what else there is
		first.Feed()
		time.Sleep(2 * bd.cfg.Patience)
		bd.m.memory.storing.Add(-2 * storingBytes)
		wg.Wait()
		b.Release()
		synctest.Wait()
		bd.quiet(o)
		if asked := o.asked(); len(asked) != 1 {
			t.Errorf("asked for %v", asked)
		}
		bd.m.Close()
	})
}

// TestAFetchAtItsEndHidesNoOther: one that has brought its last byte, and is
// not told of yet, is passed by another that reads over what it brought.
func TestAFetchAtItsEndHidesNoOther(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		bd, o := newBed(t, 0), newOrigin(int(2*mb))
		b := bd.body(o)
		b.mu.Lock()
		b.length = 2 * mb
		long, short := b.enter(0, 2*mb), b.enter(1000, 3000)
		for i := range int64(3000) {
			b.part(0).write(i, o.data[i:i+1])
		}
		b.have = b.have.add(1000, 3000)
		long.pos, short.pos = 900, 3000
		if !b.coming(3000) || !b.coming(3100) {
			t.Error("what the other brings would be fetched once more")
		}
		b.mu.Unlock()
		(&Expected{b: b, s: short}).Drop(errBroke)
		(&Expected{b: b, s: long}).Drop(errBroke)
		b.Release()
		synctest.Wait()
		bd.quiet(o)
		bd.m.Close()
	})
}

// heldBack is a stream that ends with an error once it may.
type heldBack struct{ reading, breaks chan struct{} }

func (h heldBack) Read([]byte) (int, error) {
	close(h.reading)
	<-h.breaks
	return 0, errBroke
}

func (h heldBack) Close() error { return nil }

// TestABrokenFetchCountsUntilItsEndIsDecided: whoever looks between the break
// of a fetch and the decision what follows finds it still there; else each of
// the class would begin another at once.
func TestABrokenFetchCountsUntilItsEndIsDecided(t *testing.T) {
	bd, o := newBed(t, 0), newOrigin(1000)
	b := bd.body(o)
	r := b.NewReader(1000, 1000) // needs nothing
	reading, breaks := make(chan struct{}), make(chan struct{})
	b.Feed(&Stream{Body: heldBack{reading, breaks}, To: 1000, Total: 1000, Proven: true})
	<-reading
	b.mu.Lock()
	var s *segment
	for s = range b.segs {
		break
	}
	close(breaks)
	select {
	case <-s.ctx.Done(): // with the lock held nothing can have been decided
		t.Error("the fetch counts as over before anything was decided")
	case <-time.After(50 * time.Millisecond):
	}
	if len(b.flying(nil)) != 1 {
		t.Error("no fetch is seen under way")
	}
	b.mu.Unlock()
	<-s.ctx.Done()
	r.Close()
	b.Release()
	bd.m.Close()
}
