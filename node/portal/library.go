package portal

import (
	"context"
	"errors"
	"log/slog"
	"maps"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"preau/node/portal/find"
)

// How often a source is asked that does not tell when it changes: often, but for
// no more than a fiftieth of the time.
const (
	askEvery = 15 * time.Second
	askShare = 50
	settle   = 200 * time.Millisecond // what changes once changes again
	// settleShare keeps changes that never end to a fifth of the time.
	settleShare = 4
	mostRecent  = 60
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

	ordering sync.Mutex // held while a view is made; taken before mu

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

// follow reads one source again and again: what it says has changed, and all of it
// now and then, since not everything is told.
func (l *library) follow(ctx context.Context, log *slog.Logger, kind Kind, s Source, first func() (last bool)) {
	said, begun, whole := false, false, true
	var changed <-chan struct{}
	stop := func() {}
	defer func() { stop() }()
	var mark uint64
	every := time.NewTimer(askEvery)
	defer every.Stop()
	for {
		if w, ok := s.(Watcher); ok && changed == nil {
			stop()
			changed, stop = w.Watch()
		}
		start := time.Now()
		err := l.catchUp(ctx, kind, s, &mark, &whole)
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
		if whole || err != nil { // else the time of the next reading stands
			every.Reset(max(askEvery, askShare*took))
		}
		whole = false
		select {
		case <-ctx.Done():
			return
		case <-every.C:
			whole = true
		case <-changed:
			pause := time.NewTimer(max(settle, settleShare*took))
			select {
			case <-ctx.Done():
				pause.Stop()
				return
			case <-pause.C:
			}
		}
	}
}

// catchUp reads what has changed since mark, or all there is; whole tells which, if
// it was not to be all anyway.
func (l *library) catchUp(ctx context.Context, kind Kind, s Source, mark *uint64, whole *bool) error {
	t, ok := s.(Teller)
	if !ok {
		*whole = true
		return l.read(ctx, kind, s)
	}
	was := *mark
	ids, now, known := t.Since(was) // before anything is read: what changes then is told again
	if *whole || !known {
		*whole = true
		if err := l.read(ctx, kind, s); err != nil {
			*mark = 0
			return err
		}
		*mark = now
		return nil
	}
	if err := l.look(ctx, kind, s, ids); err != nil {
		return err // they are looked at again
	}
	*mark = now
	return nil
}

// look takes in how some of a source's things are now.
func (l *library) look(ctx context.Context, kind Kind, s Source, ids []string) error {
	changed, over := false, false
	var gone []string
	for _, id := range ids {
		e, err := s.Look(ctx, Entry{Kind: kind, ID: id})
		switch {
		case errors.Is(err, ErrNone), errors.Is(err, ErrGone):
			gone = append(gone, id)
			continue
		case err != nil:
			return err
		}
		e.Kind = kind
		done, err := l.put(e)
		over = over || errors.Is(err, find.ErrFull)
		changed = changed || done
	}
	l.mu.Lock()
	for _, id := range gone {
		changed = l.remove(thing{kind, id}) || changed
	}
	changed = changed || over && !l.over[kind]
	l.over[kind] = l.over[kind] || over
	l.mu.Unlock()
	if changed {
		l.arrange(false)
	}
	return nil
}

// remove takes one thing out, if it is there. l.mu is held.
func (l *library) remove(t thing) bool {
	if _, there := l.things[t]; !there {
		return false
	}
	delete(l.things, t)
	l.count[t.kind]--
	l.index.Remove(string(t.kind), t.id)
	return true
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
			changed = l.remove(t) || changed
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
	if doc := words(e); (old == nil || words(*old) != doc) && !strings.HasSuffix(e.Filename, captionsEnd) {
		doc.Here = e.Whole()
		if err := l.index.Add(doc); err != nil {
			return false, err
		}
	} else if old != nil && old.Whole() != e.Whole() {
		l.index.Mark(string(e.Kind), e.ID, e.Whole())
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
		Collection: e.Collection, Level: e.Level, Language: e.Language, At: e.At,
	}
}
