package evict

import (
	"math/bits"
	"sync/atomic"
)

// A tally counts the touches of each object, up to three.
//
// It holds an entry only for objects with a count above zero, so that a counter
// belongs to one object and can be lowered and cleared as S3-FIFO asks, which
// a count-min sketch, whose counters are shared, cannot do. Each bucket is one
// word of four entries: 14 bits that tell the objects of a bucket apart and 2
// bits of count. Two objects are taken for one with a chance of 4 in 16,384,
// and then one of them merely stays longer than it should.
//
// All methods may be called concurrently, and none takes a lock.
type tally struct{ buckets []atomic.Uint64 }

const (
	tallySlots  = 4
	tallySlot   = 16 // bits
	tallyCount  = 1<<2 - 1
	tallyMark   = 1<<tallySlot - 1 - tallyCount
	tallySpread = 3 // slots per expected object, so that few buckets are full
)

func newTally(objects int) *tally {
	return &tally{buckets: make([]atomic.Uint64, (objects*tallySpread+tallySlots-1)/tallySlots)}
}

func (t *tally) bucket(h uint64) *atomic.Uint64 {
	i, _ := bits.Mul64(h, uint64(len(t.buckets)))
	return &t.buckets[i]
}

// find returns the shift of h's entry in word w.
func find(w, h uint64) (shift int, ok bool) {
	mark := h & tallyMark
	for s := 0; s < tallySlots*tallySlot; s += tallySlot {
		if e := w >> s; e&tallyMark == mark && e&tallyCount != 0 {
			return s, true
		}
	}
	return 0, false
}

// vacant returns the shift of an entry of w that counts nothing.
func vacant(w uint64) (shift int, ok bool) {
	for s := 0; s < tallySlots*tallySlot; s += tallySlot {
		if w>>s&tallyCount == 0 {
			return s, true
		}
	}
	return 0, false
}

// age lowers every count of w by one.
func age(w uint64) uint64 {
	for s := 0; s < tallySlots*tallySlot; s += tallySlot {
		w = lower(w, s)
	}
	return w
}

// lower takes one from the entry at shift s, which must count something, and
// empties it at zero.
func lower(w uint64, s int) uint64 {
	if w>>s&tallyCount == 1 {
		return w &^ (uint64(1<<tallySlot-1) << s)
	}
	return w - 1<<s
}

// add counts a touch of h. If the bucket is full of others they all lose one:
// that is how entries of objects which left without being retired (a purge, a
// damaged segment) wear off.
func (t *tally) add(h uint64) {
	b := t.bucket(h)
	for {
		w := b.Load()
		next := w
		if s, ok := find(w, h); ok {
			if w>>s&tallyCount == tallyCount {
				return // the common case for a hot object: a read, no write
			}
			next += 1 << s
		} else {
			s, ok := vacant(next)
			if !ok {
				next = age(next)
				s, ok = vacant(next)
			}
			if ok {
				next &^= uint64(1<<tallySlot-1) << s
				next |= (h&tallyMark | 1) << s
			}
		}
		if b.CompareAndSwap(w, next) {
			return
		}
	}
}

// take lowers h's count by one and returns what it was.
func (t *tally) take(h uint64) int {
	return t.change(h, lower)
}

// clear sets h's count to zero and returns what it was.
func (t *tally) clear(h uint64) int {
	return t.change(h, func(w uint64, s int) uint64 { return w &^ (uint64(1<<tallySlot-1) << s) })
}

func (t *tally) change(h uint64, f func(w uint64, shift int) uint64) int {
	b := t.bucket(h)
	for {
		w := b.Load()
		s, ok := find(w, h)
		if !ok {
			return 0
		}
		if b.CompareAndSwap(w, f(w, s)) {
			return int(w >> s & tallyCount)
		}
	}
}

// reset forgets everything. A touch at the same time may survive.
func (t *tally) reset() {
	for i := range t.buckets {
		t.buckets[i].Store(0)
	}
}
