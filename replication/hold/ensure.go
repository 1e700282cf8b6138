package hold

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sort"
	"strings"
	"sync"
	"time"

	"preau/cache/block"
)

const (
	// pushing is how many blocks Ensure has in memory, and on the way.
	pushing = 8
	// askedAtOnce is how many blocks a server is asked for in one request: it may
	// have to read all of them.
	askedAtOnce = 256
	// latecomers is how long Ensure waits for the others once enough servers have
	// said what they miss.
	latecomers = 2 * time.Second
)

var errLate = fmt.Errorf("no answer %s after the others", latecomers)

// Replicator brings blocks to enough servers. It owns no goroutine.
type Replicator struct {
	shelf *Shelf
	peers func() []*Client
}

// NewReplicator returns a replicator of what is on shelf. peers tells the other
// servers of the region, without this one; each name once.
func NewReplicator(shelf *Shelf, peers func() []*Client) (*Replicator, error) {
	if shelf == nil || peers == nil {
		return nil, errors.New("hold: replicator needs a shelf and the other servers")
	}
	return &Replicator{shelf: shelf, peers: peers}, nil
}

// ShortError reports blocks that are on fewer servers than they need to be.
type ShortError struct {
	Need   int           // servers that each block needs to be on
	Copies int           // servers that the worst of them is known to be on
	Short  int           // blocks that are short
	Of     int           // blocks in all
	Failed []ServerError // servers that did not do their part
	Local  error         // what went wrong with this server's own copies
}

// Error says what is missing and who did not do it.
func (e *ShortError) Error() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%d of %d blocks are not on %d servers, at worst on %d", e.Short, e.Of, e.Need, e.Copies)
	for _, f := range e.Failed {
		fmt.Fprintf(&b, "; %v", f.Err)
	}
	if e.Local != nil {
		fmt.Fprintf(&b, "; this server: %v", e.Local)
	}
	return b.String()
}

// Unwrap returns the causes.
func (e *ShortError) Unwrap() []error {
	var errs []error
	for _, f := range e.Failed {
		errs = append(errs, f.Err)
	}
	if e.Local != nil {
		errs = append(errs, e.Local)
	}
	return errs
}

// copies is where one block is.
type copies struct {
	digest block.Digest
	local  bool
	at     []bool // by index in the round's peers
}

func (c *copies) count() int {
	n := 0
	if c.local {
		n++
	}
	for _, at := range c.at {
		if at {
			n++
		}
	}
	return n
}

// Ensure returns nil once every one of digests is on at least need servers, this
// one counted, synced to their disks. It asks the others what they miss and sends
// that, eight blocks at a time, until it is enough; what is left undone is for
// their Repairers. A server that is down costs a few seconds, not the
// publication, as long as need can be met without it. If it can't, the error is a
// *ShortError: what has been sent stays sent, and another Ensure goes on from
// there. The blocks stay where they are for the servers' grace, so the catalogue's
// entry must be committed within it.
func (r *Replicator) Ensure(ctx context.Context, digests []block.Digest, need int) error {
	if need < 1 {
		return fmt.Errorf("ensure: %d servers, want at least 1", need)
	}
	digests = slices.Clone(digests)
	slices.SortFunc(digests, func(a, b block.Digest) int { return slices.Compare(a[:], b[:]) })
	digests = slices.Compact(digests)
	if len(digests) == 0 {
		return nil
	}
	if digests[0].IsZero() {
		return errors.New("ensure: a zero digest names nothing")
	}
	peers := r.peers()
	all := make([]*copies, len(digests))
	for i, d := range digests {
		all[i] = &copies{digest: d, local: true, at: make([]bool, len(peers))}
	}
	missing, err := r.shelf.Missing(ctx, digests)
	if err != nil {
		return fmt.Errorf("ensure: %w", err)
	}
	for _, d := range missing {
		find(all, d).local = false
	}
	job := &ensuring{shelf: r.shelf, round: newRound(peers), need: need}
	if job.short(all) == nil {
		return nil
	}
	job.survey(ctx, digests, all)
	if ctx.Err() == nil {
		job.push(ctx, all)
	}
	if short := job.short(all); short != nil {
		if ctx.Err() != nil {
			return fmt.Errorf("ensure: %w", context.Cause(ctx))
		}
		return fmt.Errorf("ensure: %w", short)
	}
	return nil
}

