package fill

import (
	"slices"
	"time"

	"preau/cache/block"
)

// dupShare bounds what may be read over and thrown away: a 128th of the body,
// however many small ranges were fetched ahead of the fill.
const dupShare = 128

// end is the body's length for planning.
func (b *Body) end() int64 {
	if b.length < 0 {
		return endless
	}
	return b.length
}

// ranges reports whether fetches can begin elsewhere than at 0.
func (b *Body) ranges() bool { return !b.deaf && b.spec.Source.Ranges() }

// leastNear is how far ahead of a fetch a reader may wait for it however many
// share the line.
const leastNear = 8 << 10

// planner returns the distances that suit the source.
func (b *Body) planner() planner {
	if !b.ranges() {
		return planner{near: endless, skip: endless, most: 1}
	}
	size := b.length
	if size < 0 {
		size = b.have.size()
	}
	// So many fetches share the line that each is slower by as much: what is
	// near one in time is nearer in bytes.
	return planner{
		near: max(leastNear, b.m.cfg.Near/int64(max(1, len(b.segs)))),
		skip: min(b.m.cfg.Skip, max(0, size/dupShare-b.dup)),
		most: b.m.cfg.Fetches,
	}
}

// flying lists the fetches under way but for except, until it is called again:
// every reader asks each time it has caught up. Callers hold b.mu.
func (b *Body) flying(except *segment) []flight {
	out := b.flights[:0]
	for s := range b.segs {
		// What comes before the byte it was asked for is but read over. One that
		// has come to its end, and is not told of yet, brings nothing more and
		// must not hide another that does.
		if pos := max(s.pos, s.asked); s != except && s.ctx.Err() == nil && pos < s.to {
			out = append(out, flight{pos, s.to})
		}
	}
	b.flights = out
	return out
}

// coming reports whether a fetch under way brings the byte at pos soon, so
// that a reader who waits for it need not have everything planned anew.
// Callers hold b.mu.
func (b *Body) coming(pos int64) bool {
	return !b.doubted(int(pos/block.Size)) && b.planner().served(b.have, b.flying(nil), pos, true)
}

// doubted reports whether block i was held and lost, and what has come for it
// since is not yet known to be the same: no reader may see it before.
func (b *Body) doubted(i int) bool {
	_, ok := b.expect[i]
	return ok
}

// want is what r needs fetched. Callers hold b.mu.
func (b *Body) want(r *Reader) want {
	w := want{r.pos, min(r.end, b.end()), r.waiting}
	if len(b.expect) == 0 || w.pos >= w.end {
		return w
	}
	// A block in doubt is of use only when it is whole.
	if i := int(w.pos / block.Size); b.doubted(i) {
		from, to := b.extent(i)
		if end := b.have.end(from); end < to {
			w.pos = end
		}
	}
	if i := int((w.end - 1) / block.Size); b.doubted(i) {
		_, w.end = b.extent(i)
	}
	return w
}

// replan begins the fetches that are missing and ends those nobody needs.
// Callers hold b.mu.
func (b *Body) replan() {
	if b.err != nil || b.refs < 0 {
		return
	}
	wants := make([]want, 0, len(b.readers)+1)
	for r := range b.readers {
		wants = append(wants, b.want(r))
	}
	keepOn := b.worthFinishing()
	if keepOn && len(wants) == 0 {
		wants = append(wants, want{0, b.end(), false})
	}
	// Who holds the body and has no reader yet may be about to need anything.
	keepOn = keepOn || b.refs > len(b.readers)
	for s := range b.segs {
		if !keepOn && !slices.ContainsFunc(wants, func(w want) bool { return w.pos < s.to && w.end > s.pos }) {
			s.cancel()
		}
	}
	if len(wants) == 0 && b.stopTry != nil {
		b.stopTry()
	}
	if b.spec.Closed || b.retrying || b.m.ctx.Err() != nil || len(wants) == 0 {
		return
	}
	ranges := b.ranges()
	if !ranges && len(b.segs) > 0 {
		return // one at a time, and the old one must have ended
	}
	for _, g := range b.planner().plan(b.have, b.end(), b.flying(nil), wants) {
		if !ranges {
			g = span{0, b.end()}
		}
		b.begin(g.from, g.to)
	}
}

// worthFinishing reports whether the body is to be fetched to its end with no
// reader left: little is missing, or it was asked for twice lately.
func (b *Body) worthFinishing() bool {
	if b.length >= 0 && b.have.covers(0, b.length) {
		return false
	}
	if len(b.homeless) > 0 || b.passing() {
		return false // it would not be kept
	}
	if !b.trouble.IsZero() && b.refs == 0 {
		return false
	}
	if !b.asked[0].IsZero() && time.Since(b.asked[0]) < b.m.cfg.AskedLately {
		return true
	}
	return b.length >= 0 && b.length-b.have.size() <= max(block.Size, b.length*int64(b.m.cfg.LittleLeft)/100)
}
