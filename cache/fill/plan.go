package fill

import (
	"cmp"
	"slices"
)

// want is one reader's need: the bytes pos..end, of which it is waiting for
// the byte at pos, or will come to it.
type want struct {
	pos, end int64
	waiting  bool
}

// flight is a fetch under way: it will bring the byte at pos next and stops
// before to.
type flight struct{ pos, to int64 }

// planner holds the two distances that decide when a fetch of its own pays.
type planner struct {
	// near is how many bytes a waiting reader may be ahead of a fetch and
	// still wait for it. Further ahead it is a seek, and the seek is fetched
	// at once, on its own.
	near int64
	// skip is the longest run of held bytes that a fetch reads over (and
	// throws away) rather than be broken off and begun again behind it.
	skip int64
	// most is how many fetches one body may have under way.
	most int
}

// endless stands for "to the end" where the end is not known.
const endless = int64(1) << 62

// plan says what to fetch now, holes first: for each want the first byte that
// is neither held nor about to be brought. It never plans a byte that is held
// or that a fetch under way will bring, which is what keeps the bytes over the
// line at one times the body. length is the body's, or endless.
func (p planner) plan(have spans, length int64, flying []flight, wants []want) []span {
	type gap struct {
		from, to int64
		waiting  bool
	}
	var gaps []gap
	for _, w := range wants {
		end := min(w.end, length)
		from := have.end(w.pos)
		if from >= end {
			continue
		}
		gaps = append(gaps, gap{from, end, w.waiting && from == w.pos})
	}
	// Those who wait come first, so that the bound on fetches never starves a
	// reader for the sake of one that still has bytes to read.
	slices.SortStableFunc(gaps, func(a, b gap) int {
		switch {
		case a.waiting != b.waiting && a.waiting:
			return -1
		case a.waiting != b.waiting:
			return 1
		case a.from != b.from:
			return cmp.Compare(a.from, b.from)
		default:
			return cmp.Compare(b.to, a.to) // the longer first: it serves the shorter
		}
	})
	flying = slices.Clone(flying)
	var out []span
	for _, g := range gaps {
		if len(flying) >= p.most {
			break
		}
		if p.served(have, flying, g.from, g.waiting) {
			continue
		}
		to := have.next(g.from, g.to)
		for _, f := range flying {
			if f.pos > g.from {
				to = min(to, f.pos)
			}
		}
		out = append(out, span{g.from, to})
		flying = append(flying, flight{g.from, to})
	}
	return out
}

// served reports whether a fetch under way will bring the byte at pos, soon
// enough for one who waits for it. Only the nearest fetch behind pos can: one
// further back ends where it meets the nearer.
func (p planner) served(have spans, flying []flight, pos int64, waiting bool) bool {
	near := flight{pos: -1}
	for _, f := range flying {
		// Of two at one place the one that goes further.
		if f.pos <= pos && (f.pos > near.pos || f.pos == near.pos && f.to > near.to) {
			near = f
		}
	}
	if near.pos < 0 || near.to <= pos || waiting && pos-near.pos > p.near {
		return false
	}
	return !p.blocked(have, near.pos, pos)
}

// blocked reports whether a fetch at from meets held bytes before pos that are
// too long to read over, and so will end before it gets there.
func (p planner) blocked(have spans, from, pos int64) bool {
	for i := have.at(from); i < len(have) && have[i].from < pos; i++ {
		if have[i].to-max(have[i].from, from) > p.skip {
			return true
		}
	}
	return false
}
