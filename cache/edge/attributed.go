package edge

import (
	"io"
	"net/http"
	"sync"

	"preau/cache/block"
	"preau/cache/fill"
)

// sourceOf says who sent a response, as its body tells.
func sourceOf(resp *http.Response) string {
	if b, ok := resp.Body.(interface{ Source() string }); ok {
		if s := b.Source(); s == sourceNeighbour || s == sourceRegion {
			return s
		}
	}
	return sourceSite
}

// lentBy reports whether the box that sends a body keeps it for this one too.
func lentBy(body any) bool {
	l, ok := body.(interface{ Lent() bool })
	return ok && l.Lent()
}

// digestOf asks what a body is made of, whether it knows what it gives.
func digestOf(from any, i int) (block.Digest, bool) {
	if c, ok := from.(fill.Compared); ok {
		return c.Digest(i)
	}
	return block.Digest{}, false
}

// Digest implements fill.Compared.
func (b *endingBody) Digest(i int) (block.Digest, bool) { return digestOf(b.ReadCloser, i) }

// giveOf asks a body for a whole block with its memory, whether it has any to give.
func giveOf(from any) ([]*block.Chunk, int64) {
	if g, ok := from.(fill.Giver); ok {
		return g.Give()
	}
	return nil, 0
}

// Give implements fill.Giver.
func (b *endingBody) Give() ([]*block.Chunk, int64) { return giveOf(b.ReadCloser) }

// Digest implements fill.Compared.
func (b *limitedBody) Digest(i int) (block.Digest, bool) { return digestOf(b.Closer, i) }

// attributed is a fill.Source that knows who feeds it.
type attributed interface {
	// from is who sent what came last; empty if nothing has come.
	from() string
	// fed reports whether a neighbour is waited for, who may be fetching it.
	fed() bool
}

// bodySource says who sent what was fetched of body last.
func bodySource(body *fill.Body) string {
	if a, ok := body.Source().(attributed); ok {
		if s := a.from(); s != "" {
			return s
		}
	}
	return sourceSite
}

// fedByNeighbour reports whether more of body waits for a neighbour.
func fedByNeighbour(body *fill.Body) bool {
	a, ok := body.Source().(attributed)
	return ok && a.fed()
}

// feeds counts the fetches that wait for a neighbour to fetch, from when they
// begin to when their streams end, and remembers who sent something last.
type feeds struct {
	mu    sync.Mutex
	count int
	last  string
	keeps bool // who sent something last keeps all of it
}

func (f *feeds) from() string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.last
}

// lent reports whether what comes is kept by who sends it.
func (f *feeds) lent() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.keeps
}

func (f *feeds) fed() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.count > 0
}

// feed is one fetch.
type feed struct {
	of *feeds
	on bool // guarded by of.mu
}

// set takes note of whether the fetch waits for a neighbour.
func (f *feed) set(on bool) {
	f.of.mu.Lock()
	defer f.of.mu.Unlock()
	switch {
	case on && !f.on:
		f.of.count++
	case !on && f.on:
		f.of.count--
	}
	f.on = on
}

// began takes note of who answers, and whether that one keeps what it sends.
func (f *feed) began(source string, lent bool) {
	f.of.mu.Lock()
	defer f.of.mu.Unlock()
	f.of.last, f.of.keeps = source, lent
}

// feeding attributes a stream that is open.
func (f *feeds) feeding(body io.ReadCloser, source string, waits, lent bool) io.ReadCloser {
	one := &feed{of: f}
	one.began(source, lent)
	one.set(waits)
	return &endingBody{ReadCloser: body, end: func() { one.set(false) }}
}

// patience is what a flight knows of neighbours: whether it waits for one, and
// when it does no more.
type patience struct {
	mu   sync.Mutex
	over chan struct{} // nil while none is waited for
}

func (p *patience) set(waiting bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	switch {
	case waiting && p.over == nil:
		p.over = make(chan struct{})
	case !waiting && p.over != nil:
		close(p.over)
		p.over = nil
	}
}

// tried returns what is closed when no neighbour is waited for any more; nil if
// none is now.
func (p *patience) tried() <-chan struct{} {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.over
}
