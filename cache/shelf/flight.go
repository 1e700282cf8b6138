package shelf

import (
	"context"

	"preau/cache/block"
	"preau/cache/storage"
)

// flight is one block being fetched for people. It goes on as long as one of
// them waits, whoever asked first. Its results are set before done is closed.
type flight struct {
	piece  Piece
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
func (s *Shelf) join(ctx context.Context, st *storage.Storage, ring block.Ring, of string, p Piece) *flight {
	s.mu.Lock()
	defer s.mu.Unlock()
	f := s.flights[p]
	if f == nil {
		f = &flight{piece: p, done: make(chan struct{}), ended: make(chan struct{})}
		s.flights[p] = f
		var flying context.Context
		flying, f.cancel = context.WithTimeout(context.WithoutCancel(ctx), s.cfg.BlockTimeout)
		go s.fly(flying, f, st, ring, of)
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
	if s.flights[f.piece] == f {
		delete(s.flights, f.piece)
	}
}

func (s *Shelf) fly(ctx context.Context, f *flight, st *storage.Storage, ring block.Ring, of string) {
	defer close(f.ended)
	defer f.cancel()
	// Another flight may have brought it after whoever asked looked at the disk,
	// and have landed since.
	data, here := s.local(st, f.piece.Digest, f.piece.Length)
	var err error
	if here {
		s.metrics.blocks.WithLabelValues("local").Inc()
	} else {
		data, err = s.fetchBlock(ctx, of, f.piece.Digest, f.piece.Length, nil)
	}
	s.mu.Lock()
	f.data, f.err, f.finished = data, err, true
	s.mu.Unlock()
	close(f.done) // nobody is to wait for the disk
	if err == nil && !here && st != nil {
		if _, err := st.Blocks().Put(ctx, ring, f.piece.Digest, data); err != nil {
			s.log.DebugContext(ctx, "a block could not be kept", "err", err)
		}
	}
	s.mu.Lock()
	s.land(f)
	s.mu.Unlock()
}
