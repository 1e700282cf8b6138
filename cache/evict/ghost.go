package evict

import "math/bits"

// A ghost remembers which objects were evicted, until as many bytes as the
// budget have been evicted after them.
//
// It is a fixed table: buckets of eight entries, each 16 bits that tell the
// objects of a bucket apart and a 16-bit stamp of when, in ticks of evicted
// bytes. A full bucket forgets its oldest. An object is taken for one that was
// evicted, wrongly, with a chance of 8 in 65,536. A ghost is not safe for
// concurrent use.
type ghost struct {
	entries []uint32
	tick    int64  // bytes to a tick
	horizon uint16 // ticks an entry is good for
	now     uint16 // wraps; sweep keeps entries far younger than that
	spare   int64  // bytes evicted since now last moved, less than tick
	swept   int    // the bucket that the sweep looks at next
}

const (
	ghostSlots  = 8
	ghostSpread = 1.5 // slots per expected object
	ghostTicks  = 4096
)

func newGhost(budget int64, objects int) *ghost {
	buckets := max(1, int(float64(objects)*ghostSpread)/ghostSlots)
	return &ghost{
		entries: make([]uint32, buckets*ghostSlots),
		tick:    budget / ghostTicks,
		horizon: ghostTicks,
	}
}

func (g *ghost) bucket(h uint64) []uint32 {
	i, _ := bits.Mul64(h, uint64(len(g.entries)/ghostSlots))
	return g.entries[i*ghostSlots:][:ghostSlots]
}

// mark is never 0, so that an entry is never 0 either: 0 is an empty slot.
func mark(h uint64) uint32 { return max(uint32(h&0xffff), 1) << 16 }

func (g *ghost) age(e uint32) uint16 { return g.now - uint16(e) }

// add remembers h, of size bytes, as evicted just now.
func (g *ghost) add(h uint64, size int64) {
	g.advance(size)
	b := g.bucket(h)
	best := 0
	for i, e := range b {
		if e>>16 == mark(h)>>16 {
			best = i
			break
		}
		if b[best] != 0 && (e == 0 || g.age(e) > g.age(b[best])) {
			best = i
		}
	}
	b[best] = mark(h) | uint32(g.now)
}

// take reports whether h is remembered, and forgets it.
func (g *ghost) take(h uint64) bool {
	b := g.bucket(h)
	for i, e := range b {
		if e != 0 && e>>16 == mark(h)>>16 {
			valid := g.age(e) < g.horizon
			b[i] = 0
			return valid
		}
	}
	return false
}

// advance moves the clock by size bytes and clears what has run out of a part
// of the table, so that all of it is looked at once per horizon: a stamp that
// came round again would pass for a young one.
func (g *ghost) advance(size int64) {
	g.spare += size
	ticks := g.spare / g.tick
	g.spare %= g.tick
	if ticks >= int64(g.horizon) {
		clear(g.entries)
		g.now += uint16(ticks)
		return
	}
	g.now += uint16(ticks)
	buckets := len(g.entries) / ghostSlots
	for range min(int64(buckets), ticks*int64(buckets/int(g.horizon)+1)) {
		b := g.entries[g.swept*ghostSlots:][:ghostSlots]
		for i, e := range b {
			if e != 0 && g.age(e) >= g.horizon {
				b[i] = 0
			}
		}
		g.swept = (g.swept + 1) % buckets
	}
}

func (g *ghost) reset() {
	clear(g.entries)
	g.now, g.spare, g.swept = 0, 0, 0
}
