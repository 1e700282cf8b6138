package shelf

import (
	"context"

	"preau/cache/block"
	"preau/cache/storage"
)

// aim is what a flight fetches, and where it may. What a neighbour asked for must
// not wait for what other boxes are asked for: they might wait for this one.
// Neither must those who wait themselves for what is fetched ahead.
type aim struct {
	Piece
	neighbour, ahead bool
}

// flight is one block being fetched for people. It goes on as long as one of
// them waits, whoever asked first. Its results are set before done is closed.
type flight struct {
	aim    aim
	done   chan struct{}
	data   []byte
	err    error
	ended  chan struct{} // it is on the disk too, as far as it can be
	cancel context.CancelFunc

	waiters  int  // guarded by the shelf's lock, as is:
	finished bool // there is a result
}

// join has a block fetched, or waits with those who do already. Whoever joins
// leaves.
func (s *Shelf) join(ctx context.Context, st *storage.Storage, ring block.Ring, req Request) *flight {
	s.mu.Lock()
	defer s.mu.Unlock()
	to := aim{Piece{req.Digest, req.Length}, req.Neighbour, req.Slow != nil}
	f := s.flights[to]
	if f == nil {
		f = &flight{aim: to, done: make(chan struct{}), ended: make(chan struct{})}
		s.flights[to] = f
		flying := context.WithoutCancel(ctx)
		if to.ahead {
			flying, f.cancel = context.WithCancel(flying)
		} else {
			flying, f.cancel = context.WithTimeout(flying, s.cfg.BlockTimeout)
		}
		go s.fly(flying, f, st, ring, req)
	}
	f.waiters++
	return f
}

func (f *flight) wait(ctx context.Context) ([]byte, error) {
	select {
	case <-f.done:
		return f.data, f.err
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// leave ends what nobody waits for any more. Whoever leaves last sees to it that
// nothing is left running.
func (s *Shelf) leave(f *flight) {
	s.mu.Lock()
	f.waiters--
	last := f.waiters == 0
	if last && !f.finished {
		f.cancel()
		s.land(f)
	}
	s.mu.Unlock()
	if last {
		<-f.ended
	}
}

// land takes a flight off the list. s.mu is held.
func (s *Shelf) land(f *flight) {
	if s.flights[f.aim] == f {
		delete(s.flights, f.aim)
	}
}

func (s *Shelf) fly(ctx context.Context, f *flight, st *storage.Storage, ring block.Ring, req Request) {
	defer close(f.ended)
	defer f.cancel()
	// Another flight may have brought it after whoever asked looked at the disk,
	// and have landed since.
	data, here := s.local(st, req.Digest, req.Length)
	var err error
	if here {
		s.metrics.blocks.WithLabelValues("local").Inc()
	} else {
		data, err = s.fetchBlock(ctx, req)
	}
	s.mu.Lock()
	f.data, f.err, f.finished = data, err, true
	s.mu.Unlock()
	close(f.done) // nobody is to wait for the disk
	if err == nil && !here && st != nil {
		if _, err := st.Blocks().Put(ctx, ring, req.Digest, data); err != nil {
			s.log.DebugContext(ctx, "a block could not be kept", "err", err)
		}
	}
	s.mu.Lock()
	s.land(f)
	s.mu.Unlock()
}
