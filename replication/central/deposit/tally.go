package deposit

import (
	"crypto/sha256"
	"hash"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"preau/cache/block"
	"preau/replication/central"
	"preau/replication/central/store"
	"preau/replication/identity"
)

// tally makes the SHA-256 of a file while its parts come, so that what the store
// puts together of them need not be read back. The store has taken each part
// under its MD5, and the tally has the same bytes: a file of parts with these
// MD5s is the file whose SHA-256 the tally makes. Where that does not hold, as a
// part came twice or to another gateway, there is no tally, and the file is read.
type tally struct {
	r    record
	all  *tallies
	used time.Time // guarded by all.mu

	mu    sync.Mutex
	sum   hash.Hash    // nil for a file of one part, which is compared before the store has it
	parts []store.Part // that are in sum
	early map[int]part // that came before their turn
	void  bool
}

// part is one that the store has.
type part struct {
	p    []byte
	etag string
}

// hash takes in the next part, while the store does, and reports whether it was
// the next. If the store does not take it the tally must end.
func (t *tally) hash(number int, p []byte) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.void || number != len(t.parts)+1 {
		return false
	}
	t.take(part{p: p})
	return true
}

// stored takes in what the store has made of a part that was hashed, or the part
// as a whole. p is the tally's from now on.
func (t *tally) stored(number int, p []byte, etag string, hashed bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	_, twice := t.early[number]
	switch {
	case t.void || twice || !hashed && number <= len(t.parts):
		t.drop()
		t.all.recycle(p)
	case hashed:
		t.parts[number-1].ETag = etag
		t.all.recycle(p)
		t.takeEarly()
	case number == len(t.parts)+1:
		t.take(part{p, etag})
		t.all.recycle(p)
		t.takeEarly()
	case t.all.early.Add(1) <= maxEarly:
		t.early[number] = part{p, etag}
	default:
		t.all.early.Add(-1)
		t.drop()
		t.all.recycle(p)
	}
}

// take hashes the next part. The lock is held.
func (t *tally) take(p part) {
	if t.sum != nil {
		_, _ = t.sum.Write(p.p) // never fails
	}
	t.parts = append(t.parts, store.Part{Number: len(t.parts) + 1, ETag: p.etag, Size: int64(len(p.p))})
}

// takeEarly hashes the parts whose turn has come. The lock is held.
func (t *tally) takeEarly() {
	for next, ok := t.early[len(t.parts)+1]; ok; next, ok = t.early[len(t.parts)+1] {
		t.all.early.Add(-1)
		delete(t.early, len(t.parts)+1)
		t.take(next)
		t.all.recycle(next.p)
	}
}

// drop makes the tally worth nothing. The lock is held.
func (t *tally) drop() {
	for _, p := range t.early {
		t.all.recycle(p.p)
		t.all.early.Add(-1)
	}
	t.void, t.early, t.parts = true, nil, nil
}

// whole are the parts of the file and its SHA-256, if all of it is in the tally.
func (t *tally) whole() ([]store.Part, block.Digest, bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	switch {
	case t.void || len(t.parts) != numParts(t.r.is) || slices.ContainsFunc(t.parts, func(p store.Part) bool { return p.ETag == "" }):
		return nil, block.Digest{}, false
	case t.sum == nil:
		return t.parts, t.r.is.SHA256, true
	}
	return t.parts, block.Digest(t.sum.Sum(nil)), true
}

const (
	maxTallies = 256
	// maxEarly is how many parts of all files wait for their turn.
	maxEarly = 16
)

// tallies are those of the files that are on their way.
type tallies struct {
	mu    sync.Mutex
	of    map[string]*tally
	early atomic.Int32
	free  sync.Pool // of *[]byte with room for a part
}

// begin makes the tally of a file of which nothing has come.
func (s *tallies) begin(r record) {
	t := &tally{r: r, all: s, used: time.Now(), early: make(map[int]part)}
	if r.Upload != "" {
		t.sum = sha256.New()
	}
	s.end(r.is.Region, r.is.ID)
	s.mu.Lock()
	if s.of == nil {
		s.of = make(map[string]*tally)
	}
	oldest := ""
	for key, other := range s.of {
		if oldest == "" || other.used.Before(s.of[oldest].used) {
			oldest = key
		}
	}
	var over *tally
	if len(s.of) >= maxTallies {
		over = s.of[oldest]
		delete(s.of, oldest)
	}
	s.of[recordKey(r.is.Region, r.is.ID)] = t
	s.mu.Unlock()
	over.end()
}

// get is the tally of a file, or nil.
func (s *tallies) get(region identity.Region, id string) *tally {
	s.mu.Lock()
	defer s.mu.Unlock()
	t := s.of[recordKey(region, id)]
	if t != nil {
		t.used = time.Now()
	}
	return t
}

// end forgets the tally of a file.
func (s *tallies) end(region identity.Region, id string) {
	key := recordKey(region, id)
	s.mu.Lock()
	t := s.of[key]
	delete(s.of, key)
	s.mu.Unlock()
	t.end()
}

// end drops a tally, if there is one. all.mu is not held.
func (t *tally) end() {
	if t == nil {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.drop()
}

// buffer is one for a part of n bytes.
func (s *tallies) buffer(n int64) []byte {
	if p, ok := s.free.Get().(*[]byte); ok {
		return (*p)[:n]
	}
	return make([]byte, n, central.PartSize)
}

// recycle takes back what buffer gave.
func (s *tallies) recycle(p []byte) { s.free.Put(&p) }
