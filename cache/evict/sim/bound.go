package sim

import (
	"cmp"
	"container/heap"
	"slices"
)

// nextUses returns for each request the index of the next one for the same
// object, or len(requests) if there is none.
func nextUses(t Trace) []int {
	n := len(t.Requests)
	next := make([]int, n)
	seen := make([]int, len(t.Sizes))
	for i := range seen {
		seen[i] = n
	}
	for i := n - 1; i >= 0; i-- {
		o := t.Requests[i].Object
		next[i] = seen[o]
		seen[o] = i
	}
	return next
}

// belady evicts what will be used again last, as many objects as it takes, and
// keeps out an object that would itself have to go. It knows the future, but is
// the best possible policy only if all objects have one size; with several it
// is a good one that anybody who knew the future could follow.
type belady struct {
	next     []int
	turn     int
	capacity int64
	used     int64
	cached   map[int]*future
	order    furthest
}

type future struct {
	object, next, place int
	size                int64
}

func (c *belady) Request(object int, size int64) bool {
	next := c.next[c.turn]
	c.turn++
	if f, ok := c.cached[object]; ok {
		f.next = next
		heap.Fix(&c.order, f.place)
		return true
	}
	if size > c.capacity || next == len(c.next) {
		return false
	}
	f := &future{object: object, next: next, size: size}
	c.cached[object] = f
	heap.Push(&c.order, f)
	for c.used += size; c.used > c.capacity; {
		gone := heap.Pop(&c.order).(*future) //nolint:errcheck // the heap holds nothing else
		delete(c.cached, gone.object)
		c.used -= gone.size
	}
	return false
}

type furthest []*future

func (h furthest) Len() int           { return len(h) }
func (h furthest) Less(i, j int) bool { return h[i].next > h[j].next }
func (h furthest) Swap(i, j int) {
	h[i], h[j] = h[j], h[i]
	h[i].place, h[j].place = i, j
}

func (h *furthest) Push(x any) {
	f := x.(*future) //nolint:errcheck // the heap holds nothing else
	f.place = len(*h)
	*h = append(*h, f)
}

func (h *furthest) Pop() any {
	old := *h
	f := old[len(old)-1]
	*h = old[:len(old)-1]
	return f
}

// bound returns what no policy can exceed: to answer a request from the cache,
// the object must have lain there since the request before it, which takes up
// its size times that many requests; capacity times all requests is what there
// is to take up. Filled with the cheapest first (the last one in part) this
// bounds the hits, and with the cheapest per byte first the bytes hit. It is
// PFOO-L of Berger, Beckmann and Harchol-Balter (SIGMETRICS 2018), and for a
// cache that holds everything it is the bound by first requests.
func bound(t Trace, capacity int64) (hits, hitBytes float64) {
	type interval struct {
		length int
		size   int64
	}
	var all []interval
	for i, next := range nextUses(t) {
		if r := t.Requests[i]; next < len(t.Requests) && r.Size <= capacity {
			all = append(all, interval{next - i, r.Size})
		}
	}
	room := float64(capacity) * float64(len(t.Requests))
	fill := func(value func(interval) float64) (sum float64) {
		left := room
		for _, v := range all {
			cost := float64(v.length) * float64(v.size)
			part := min(1, left/cost)
			sum += part * value(v)
			if left -= cost; left <= 0 {
				break
			}
		}
		return sum
	}
	slices.SortFunc(all, func(a, b interval) int {
		return cmp.Compare(float64(a.length)*float64(a.size), float64(b.length)*float64(b.size))
	})
	hits = fill(func(interval) float64 { return 1 })
	slices.SortFunc(all, func(a, b interval) int { return cmp.Compare(a.length, b.length) })
	hitBytes = fill(func(v interval) float64 { return float64(v.size) })
	return hits, hitBytes
}
