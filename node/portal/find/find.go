// Package find tells which of many documents hold the words that somebody looks
// for: the words of their titles, file names, descriptions, collections and levels.
//
// Accents, capitals, ligatures (œ, æ, ß) and elisions (l’eau) make no difference,
// nor does a final s or x; the last word may be the beginning of one, since
// people type while they look; all words must be there, but for those that say
// nothing by themselves (le, of). A word in the title counts for more than one in the
// file name, that for more than one in the description, that for more than one
// in the collection's name; the latest come first among equals.
//
// Everything is in memory, a few hundred bytes for each document, and there is a
// bound to how many. Of a document only the words are kept, so whoever shows what
// was found looks it up by its ID. The package reads no file, knows no languages'
// grammar, and spreads nothing: it is for one box's own shelf. Of a
// beginning as short as a letter, which most documents have, not all are told.
package find

import (
	"errors"
	"math"
	"sync"
	"time"
)

// Bounds of what one document may bring.
const (
	maxWords = 400 // each counts once, wherever it stands
	maxText  = 64 << 10
	mostDocs = 1 << slotBits
)

// ErrFull reports an index that holds as many documents as it may.
var ErrFull = errors.New("the index is full")

// Doc is a document as it is looked for. Any field but ID may be empty.
type Doc struct {
	ID          string // with Kind names the document
	Kind        string
	Title       string
	Filename    string
	Description string
	Collection  string
	Level       string // counts as much as the collection
	Language    string // as in Content-Language; Search does not look at it
	At          time.Time
	Here        bool // for SearchAmong
}

// Hit is a document that was found.
type Hit struct {
	ID, Kind string
	Score    int // more is better; only to compare within one search
}

// Fields of a document, as bits of a posting.
const (
	inTitle = 1 << iota
	inFilename
	inDescription
	inCollection
	first // word of the title
)

// A posting is a document's slot and the fields in which a word stands.
type posting uint32

const (
	slotBits  = 24
	fieldBits = 32 - slotBits
)

func (p posting) slot() uint32 { return uint32(p) >> fieldBits }
func (p posting) in() uint8    { return uint8(p) }

// doc is a document's name, in its slot.
type doc struct{ id, kind string }

// worthShift is where in a number that documents are ranked by their words'
// worth begins. Below is what the document goes by itself.
const worthShift = 41

// keyOf is what a document goes by among those whose words are worth as much:
// short titles, which the words say more of, before long ones; late before old.
// It is never 0.
func keyOf(words uint8, at time.Time) uint64 {
	minute := min(max(at.Unix()/60, 0), math.MaxUint32)
	return 1<<40 | uint64(math.MaxUint8-words)<<32 | uint64(minute)
}

type name struct{ kind, id string }

// Index is what is looked in. Its methods may be called concurrently.
type Index struct {
	most    int
	scratch sync.Pool

	mu    sync.RWMutex
	slots []doc
	keys  []uint64 // by slot; 0: the document is gone
	here  []bool   // by slot
	at    map[name]uint32
	gone  int // of slots
	words map[string]*[]posting
	terms terms
}

// New makes an index of at most that many documents, and never more than 16
// million.
func New(most int) *Index {
	x := &Index{most: min(max(most, 0), mostDocs/2), at: map[name]uint32{}, words: map[string]*[]posting{}}
	x.scratch.New = func() any { return new(tally) }
	return x
}

// Len is how many documents there are.
func (x *Index) Len() int {
	x.mu.RLock()
	defer x.mu.RUnlock()
	return len(x.at)
}

// Add puts a document in, in the place of the one that had its name. It fails
// only with ErrFull.
func (x *Index) Add(d Doc) error {
	found := wordsOf(d) // outside the lock
	x.mu.Lock()
	defer x.mu.Unlock()
	n := name{d.Kind, d.ID}
	old, replaced := x.at[n]
	switch {
	case replaced:
		x.slots[old], x.keys[old] = doc{}, 0
		x.gone++
	case len(x.at) >= x.most:
		return ErrFull
	}
	x.compact()
	slot := uint32(len(x.slots))
	x.slots, x.keys = append(x.slots, doc{id: d.ID, kind: d.Kind}), append(x.keys, keyOf(found.title, d.At))
	x.here = append(x.here, d.Here)
	x.at[n] = slot
	for i, w := range found.list {
		list, ok := x.words[w]
		if !ok {
			list = new([]posting)
			x.words[w] = list
			x.terms.add(w)
		}
		*list = append(*list, posting(slot<<fieldBits|uint32(found.in[i])))
	}
	return nil
}

// Mark says of a document, if there is one, whether it is here now.
func (x *Index) Mark(kind, id string, here bool) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if slot, ok := x.at[name{kind, id}]; ok {
		x.here[slot] = here
	}
}

// Remove takes a document out, if it is there.
func (x *Index) Remove(kind, id string) {
	x.mu.Lock()
	defer x.mu.Unlock()
	n := name{kind, id}
	slot, ok := x.at[n]
	if !ok {
		return
	}
	delete(x.at, n)
	x.slots[slot], x.keys[slot] = doc{}, 0
	x.gone++
	x.compact()
}

// compact gives back what documents that went have left, once that is a good
// part of all. x.mu is held.
func (x *Index) compact() {
	if x.gone < 1000 || x.gone*4 < len(x.slots) {
		return
	}
	to := make([]uint32, len(x.slots))
	kept, keys, here := x.slots[:0], x.keys[:0], x.here[:0]
	for i, d := range x.slots {
		to[i] = math.MaxUint32
		if key := x.keys[i]; key != 0 {
			to[i] = uint32(len(kept))
			kept, keys, here = append(kept, d), append(keys, key), append(here, x.here[i])
		}
	}
	clear(x.slots[len(kept):])
	x.slots, x.keys, x.here, x.gone = kept, keys, here, 0
	for n, slot := range x.at {
		// A document that is being replaced has no place any more, and gets one.
		x.at[n] = to[slot]
	}
	for w, list := range x.words {
		left := (*list)[:0]
		for _, p := range *list {
			if now := to[p.slot()]; now != math.MaxUint32 {
				left = append(left, posting(now<<fieldBits|uint32(p.in())))
			}
		}
		*list = left
		if len(left) == 0 {
			delete(x.words, w)
		}
	}
	x.terms.keep(func(w string) bool { return x.words[w] != nil })
}
