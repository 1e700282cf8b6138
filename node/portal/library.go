package portal

import (
	"cmp"
	"context"
	"errors"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"preau/node/portal/find"
)

// How often a source is asked that does not tell when it changes: often, but for
// no more than a fiftieth of the time.
const (
	askEvery   = 15 * time.Second
	askShare   = 50
	settle     = 200 * time.Millisecond // what changes once changes again
	mostRecent = 60
)

type thing struct {
	kind Kind
	id   string
}

// library is all things that the portal can show, and where they stand.
type library struct {
	most  map[Kind]int
	index *find.Index
	view  atomic.Pointer[shelves]

	mu     sync.Mutex
	things map[thing]*Entry // entries are never changed
	count  map[Kind]int     // of them
	over   map[Kind]bool    // there were more
}

// shelves is the library in order, as it was at one time.
type shelves struct {
	collections []*collection // by name
	byName      map[string]*collection
	recent      []*Entry
	total, here int
	more        bool // than the library may have
	read        bool // all sources have been read once
}

// collection is things that belong together, by name.
type collection struct {
	Name    string // empty: of no collection
	Entries []*Entry
	Here    int // of them whole on this box
	Bytes   int64
	// captions lie beside films and are shown with them.
	captions []*Entry
}

// captionsEnd is how the names of captions end (WebVTT).
const captionsEnd = ".vtt"

func newLibrary(most int) *library {
	l := &library{index: find.New(most), things: map[thing]*Entry{}, over: map[Kind]bool{}, count: map[Kind]int{}}
	// What a school has added itself has its own share: no region's million
	// resources push it out.
	l.most = map[Kind]int{Added: max(1, most/10), Published: max(1, most-most/10)}
	l.view.Store(&shelves{byName: map[string]*collection{}})
	return l
}

// now is the library as it is now.
func (l *library) now() *shelves { return l.view.Load() }

// get finds a thing.
func (l *library) get(kind Kind, id string) (*Entry, bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	e, ok := l.things[thing{kind, id}]
	return e, ok
}

// run follows the sources until ctx ends.
func (l *library) run(ctx context.Context, log *slog.Logger, sources map[Kind]Source) error {
	var wg sync.WaitGroup
	defer wg.Wait()
	var left atomic.Int32 // sources that were not read yet
	for kind, s := range sources {
		if s == nil {
			continue
		}
		left.Add(1)
		wg.Go(func() { l.follow(ctx, log, kind, s, func() bool { return left.Add(-1) == 0 }) })
	}
	if left.Load() == 0 {
		l.arrange(true)
	}
	<-ctx.Done()
	return nil
}

// follow reads one source again and again.
func (l *library) follow(ctx context.Context, log *slog.Logger, kind Kind, s Source, first func() (last bool)) {
	var changed <-chan struct{}
	if w, ok := s.(Watcher); ok {
		var stop func()
		changed, stop = w.Watch()
		defer stop()
	}
	said, begun := false, false
	for {
		start := time.Now()
		err := l.read(ctx, kind, s)
		took := time.Since(start)
		switch {
		case ctx.Err() != nil:
			return
		case err != nil && !said:
			log.WarnContext(ctx, "the portal can't read what there is, and tries again", "kind", string(kind), "err", err)
		}
		said = err != nil
		if !begun {
			begun = true
			if first() {
				l.arrange(true)
			}
		}
		timer := time.NewTimer(max(askEvery, askShare*took))
		select {
		case <-ctx.Done():
			timer.Stop()
			return
		case <-timer.C:
		case <-changed:
			timer.Stop()
			timer.Reset(max(settle, took))
			select {
			case <-ctx.Done():
				timer.Stop()
				return
			case <-timer.C:
			}
		}
	}
}

// read takes a source's entries in, and what it has no more out. If the source
// fails, what is known of it stays.
func (l *library) read(ctx context.Context, kind Kind, s Source) error {
	seen := map[string]bool{}
	after, changed, over := "", false, false
	for {
		entries, next, err := s.List(ctx, after)
		if err != nil {
			return err
		}
		for _, e := range entries {
			e.Kind = kind
			seen[e.ID] = true
			switch done, err := l.put(e); {
			case errors.Is(err, find.ErrFull):
				over = true
			default:
				changed = changed || done
			}
		}
		if next == "" || next == after || over {
			break
		}
		after = next
		if ctx.Err() != nil {
			return ctx.Err()
		}
	}
	l.mu.Lock()
	for t := range maps.Clone(l.things) {
		if t.kind == kind && !seen[t.id] {
			delete(l.things, t)
			l.count[kind]--
			l.index.Remove(string(kind), t.id)
			changed = true
		}
	}
	changed = changed || l.over[kind] != over
	l.over[kind] = over
	l.mu.Unlock()
	if changed {
		l.arrange(false)
	}
	return nil
}

