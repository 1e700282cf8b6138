package feed

import (
	"context"
	"time"
)

// beatStep is how often streams are looked at. That many boxes' heartbeats come
// together, which costs a server with thousands of them less than a timer each:
// most of what a heartbeat costs is to wake up for it.
const beatStep = time.Second

// now is the server's own clock, in nanoseconds from when it was made.
func (s *Server) now() int64 { return int64(time.Since(s.made)) + 1 }

// turnWheel looks at the streams until ctx ends.
func (s *Server) turnWheel(ctx context.Context) {
	tick := time.NewTicker(beatStep)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			now := s.now()
			s.presence.each(func(st *stream) { st.tick(now) })
		}
	}
}

// each calls fn for every stream that its box has not replaced. fn must not
// wait for a stream.
func (p *presence) each(fn func(*stream)) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, st := range p.live {
		fn(st)
	}
}
