package evict

import "testing"

func TestTallyWearsOffWhatIsNeverRetired(t *testing.T) {
	tl := newTally(1) // one bucket: all objects meet in it
	at := func(n uint64) uint64 { return n << 2 }
	for n := range uint64(tallySlots) {
		for range 5 {
			tl.add(at(n))
		}
	}
	if w := tl.buckets[0].Load(); w&0x0003_0003_0003_0003 != 0x0003_0003_0003_0003 {
		t.Fatalf("bucket %016x is not full of threes", w)
	}
	for range 3 {
		tl.add(at(100))
	}
	if n := tl.clear(at(100)); n == 0 {
		t.Error("a bucket full of old entries takes in no new one")
	}
	if n := tl.take(at(0)); n != 0 {
		t.Errorf("an old entry still counts %d", n)
	}
}

func TestTallyKeepsNeighboursApart(t *testing.T) {
	tl := newTally(1)
	tl.add(0) // mark 0 is a mark like any other
	tl.add(4)
	tl.add(4)
	if n := tl.take(8); n != 0 {
		t.Errorf("an object never touched counts %d", n)
	}
	for _, want := range []int{2, 1, 0} {
		if n := tl.take(4); n != want {
			t.Errorf("count = %d, want %d", n, want)
		}
	}
	if n := tl.clear(0); n != 1 {
		t.Errorf("the neighbour counts %d, want 1", n)
	}
	if w := tl.buckets[0].Load(); w != 0 {
		t.Errorf("the bucket is %016x after all were cleared, want 0", w)
	}
}

func TestGhostForgetsItsOldestWhenCrowded(t *testing.T) {
	g := newGhost(ghostTicks, 1)
	for n := uint64(1); n <= ghostSlots+1; n++ {
		g.add(n, 1)
	}
	if g.take(1) {
		t.Error("the oldest of nine in a bucket of eight is remembered")
	}
	for n := uint64(2); n <= ghostSlots+1; n++ {
		if !g.take(n) {
			t.Errorf("number %d is forgotten", n)
		}
	}
}

// The clock's 16 bits come round every sixteen budgets. An entry must not come
// back to life then, however the bytes pass.
func TestGhostStaysDead(t *testing.T) {
	for _, step := range []int64{1, 7, ghostTicks - 1, ghostTicks, 3*ghostTicks + 5, 1 << 16, 1<<40 + 1} {
		g := newGhost(ghostTicks, 1000)
		const h = 0xabc // in the first bucket
		g.add(h, 0)
		var passed int64
		for n := uint64(0); passed < 40*ghostTicks; n++ {
			g.advance(step)
			passed += step
			if alive := g.alive(h); alive != (passed < ghostTicks) {
				t.Fatalf("steps of %d: alive = %v after %d of %d bytes", step, alive, passed, ghostTicks)
			}
		}
	}
}

// alive is take without forgetting.
func (g *ghost) alive(h uint64) bool {
	for _, e := range g.bucket(h) {
		if e != 0 && e>>16 == mark(h)>>16 {
			return g.age(e) < g.horizon
		}
	}
	return false
}
