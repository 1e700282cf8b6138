package edge

import (
	"io"
	"slices"
	"sync"
	"sync/atomic"

	"preau/cache/block"
	"preau/cache/object"
	"preau/cache/upstream"
)

// paces are those of what is fetched in the background now, by what it is fetched
// for, so that somebody who asks for the same need not wait for its pace.
type paces struct {
	n  atomic.Int64
	mu sync.Mutex
	of map[object.Key][]*upstream.Pace
}

// begin notes a pace until end is called.
func (p *paces) begin(key object.Key, pace *upstream.Pace) (end func()) {
	if pace == nil {
		return func() {}
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.of == nil {
		p.of = map[object.Key][]*upstream.Pace{}
	}
	p.of[key] = append(p.of[key], pace)
	p.n.Add(1)
	return sync.OnceFunc(func() {
		p.mu.Lock()
		defer p.mu.Unlock()
		left := p.of[key]
		i := slices.Index(left, pace)
		if left = slices.Delete(left, i, i+1); len(left) == 0 {
			delete(p.of, key)
		} else {
			p.of[key] = left
		}
		p.n.Add(-1)
	})
}

// hurry has what is fetched for x come as fast as it can, if x is somebody's. It is
// called once x shares the fetch: what begins later in the background finds it
// under way.
func (x *exchange) hurry() {
	p := &x.h.paces
	if p.n.Load() == 0 || upstream.PaceOf(x.r.Context()) != nil {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, pace := range p.of[x.key] {
		pace.Hurry()
	}
}

// paced reads what crosses the line for t at t's pace, if it has one. What another
// box sends crosses none of ours.
func (t *task) paced(body io.ReadCloser, source string) io.ReadCloser {
	if t.pace == nil || source == sourceNeighbour {
		return body
	}
	return &pacedBody{ReadCloser: t.pace.Body(body), from: body, end: t.h.paces.begin(t.key, t.pace)}
}

// pacedBody still knows what it gives.
type pacedBody struct {
	io.ReadCloser
	from io.ReadCloser
	end  func()
}

// Digest implements fill.Compared.
func (b *pacedBody) Digest(i int) (block.Digest, bool) { return digestOf(b.from, i) }

// Close implements io.Closer.
func (b *pacedBody) Close() error {
	defer b.end()
	return b.ReadCloser.Close()
}
