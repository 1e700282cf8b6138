package find

import (
	"cmp"
	"slices"
)

// What a word is worth where it stands. They add up over the words of a query;
// a word in a better field always outweighs one in all lesser ones.
const (
	worthTitle       = 100
	worthFilename    = 28
	worthDescription = 12
	worthCollection  = 5
	worthFirst       = 10 // more, for the first word of a title
	// A word found whole is worth half as much again as its beginning.
	whole, begun = 3, 2
)

// mostBegun bounds the places that are looked at for words that begin so: one
// letter begins a good part of all words, and tells next to nothing.
const mostBegun = 150_000

// worth of fields, by the bits of a posting.
var worth = func() (out [32]uint16) {
	for in := range out {
		for bit, w := range map[int]uint16{
			inTitle: worthTitle, inFilename: worthFilename, inDescription: worthDescription, inCollection: worthCollection, first: worthFirst,
		} {
			if in&bit != 0 {
				out[in] += w
			}
		}
	}
	return out
}()

// tally counts for each slot how many words were found, and what they are worth.
type tally struct {
	has   []uint8 // words so far; another word's number means: not that one
	sum   []uint32
	best  []uint16 // of the word that is looked at
	touch []uint32 // slots with best
}

func (t *tally) reset(n int) {
	if cap(t.has) < n {
		t.has, t.sum, t.best = make([]uint8, n+n/4), make([]uint32, n+n/4), make([]uint16, n+n/4)
	}
	t.has, t.sum, t.best = t.has[:n], t.sum[:n], t.best[:n]
	clear(t.has)
	clear(t.sum)
	clear(t.best)
	t.touch = t.touch[:0]
}

// see notes that a word stands in a document that has all words before it.
func (t *tally) see(list []posting, word uint8, times uint16) {
	for _, p := range list {
		s := p.slot()
		if t.has[s] != word {
			continue
		}
		w := worth[p.in()] * times
		if t.best[s] == 0 {
			t.touch = append(t.touch, s)
		}
		t.best[s] = max(t.best[s], w)
	}
}

// next goes on to the next word.
func (t *tally) next(word uint8) {
	for _, s := range t.touch {
		t.has[s] = word + 1
		t.sum[s] += uint32(t.best[s])
		t.best[s] = 0
	}
}

// Among says which documents a search is for.
type Among uint8

// What a search is for.
const (
	All Among = iota
	Here
	Away // those that are not here
)

// Search returns up to n documents that hold all words of a query, best first,
// and how many there are in all.
func (x *Index) Search(text string, n int) (hits []Hit, total int) {
	return x.SearchAmong(All, text, n)
}

// SearchAmong is Search for some of the documents.
func (x *Index) SearchAmong(which Among, text string, n int) (hits []Hit, total int) {
	q := parse(text)
	if q.last == "" || n <= 0 {
		return nil, 0
	}
	t, ok := x.scratch.Get().(*tally)
	if !ok {
		t = new(tally)
	}
	defer x.scratch.Put(t)
	x.mu.RLock()
	defer x.mu.RUnlock()
	t.reset(len(x.slots))
	word := uint8(0)
	for _, w := range q.words {
		x.seeWhole(t, w, word)
		if len(t.touch) == 0 {
			return nil, 0
		}
		t.next(word)
		t.touch = t.touch[:0]
		word++
	}
	x.seeWhole(t, q.last, word)
	left := mostBegun
	x.terms.begin(q.last, func(w string) bool {
		if list := x.words[w]; list != nil {
			t.see(*list, word, begun)
			left -= len(*list)
		}
		return left > 0
	})
	t.next(word)
	return x.top(t, n, which)
}

// seeWhole looks for a word, and for its forms as for one that was only begun.
func (x *Index) seeWhole(t *tally, w string, word uint8) {
	for i, form := range forms(w) {
		if list := x.words[form]; list != nil {
			times := uint16(whole)
			if i > 0 {
				times = begun
			}
			t.see(*list, word, times)
		}
	}
}

// ranked is a document that was found: key is what it goes by.
type ranked struct {
	key  uint64
	slot uint32
}

// top picks the n best of what was touched.
func (x *Index) top(t *tally, n int, which Among) ([]Hit, int) {
	var best []ranked
	total := 0
	// What came last was mostly made last too, and is among the best early.
	for _, s := range slices.Backward(t.touch) {
		key := x.keys[s]
		if key == 0 || which != All && x.here[s] != (which == Here) {
			continue
		}
		total++
		r := ranked{uint64(t.sum[s])<<worthShift | key, s}
		if len(best) == n && x.compare(r, best[n-1]) >= 0 {
			continue
		}
		at, _ := slices.BinarySearchFunc(best, r, x.compare)
		if len(best) == n {
			best = best[:n-1]
		}
		best = slices.Insert(best, at, r)
	}
	hits := make([]Hit, len(best))
	for i, r := range best {
		hits[i] = Hit{ID: x.slots[r.slot].id, Kind: x.slots[r.slot].kind, Score: int(t.sum[r.slot])}
	}
	return hits, total
}

// compare orders what was found, best first.
func (x *Index) compare(a, b ranked) int {
	if a.key != b.key {
		return cmp.Compare(b.key, a.key)
	}
	da, db := &x.slots[a.slot], &x.slots[b.slot]
	return cmp.Or(cmp.Compare(da.id, db.id), cmp.Compare(da.kind, db.kind))
}
