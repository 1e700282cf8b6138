package edge

import (
	"time"

	"preau/cache/object"
	"preau/cache/popular"
	"preau/cache/rfc9111"
	"preau/cache/upstream"
)

// What a neighbour keeps for the school is kept here too once it is asked for here
// often: each request for it costs both boxes the way between them, and to keep it
// costs as much as a few of those ways.
const (
	// oftenIs is how many requests within a day are often.
	oftenIs = 3
	// lentLeast is the length below which a response is always kept: it weighs less
	// than the round trip over the line that it takes to have it vouched for again.
	lentLeast = 256 << 10
)

// wantedConfig bounds what is counted: a day, some hundred kilobytes of memory.
var wantedConfig = popular.Config{HalfLife: 24 * time.Hour, Window: 24 * time.Hour, Keys: 10_000, Entries: 1}

// wants counts a request for what is not all here. The key is a keyed hash;
// neighbours' own requests are theirs to count, and who asks only for what is here
// has nothing fetched.
func (x *exchange) wants() {
	if x.wanted || x.neighbour || rfc9111.ParseRequestDirectives(x.r.Header).OnlyIfCached {
		return
	}
	x.wanted = true // however often it has to be tried
	n := 1
	if upstream.PaceOf(x.r.Context()) != nil {
		n = oftenIs // who asks with nobody waiting wants it to be here
	}
	now := time.Now()
	for range n {
		x.h.wanted.Add(string(x.key[:]), now)
	}
}

// often reports whether what k names has been asked for here often.
func (h *Handler) often(k object.Key) bool { return h.wanted.Hits(string(k[:]), time.Now()) >= oftenIs }

// mayLend reports whether o, which the box that sends it keeps, need not be kept
// here: parts of it can be had again in any order, and nobody has shown that it
// should lie here.
func (t *task) mayLend(o *object.Object) bool {
	return t.prior == nil && !t.near && o.Ranges && !o.Fragment && o.Length >= lentLeast && !t.h.often(t.key)
}

// lends returns what says whether what src brings need not be kept, still.
func (h *Handler) lends(src *source) func() bool {
	return func() bool { return src.lent() && !h.often(src.o.Key) }
}
