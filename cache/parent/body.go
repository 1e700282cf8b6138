package parent

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"sync/atomic"
	"time"
)

var errStalled = errors.New("the parent's body brings nothing")

// SourceRegion is the Source of the bodies of parents' answers.
const SourceRegion = "region"

// empty is the body of a parent's answer that has none.
type empty struct{ io.ReadCloser }

// Source says who answered.
func (empty) Source() string { return SourceRegion }

// body is a parent's body. One that breaks has its parent left alone, so that
// whoever goes on with it asks another.
type body struct {
	io.ReadCloser
	o      *Origin
	a      *attempt
	parent context.Context
	closed atomic.Bool
	ended  bool
}

// Source says who answered.
func (b *body) Source() string { return SourceRegion }

func (b *body) Read(p []byte) (int, error) {
	stall := time.AfterFunc(b.o.cfg.BodyStall, func() { b.a.cancel(errStalled) })
	n, err := b.ReadCloser.Read(p)
	stall.Stop()
	b.o.metrics.received.Add(float64(n))
	if err == nil || b.ended {
		return n, err
	}
	b.ended = true
	if err == io.EOF { //nolint:errorlint // one that is wrapped is not the end of the body
		b.a.cancel(nil)
		return n, err
	}
	if b.closed.Load() || b.parent.Err() != nil || errors.Is(err, http.ErrBodyReadAfterClose) {
		return n, err
	}
	result := brokeCut
	if cause := context.Cause(b.a.ctx); errors.Is(cause, errStalled) {
		result, err = brokeStalled, cause
	}
	b.o.metrics.broken.WithLabelValues(result).Inc()
	b.o.unwell(b.a.p, result)
	b.o.review()
	return n, fmt.Errorf("parent %s body: %w", b.a.p.Name, err)
}

func (b *body) Close() error {
	b.closed.Store(true)
	err := b.ReadCloser.Close()
	b.a.cancel(nil)
	return err
}
