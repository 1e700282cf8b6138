package edge

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"sort"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"preau/cache/object"
	"preau/cache/profile"
)

// errFragment reports that the site, asked twice, did not send what its own sums
// say of a fragment. None of it is given to anybody.
var errFragment = errors.New("a fragment is not what the site's sums say")

// Bounds of what is checked by fragments. A stream holds one back in memory
// until it is known to be good: a fragment is some seconds of a film.
const (
	// mostFragment is the longest that is held back. Of a longer one it is counted
	// that it was not checked.
	mostFragment = 16 << 20
	// mostChecking is what all streams may hold back together; one always may.
	mostChecking = 32 << 20
	// mostTorn is what is kept of fragments whose fetch broke off, or of which
	// only the end was wanted, so that the line does not carry it again.
	mostTorn = 16 << 20
	// mostSums is what the sums of all files may take.
	mostSums = 24 << 20
	// refusedFor is how long the site is not asked again for a fragment that was
	// not right.
	refusedFor = time.Minute
	// mostRefused bounds how many of those are remembered.
	mostRefused = 1000
)

// Results of fragments.
const (
	fragmentVerified  = "verified"
	fragmentMended    = "mended"    // right when it was asked for again
	fragmentRefused   = "refused"   // wrong twice
	fragmentUnchecked = "unchecked" // too long to be held back
)

// fragments is what is known of files that come by fragments with sums of their
// own: the sums, what streams bring now, and what is kept for those that follow.
type fragments struct {
	sums   *sumCache
	counts *prometheus.CounterVec

	mu       sync.Mutex
	loading  map[object.Key]*sumLoad
	taken    map[fragmentID]chan struct{} // closed when the stream that brings it has given it or given it up
	torn     map[fragmentID][]byte        // beginnings; verified if it is all of the fragment
	order    []fragmentID                 // of torn, oldest first
	tornSize int
	checking int64
	refused  map[object.ID][]refusal
	news     chan struct{} // closed when something is refused
}

// fragmentID is a fragment of one version of a file, by its first byte.
type fragmentID struct {
	id   object.ID
	from int64
}

// refusal is a fragment that the site does not send as its sums say.
type refusal struct {
	from, to int64
	until    time.Time
}

func newFragments(reg prometheus.Registerer) (*fragments, error) {
	f := &fragments{
		loading: map[object.Key]*sumLoad{}, taken: map[fragmentID]chan struct{}{}, torn: map[fragmentID][]byte{},
		refused: map[object.ID][]refusal{}, news: make(chan struct{}),
		counts: prometheus.NewCounterVec(prometheus.CounterOpts{
			Namespace: "preau", Subsystem: "edge", Name: "fragments_total",
			Help: "Fragments of films by how their bytes compared with the site's own sums: verified, mended, refused, unchecked.",
		}, []string{"site", "result"}),
	}
	if err := reg.Register(f.counts); err != nil {
		return nil, fmt.Errorf("register edge metrics: %w", err)
	}
	var err error
	f.sums, err = newSumCache()
	return f, err
}

// take makes the caller the one who brings a fragment, until give. If another
// does, over is closed when it does no more.
func (f *fragments) take(id fragmentID) (over <-chan struct{}, mine bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if over, ok := f.taken[id]; ok {
		return over, false
	}
	f.taken[id] = make(chan struct{})
	return nil, true
}

func (f *fragments) give(id fragmentID) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if over, ok := f.taken[id]; ok {
		delete(f.taken, id)
		close(over)
	}
}

// reserve makes room for n bytes that are held back; false if there is none now.
func (f *fragments) reserve(n int64) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.checking > 0 && f.checking+n > mostChecking {
		return false
	}
	f.checking += n
	return true
}

func (f *fragments) unreserve(n int64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.checking -= n
}

// keep keeps the beginning of a fragment, or all of it if it was verified.
func (f *fragments) keep(id fragmentID, b []byte) {
	if len(b) == 0 || len(b) > mostTorn {
		return
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.drop(id)
	f.torn[id] = b
	f.order = append(f.order, id)
	for f.tornSize += len(b); f.tornSize > mostTorn; {
		f.drop(f.order[0])
	}
}

// kept is what is kept of a fragment. It is not to be changed.
func (f *fragments) kept(id fragmentID) []byte {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.torn[id]
}

func (f *fragments) forget(id fragmentID) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.drop(id)
}

