package uplink

import (
	"context"
	"sync"

	"preau/cache/block"
	"preau/replication/central"
	"preau/replication/hold"
)

// runs gets blocks of a file that are wanted at the same time in one answer where
// they lie beside one another: an answer costs the store behind the gateway as
// much as several blocks do. It fetches nothing that nobody wants. The first who
// want something are served at once, and what is wanted meanwhile comes together.
type runs struct {
	mu sync.Mutex
	of map[block.Digest]*wanted // by the file's list
}

// wanted is what is wanted of one file.
type wanted struct {
	under int           // answers on their way
	wait  map[int]*want // by the block's number: those that nobody gets yet
}

type want struct {
	lead chan struct{} // holds one: it is for this one to get
	led  bool          // it holds one, or has; guarded by runs.mu
	done chan struct{}
	p    []byte
	err  error
}

// fetchRun gets the blocks from..to of a file. each gets them one after the other,
// numbered from 0 on.
type fetchRun func(ctx context.Context, from, to int, each func(i int, p []byte)) error

// get gets block i of a file through fetch. A run that fails concerns only who
// asked for it: the others ask for their own block.
func (r *runs) get(ctx context.Context, list block.Digest, entries []hold.Entry, i int, fetch fetchRun) ([]byte, error) {
	w := &want{lead: make(chan struct{}, 1), done: make(chan struct{})}
	r.mu.Lock()
	if r.of == nil {
		r.of = make(map[block.Digest]*wanted)
	}
	f := r.of[list]
	if f == nil {
		f = &wanted{wait: make(map[int]*want)}
		r.of[list] = f
	}
	f.wait[i] = w
	f.fill()
	r.mu.Unlock()

	select {
	case <-w.lead:
		if alone := r.run(ctx, list, f, entries, i, fetch); w.err == nil || alone || ctx.Err() != nil {
			return w.p, w.err
		}
	case <-w.done:
		if w.err == nil {
			return w.p, nil
		}
	case <-ctx.Done():
		r.mu.Lock()
		defer r.mu.Unlock()
		if f.wait[i] == w {
			delete(f.wait, i)
			f.fill()
		}
		select {
		case <-w.lead: // in this moment
			r.ended(list, f)
		default:
		}
		return nil, context.Cause(ctx)
	}
	var p []byte
	err := fetch(ctx, i, i+1, func(_ int, got []byte) { p = got })
	return p, err
}

// fill has as many go on as may. Who stands beside one that does comes along
// with that. The lock is held.
func (f *wanted) fill() {
	for f.under < central.Running {
		first := -1
		for i, w := range f.wait {
			if w.follows() && f.wait[i-1] == nil && (first < 0 || i < first) {
				first = i
			}
		}
		if first < 0 {
			return
		}
		f.under++
		f.wait[first].led = true
		f.wait[first].lead <- struct{}{}
	}
}

// run gets block i and those beside it that are wanted, and reports whether there
// were none.
func (r *runs) run(ctx context.Context, list block.Digest, f *wanted, entries []hold.Entry, i int, fetch fetchRun) (alone bool) {
	r.mu.Lock()
	from, to, size := i, i+1, entries[i].Length
	for from > 0 && f.wait[from-1].follows() && size+entries[from-1].Length <= central.RunSize {
		from--
		size += entries[from].Length
	}
	for to < len(entries) && f.wait[to].follows() && size+entries[to].Length <= central.RunSize {
		size += entries[to].Length
		to++
	}
	together := make([]*want, to-from)
	for n := range together {
		together[n] = f.wait[from+n]
		delete(f.wait, from+n)
	}
	f.fill()
	r.mu.Unlock()
	came := 0
	err := fetch(ctx, from, to, func(n int, p []byte) {
		together[n].p = p
		close(together[n].done)
		came = n + 1
	})
	for _, w := range together[came:] {
		w.err = err
		close(w.done)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.ended(list, f)
	return len(together) == 1
}

// follows says that a want may be served by another one.
func (w *want) follows() bool { return w != nil && !w.led }

// ended notes that an answer has come, or never will. The lock is held.
func (r *runs) ended(list block.Digest, f *wanted) {
	f.under--
	f.fill()
	if f.under == 0 {
		delete(r.of, list)
	}
}
