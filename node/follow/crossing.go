package follow

import (
	"context"
	"errors"
	"slices"
	"sync"
	"time"

	"preau/cache/block"
	"preau/cache/shelf"
)

const (
	// atHand is how long a block that came over the line is given to whoever asks
	// for it still: it may not be on the disk yet. mostAtHand bounds their number.
	atHand     = 2 * time.Second
	mostAtHand = 8
	// quickLook is how long the other boxes have to say whether they have a block,
	// before it is fetched over the line.
	quickLook = 500 * time.Millisecond
	// mostLooked is how many boxes are asked for that.
	mostLooked = 8
)

// crossing is one block on its way over the line, for all who wait for it.
type crossing struct {
	done   chan struct{} // closed after got and err are set
	hurry  chan struct{} // closed when somebody waits who is not to wait
	cancel context.CancelFunc
	got    got
	err    error

	waiters           int // guarded by the supply's lock, as are:
	hurried, finished bool
}

// line returns a block that is fetched over the line, or by way of a box that has
// it already. All who want it at the same time share one crossing.
func (s *supply) line(ctx context.Context, a ask) (got, error) {
	s.mu.Lock()
	c := s.crossings[a.digest]
	first := c == nil
	if first {
		c = &crossing{done: make(chan struct{}), hurry: make(chan struct{})}
		s.crossings[a.digest] = c
		var under context.Context
		under, c.cancel = context.WithCancel(context.WithoutCancel(ctx))
		go s.cross(under, c, a)
	}
	if a.slow == nil && !c.hurried {
		c.hurried = true
		close(c.hurry)
	}
	c.waiters++
	s.mu.Unlock()
	defer s.leave(c, a.digest)
	select {
	case <-c.done:
		out := c.got
		out.shared = !first
		return out, c.err
	case <-ctx.Done():
		return got{}, ctx.Err()
	}
}

// leave ends what nobody waits for any more. Whoever leaves last sees to it that
// nothing is left running.
func (s *supply) leave(c *crossing, d block.Digest) {
	s.mu.Lock()
	c.waiters--
	last := c.waiters == 0
	if last && !c.finished {
		c.cancel()
		s.forget(c, d)
	}
	s.mu.Unlock()
	if last {
		<-c.done
	}
}

// forget takes a crossing off the list. The lock is held.
func (s *supply) forget(c *crossing, d block.Digest) {
	if s.crossings[d] == c {
		delete(s.crossings, d)
	}
}

func (s *supply) cross(ctx context.Context, c *crossing, a ask) {
	defer close(c.done)
	defer c.cancel()
	b, err := s.cached(ctx, a)
	from := shelf.FromNeighbour
	if b == nil && err == nil {
		from = shelf.FromRegion
		if err = c.pace(ctx, a); err == nil {
			b, err = s.region(ctx, a.of, a.digest)
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	c.got, c.err, c.finished = got{data: b, from: from}, err, true
	if err != nil || s.crossings[a.digest] != c {
		s.forget(c, a.digest)
		return
	}
	s.lately = append(s.lately, a.digest)
	if len(s.lately) > mostAtHand {
		delete(s.crossings, s.lately[0])
		s.lately = s.lately[1:]
	}
	time.AfterFunc(atHand, func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		if s.crossings[a.digest] == c {
			delete(s.crossings, a.digest)
			s.lately = slices.DeleteFunc(s.lately, func(d block.Digest) bool { return d == a.digest })
		}
	})
}

// pace waits as long as who asked first is to wait for the line, unless somebody
// joins who is not.
func (c *crossing) pace(ctx context.Context, a ask) error {
	if a.slow == nil {
		return nil
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	paced := make(chan error, 1)
	go func() { paced <- a.slow(ctx, a.length) }()
	select {
	case err := <-paced:
		return err
	case <-c.hurry:
	}
	cancel()
	if err := <-paced; err != nil && !errors.Is(err, context.Canceled) {
		return err
	}
	return nil
}

// cached returns a block from a box that has it, nil if none says so at once.
func (s *supply) cached(ctx context.Context, a ask) ([]byte, error) {
	if s.near == nil {
		return nil, nil
	}
	others, _ := s.near.Order(a.key())
	others = slices.DeleteFunc(slices.Clone(others), func(b NearBox) bool { return s.mood(b.Name).mute() })
	others = others[:min(len(others), mostLooked)]
	looking, cancel := context.WithTimeout(ctx, quickLook)
	var running sync.WaitGroup
	defer running.Wait()
	defer cancel()
	type seen struct {
		NearBox
		has bool
	}
	answers := make(chan seen, len(others))
	for _, box := range others {
		running.Go(func() { answers <- seen{box, s.has(looking, box, a)} })
	}
	for range others {
		box := <-answers // each gives one, at the latest when looking ends
		if !box.has {
			continue
		}
		// A box that falls silent now is not waited for: there is the region.
		asking, end := context.WithCancel(ctx)
		b, err := s.ask(asking, box.NearBox, a, true, end)
		end()
		if err == nil {
			return b, nil
		}
	}
	return nil, ctx.Err()
}
