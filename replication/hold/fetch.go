package hold

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"

	"preau/cache/block"
)

// strikes is how many requests in a row may fail before a server is left alone
// for the rest of a round: each has cost the client's whole patience.
const strikes = 2

// round asks the same few servers for many blocks, and leaves alone those that
// don't answer. Its methods may be called concurrently.
type round struct {
	peers []*Client

	mu     sync.Mutex
	failed map[string]*failing // by the server's name
	next   int
}

type failing struct {
	inARow int
	out    bool
	err    error // the last
}

func newRound(peers []*Client) *round {
	return &round{peers: peers, failed: make(map[string]*failing)}
}

// order is the servers still worth asking, by index, each time beginning with
// another one.
func (r *round) order() []int {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.next++
	order := make([]int, 0, len(r.peers))
	for i := range r.peers {
		k := (i + r.next) % len(r.peers)
		if f := r.failed[r.peers[k].Name()]; f == nil || !f.out {
			order = append(order, k)
		}
	}
	return order
}

// note remembers how a server did. A block that it does not have is no fault.
func (r *round) note(p *Client, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	f := r.failed[p.Name()]
	if err == nil || errors.Is(err, block.ErrNotFound) {
		if f != nil {
			f.inARow = 0
		}
		return
	}
	if f == nil {
		f = new(failing)
		r.failed[p.Name()] = f
	}
	f.err = err
	f.inARow++
	// A full disk is full for the next block too, and a server that doesn't let
	// us in won't.
	if f.inARow >= strikes || errors.Is(err, block.ErrNoSpace) || errors.Is(err, ErrRefused) {
		f.out = true
	}
}

// out leaves a server alone from now on.
func (r *round) out(p *Client, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.failed[p.Name()] = &failing{out: true, err: err}
}

// failures is what went wrong, by server.
func (r *round) failures() []ServerError {
	r.mu.Lock()
	defer r.mu.Unlock()
	var all []ServerError
	for _, name := range slices.Sorted(maps.Keys(r.failed)) {
		all = append(all, ServerError{Server: name, Err: r.failed[name].err})
	}
	return all
}

// ServerError is what went wrong with one server. Err names the server already.
type ServerError struct {
	Server string
	Err    error
}

// fetch brings d to the shelf from the first server that has it, in buf if that
// is large enough, and returns its bytes. It returns block.ErrNotFound if those
// that answered don't have it.
func (s *Shelf) fetch(ctx context.Context, r *round, d block.Digest, buf []byte) ([]byte, error) {
	var problems []error
	for _, i := range r.order() {
		p := r.peers[i]
		b, err := p.Get(ctx, d, buf)
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		r.note(p, err)
		s.metrics.fetches.WithLabelValues(fetchResult(err)).Inc()
		if err != nil {
			if errors.Is(err, ErrWrongBytes) {
				s.log.WarnContext(ctx, "a server answers with wrong bytes: look at its disk and memory",
					"server", p.Name(), "digest", d.String())
			}
			problems = append(problems, err)
			continue
		}
		s.metrics.fetchedBytes.Add(float64(len(b)))
		if err := s.keep(ctx, d, b); err != nil {
			if ctx.Err() == nil {
				s.metrics.fetches.WithLabelValues("unkept").Inc()
			}
			return nil, &keepError{err}
		}
		return b, nil
	}
	if len(problems) == 0 {
		return nil, fmt.Errorf("fetch block %s: no server to ask", d)
	}
	return nil, fmt.Errorf("fetch block %s: %w", d, errors.Join(problems...))
}

// keepError says that the fault lies with our own disk.
type keepError struct{ error }

func (e *keepError) Unwrap() error { return e.error }

func fetchResult(err error) string {
	switch {
	case err == nil:
		return "ok"
	case errors.Is(err, block.ErrNotFound):
		return "absent"
	case errors.Is(err, ErrWrongBytes):
		return "wrong"
	}
	return "failed"
}
