package s3store

import (
	"context"
	"crypto/md5"
	"encoding/hex"
	"errors"
	"hash"
	"io"
	"sync"

	"preau/replication/central/store"
)

// errDetached is what a body says that is read after its call has returned.
var errDetached = errors.New("the call that this body belongs to has returned")

// guarded is a caller's body on its way to the server: of the announced size, or
// it breaks before its last byte; hashed; and left alone once detached, for
// net/http may go on reading after it has returned an error.
type guarded struct {
	mu  sync.Mutex
	r   io.Reader
	sum hash.Hash
	ctx context.Context // of the call
	err error           // the body's own
	off bool
}

func guard(ctx context.Context, body io.Reader, size int64) *guarded {
	return &guarded{ctx: ctx, r: store.Exactly(body, size), sum: md5.New()}
}

func (g *guarded) Read(p []byte) (int, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.off {
		return 0, errDetached
	}
	if err := g.ctx.Err(); err != nil {
		return 0, err
	}
	n, err := g.r.Read(p)
	// Write of a hash never fails.
	_, _ = g.sum.Write(p[:n])
	switch {
	case errors.Is(err, io.EOF):
	case err != nil:
		g.err = err
	case g.ctx.Err() != nil:
		// It ended while we read: nothing more must get out, or the server
		// could have it all.
		return 0, g.ctx.Err()
	}
	return n, err
}

// detach waits for a Read that is under way and lets none follow. It returns
// the body's error.
func (g *guarded) detach() error {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.off = true
	return g.err
}

// etag is the MD5 of what was read. Call detach first.
func (g *guarded) etag() string { return hex.EncodeToString(g.sum.Sum(nil)) }