// find returns where d is in all, which are sorted and have it.
func find(all []*copies, d block.Digest) *copies {
	i := sort.Search(len(all), func(i int) bool { return slices.Compare(all[i].digest[:], d[:]) >= 0 })
	return all[i]
}

// ensuring is one call of Ensure.
type ensuring struct {
	shelf *Shelf
	round *round
	need  int

	mu    sync.Mutex
	local error
}

// survey fills in which servers have what.
func (e *ensuring) survey(ctx context.Context, digests []block.Digest, all []*copies) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	type answer struct {
		peer int
		at   []bool // by index in all
		err  error
	}
	answers := make(chan answer, len(e.round.peers))
	var wg sync.WaitGroup
	defer wg.Wait()
	for i, p := range e.round.peers {
		wg.Go(func() {
			a := answer{peer: i, at: make([]bool, len(all))}
			for k := range a.at {
				a.at[k] = true
			}
			k := 0
			for part := range slices.Chunk(digests, askedAtOnce) {
				missing, err := p.Missing(ctx, part)
				if err != nil {
					a.err = err
					break
				}
				gone := make(map[block.Digest]bool, len(missing))
				for _, d := range missing {
					gone[d] = true
				}
				for _, d := range part {
					a.at[k] = !gone[d]
					k++
				}
			}
			answers <- a
		})
	}
	var late <-chan time.Time
	heard, good := make([]bool, len(e.round.peers)), 0
	for range e.round.peers {
		select {
		case a := <-answers:
			heard[a.peer] = true
			if a.err != nil {
				e.round.out(e.round.peers[a.peer], a.err)
				continue
			}
			for k, at := range a.at {
				all[k].at[a.peer] = at
			}
			if good++; good >= e.need-1 && late == nil {
				timer := time.NewTimer(latecomers)
				defer timer.Stop()
				late = timer.C
			}
		case <-late:
			cancel(errLate)
			for i, p := range e.round.peers {
				if !heard[i] {
					e.round.out(p, fmt.Errorf("server %s: %w", p.Name(), errLate))
				}
			}
			return
		case <-ctx.Done():
			return
		}
	}
}

// push sends blocks until each is on enough servers or nothing more can be done.
func (e *ensuring) push(ctx context.Context, all []*copies) {
	work := make(chan *copies)
	var wg sync.WaitGroup
	for range min(pushing, len(all)) {
		wg.Go(func() {
			buf := make([]byte, 0, bufferSize)
			for c := range work {
				if ctx.Err() == nil {
					e.bring(ctx, c, buf)
				}
			}
		})
	}
	for _, c := range all {
		if c.count() < e.need {
			work <- c
		}
	}
	close(work)
	wg.Wait()
}

// bring sends one block to as many servers as it needs. Nobody else touches c.
func (e *ensuring) bring(ctx context.Context, c *copies, buf []byte) {
	var to []int
	for _, i := range e.round.order() {
		if !c.at[i] {
			to = append(to, i)
		}
	}
	if c.local && len(to) == 0 {
		return
	}
	p, err := e.shelf.Read(c.digest, buf)
	if errors.Is(err, block.ErrNotFound) {
		// Never here, or damaged: one of the others may help.
		c.local = false
		p, err = e.shelf.fetch(ctx, e.round, c.digest, buf)
		c.local = err == nil
	}
	if err != nil {
		c.local = false
		e.mu.Lock()
		e.local = err
		e.mu.Unlock()
		return
	}
	for _, i := range to {
		if c.count() >= e.need || ctx.Err() != nil {
			return
		}
		peer := e.round.peers[i]
		err := peer.Put(ctx, c.digest, p)
		if ctx.Err() != nil {
			return
		}
		e.round.note(peer, err)
		c.at[i] = err == nil
		result := "ok"
		if err != nil {
			result = "failed"
		}
		e.shelf.metrics.pushed.WithLabelValues(result).Inc()
	}
}

// short says which blocks are not on enough servers, nil if none.
func (e *ensuring) short(all []*copies) *ShortError {
	s := &ShortError{Need: e.need, Copies: e.need, Of: len(all)}
	for _, c := range all {
		if n := c.count(); n < e.need {
			s.Short++
			s.Copies = min(s.Copies, n)
		}
	}
	if s.Short == 0 {
		return nil
	}
	e.mu.Lock()
	s.Local = e.local
	e.mu.Unlock()
	s.Failed = e.round.failures()
	return s
}