// put takes one entry in, and tells whether it is another than was there.
func (l *library) put(e Entry) (changed bool, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	t := thing{e.Kind, e.ID}
	old := l.things[t]
	if old != nil && *old == e {
		return false, nil
	}
	if old == nil && l.count[e.Kind] >= l.most[e.Kind] {
		return false, find.ErrFull
	}
	if (old == nil || words(*old) != words(e)) && !strings.HasSuffix(e.Filename, captionsEnd) {
		if err := l.index.Add(words(e)); err != nil {
			return false, err
		}
	}
	if old == nil {
		l.count[e.Kind]++
	}
	l.things[t] = &e
	return true, nil
}

// words is what an entry is found by.
func words(e Entry) find.Doc {
	return find.Doc{
		ID: e.ID, Kind: string(e.Kind), Title: e.Title, Filename: e.Filename, Description: e.Description,
		Collection: e.Collection, Language: e.Language, At: e.At,
	}
}

// arrange puts the library in order anew.
func (l *library) arrange(read bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	v := &shelves{byName: map[string]*collection{}, read: read || l.view.Load().read}
	all := make([]*Entry, 0, len(l.things))
	for _, e := range l.things {
		c := v.byName[e.Collection]
		if c == nil {
			c = &collection{Name: e.Collection}
			v.byName[e.Collection] = c
			v.collections = append(v.collections, c)
		}
		if strings.HasSuffix(e.Filename, captionsEnd) {
			c.captions = append(c.captions, e)
			continue
		}
		all = append(all, e)
		c.Entries = append(c.Entries, e)
		c.Bytes += e.Bytes
		if e.Whole() {
			c.Here++
			v.here++
		}
	}
	for _, over := range l.over {
		v.more = v.more || over
	}
	for _, c := range v.collections {
		inOrder(c.Entries)
		inOrder(c.captions)
	}
	v.collections = slices.DeleteFunc(v.collections, func(c *collection) bool { return len(c.Entries) == 0 })
	slices.SortFunc(v.collections, func(a, b *collection) int {
		// What belongs nowhere comes last.
		return cmp.Or(cmp.Compare(btoi(a.Name == ""), btoi(b.Name == "")), natural(find.Plain(a.Name), find.Plain(b.Name)), cmp.Compare(a.Name, b.Name))
	})
	v.total = len(all)
	slices.SortFunc(all, func(a, b *Entry) int { return cmp.Or(b.At.Compare(a.At), cmp.Compare(a.ID, b.ID)) })
	v.recent = slices.Clone(all[:min(mostRecent, len(all))])
	l.view.Store(v)
}

func btoi(b bool) int {
	if b {
		return 1
	}
	return 0
}

// inOrder sorts entries as people look for them: by name, chapter 2 before
// chapter 10.
func inOrder(entries []*Entry) {
	type named struct {
		plain string
		e     *Entry
	}
	all := make([]named, len(entries))
	for i, e := range entries {
		all[i] = named{find.Plain(e.Name()), e}
	}
	slices.SortFunc(all, func(a, b named) int {
		return cmp.Or(natural(a.plain, b.plain), cmp.Compare(a.e.ID, b.e.ID))
	})
	for i := range all {
		entries[i] = all[i].e
	}
}

// natural compares texts, with numbers in them by what they are worth.
func natural(a, b string) int {
	for a != "" && b != "" {
		na, nb := digits(a), digits(b)
		if na > 0 && nb > 0 {
			x, y := trimZeros(a[:na]), trimZeros(b[:nb])
			if c := cmp.Or(cmp.Compare(len(x), len(y)), cmp.Compare(x, y)); c != 0 {
				return c
			}
			a, b = a[na:], b[nb:]
			continue
		}
		if a[0] != b[0] {
			return cmp.Compare(a[0], b[0])
		}
		a, b = a[1:], b[1:]
	}
	return cmp.Compare(len(a), len(b))
}

func digits(s string) int {
	n := 0
	for n < len(s) && '0' <= s[n] && s[n] <= '9' {
		n++
	}
	return n
}

func trimZeros(s string) string {
	for len(s) > 1 && s[0] == '0' {
		s = s[1:]
	}
	return s
}
