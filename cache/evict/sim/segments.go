package sim

import (
	"preau/cache/block"
	"preau/cache/evict"
)

// rules decide over rings of segments. evict.Policy is the one that matters.
type rules interface {
	Touch(k evict.Key)
	Admit(k evict.Key, size int64) block.Ring
	Retire(k evict.Key, from block.Ring, size int64) (keep bool, to block.Ring)
	NextRing(used []int64) block.Ring
}

// pieces is into how many segments the budget is cut.
const pieces = 32

// segments is a store of rings as a box keeps it: new objects go to the newest
// segment of a ring, only a whole segment is ever removed, and what is kept of
// it is written again first. One segment's worth of the budget stays free for
// that, so the rules work with 31/32 of what the other policies are given.
type segments struct {
	rules   rules
	budget  int64
	segment int64         // bytes at which a segment is full
	rings   [3][]*segment // oldest first
	used    [3]int64      // bytes by ring
	size    map[int]int64 // of the objects stored
	carried int64         // bytes written again
}

type segment struct {
	objects []int
	bytes   int64
}

func newSegments(r rules, budget int64) *segments {
	return &segments{rules: r, budget: budget, segment: budget / pieces, size: make(map[int]int64)}
}

func (s *segments) Request(object int, size int64) bool {
	if _, ok := s.size[object]; ok {
		s.rules.Touch(evict.Key(object))
		return true
	}
	if size > s.budget-2*s.segment {
		return false // passed through: it would push out all the rest
	}
	ring := s.rules.Admit(evict.Key(object), size)
	for s.total()+size > s.budget-s.segment {
		s.retire(s.rules.NextRing(s.used[:]))
	}
	s.append(ring, object, size)
	return false
}

func (s *segments) total() (sum int64) {
	for _, u := range s.used {
		sum += u
	}
	return sum
}

// append writes to the ring's newest segment. An object lies wholly in the
// segment in which it began.
func (s *segments) append(r block.Ring, object int, size int64) {
	ring := s.rings[r]
	if len(ring) == 0 || ring[len(ring)-1].bytes >= s.segment {
		ring = append(ring, &segment{})
		s.rings[r] = ring
	}
	newest := ring[len(ring)-1]
	newest.objects = append(newest.objects, object)
	newest.bytes += size
	s.used[r] += size
	s.size[object] = size
}

func (s *segments) retire(r block.Ring) {
	oldest := s.rings[r][0]
	s.rings[r] = s.rings[r][1:]
	s.used[r] -= oldest.bytes
	for _, object := range oldest.objects {
		size := s.size[object]
		delete(s.size, object)
		if keep, to := s.rules.Retire(evict.Key(object), r, size); keep {
			s.append(to, object, size)
			s.carried += size
		}
	}
}
