package upstream

import (
	"context"
	"io"
	"sync/atomic"
)

// Limiter slows down what is fetched in the background. Its methods may be called
// concurrently.
type Limiter interface {
	// WaitN returns when n more bytes may come, or ctx's error. How fast that is may
	// change while it is used.
	WaitN(ctx context.Context, n int) error
}

// Pace is how fast a fetch goes that nobody waits for: as its Limiter says, until
// somebody waits for what it brings; from then on as fast as it comes. What one
// read brings is late by as long as the rate says, and little more than that is on
// its way, since the sender is not asked for what is not read. Its methods may be
// called concurrently.
type Pace struct {
	limit Limiter
	free  context.Context // ends when somebody waits
	hurry context.CancelFunc
	taken atomic.Int64
}

// NewPace makes a pace. It owns nothing that need be ended.
func NewPace(limit Limiter) *Pace {
	p := &Pace{limit: limit}
	p.free, p.hurry = context.WithCancel(context.Background())
	return p
}

// Hurry lets the fetch go as fast as it comes, for good: somebody waits for it.
func (p *Pace) Hurry() { p.hurry() }

// Hurried reports whether somebody has waited.
func (p *Pace) Hurried() bool { return p.free.Err() != nil }

// Taken is how many bytes have come so far, the hurried ones among them.
func (p *Pace) Taken() int64 { return p.taken.Load() }

// Body reads a response's body at the pace.
func (p *Pace) Body(body io.ReadCloser) io.ReadCloser {
	b := &pacedBody{ReadCloser: body, pace: p}
	b.ctx, b.end = context.WithCancel(p.free)
	return b
}

// pacedBody is for one reader; Close may be called while it reads.
type pacedBody struct {
	io.ReadCloser
	pace *Pace
	ctx  context.Context // ends with the body, or when somebody waits
	end  context.CancelFunc
}

// Read implements io.Reader.
func (b *pacedBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	b.pace.taken.Add(int64(n))
	if n > 0 && b.ctx.Err() == nil {
		// Its error says that the body was closed, which the next read will find, or
		// that there is no more to wait for.
		b.pace.limit.WaitN(b.ctx, n) //nolint:errcheck // as said
	}
	return n, err
}

// Close implements io.Closer.
func (b *pacedBody) Close() error {
	b.end()
	return b.ReadCloser.Close()
}

type paceKey struct{}

// WithPace has what ctx's request fetches come at a pace, where whoever carries it
// out heeds it.
func WithPace(ctx context.Context, p *Pace) context.Context {
	return context.WithValue(ctx, paceKey{}, p)
}

// PaceOf is the pace that WithPace gave, or nil.
func PaceOf(ctx context.Context) *Pace {
	p, _ := ctx.Value(paceKey{}).(*Pace) //nolint:errcheck // nil: none was given
	return p
}