// drop forgets what is kept of a fragment. Callers hold f.mu.
func (f *fragments) drop(id fragmentID) {
	b, ok := f.torn[id]
	if !ok {
		return
	}
	delete(f.torn, id)
	f.tornSize -= len(b)
	for i, other := range f.order {
		if other == id {
			f.order = append(f.order[:i], f.order[i+1:]...)
			return
		}
	}
}

// refuse remembers that a fragment could not be had as it should be, and wakes
// who waits for it.
func (f *fragments) refuse(id object.ID, of profile.Fragment) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if len(f.refused) >= mostRefused {
		clear(f.refused) // the site is beyond help, and may be asked again
	}
	f.accept(id, of)
	if len(f.refused[id]) < mostRefused {
		f.refused[id] = append(f.refused[id], refusal{of.From, of.To, time.Now().Add(refusedFor)})
	}
	close(f.news)
	f.news = make(chan struct{})
}

// accept forgets that a fragment was refused. Callers hold f.mu.
func (f *fragments) accept(id object.ID, of profile.Fragment) {
	var left []refusal
	for _, r := range f.refused[id] {
		if r.from != of.From && time.Now().Before(r.until) {
			left = append(left, r)
		}
	}
	if f.refused[id] = left; len(left) == 0 {
		delete(f.refused, id)
	}
}

// accepted forgets that a fragment was refused: it has come as it should.
func (f *fragments) accepted(id object.ID, of profile.Fragment) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if len(f.refused) > 0 {
		f.accept(id, of)
	}
}

// refuses reports whether something between from and to (-1: the end) was refused
// lately, and returns what is closed when more is.
func (f *fragments) refuses(id object.ID, from, to int64) (bool, <-chan struct{}) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, r := range f.refused[id] {
		if r.to > from && (to < 0 || r.from < to) && time.Now().Before(r.until) {
			return true, f.news
		}
	}
	return false, f.news
}

// fragmentAt finds the fragment that holds the byte at pos; if there is none, the
// next one behind it, or a zero one.
func fragmentAt(list []profile.Fragment, pos int64) (f profile.Fragment, in bool) {
	i := sort.Search(len(list), func(i int) bool { return list[i].To > pos })
	if i == len(list) {
		return f, false
	}
	return list[i], list[i].From <= pos
}

// fragmented says whether t asks for a file whose fragments have sums.
func (t *task) fragmented() (profile.Fragmented, bool) {
	if t.asking == nil || !t.asking.shared {
		return profile.Fragmented{}, false
	}
	return profile.FragmentedFile(t.asking.plan)
}

// prepare learns the sums of what t asks for before it asks, and has a part of the
// file begin and end with fragments: of less nobody could say whether it is right.
func (t *task) prepare(ctx context.Context) {
	if t.prior != nil {
		return
	}
	list := t.fragmentsOf(ctx)
	if len(list) > 0 && t.ranged {
		t.header.Set("Range", wholeFragments(list, t.header.Get("Range")))
	}
}

// refusal says that what is wanted of a fragmented file can't be had as its sums
// say it is.
func (x *exchange) refusal(id object.ID, from, to int64) error {
	if !x.fragmented() {
		return nil
	}
	if refused, _ := x.h.fragments.refuses(id, from, to); refused {
		return errFragment
	}
	return nil
}

// fragmented says whether what x asks for is such a file.
func (x *exchange) fragmented() bool {
	if !x.shared || x.plan == nil {
		return false
	}
	_, ok := profile.FragmentedFile(x.plan.Plan)
	return ok
}

// untilRefused returns the client's request's context, ended with errFragment when
// something between from and to is refused: nobody waits for what will not come.
// The returned function ends what watches.
func (x *exchange) untilRefused(id object.ID, from, to int64) (context.Context, func()) {
	ctx := x.r.Context()
	if !x.fragmented() {
		return ctx, func() {}
	}
	ctx, cancel := context.WithCancelCause(ctx)
	over := make(chan struct{})
	go func() { // ends with the returned function
		defer close(over)
		for {
			refused, news := x.h.fragments.refuses(id, from, to)
			if refused {
				cancel(errFragment)
				return
			}
			select {
			case <-news:
			case <-ctx.Done():
				return
			}
		}
	}()
	return ctx, func() {
		cancel(nil)
		<-over
	}
}

// fragmentHeader is how the sums of fragments are asked for, and where they are.
func fragmentHeader(again bool) http.Header {
	h := http.Header{"Accept": {"*/*"}, "Accept-Encoding": {"identity"}, "User-Agent": {agent}}
	if again {
		h["Cache-Control"] = []string{"no-cache"} // past every cache on the way
	}
	return h
}
