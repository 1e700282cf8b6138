package edge

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"hash"
	"net/http"
	"time"

	"preau/cache/block"
	"preau/cache/fill"
	"preau/cache/object"
	"preau/cache/rfc9111"
	"preau/cache/vouch"
)

// goesOnEvery is how often who waits for digests hears that the work goes on.
const goesOnEvery = 2 * time.Second

// maySend reports whether a body of so many bytes may be answered as it is.
// Those who ask for digests get them for all but the shortest.
func (x *exchange) maySend(length int64) bool {
	return !x.vouches || length >= 0 && length < vouch.Least
}

// serveDigests answers with the digests of the blocks that span touches, in
// place of the bytes. span.Len is negative while the length is not known.
func (x *exchange) serveDigests(o *object.Object, body *fill.Body, cs rfc9111.CacheStatus, result string, status int, span rfc9111.Span) bool {
	length := body.Length()
	first := int(span.Off / block.Size)
	end := int64(-1) // of the last block
	if span.Len >= 0 {
		end = min(length, (span.End()+block.Size-1)/block.Size*block.Size)
	}
	if _, _, known := body.Digest(first); !known {
		// The first block decides whether there is a response to begin.
		from := int64(first) * block.Size
		if cs.Hit && !body.Holds(from, end) {
			cs = x.partial(body)
			if !x.lineUp() && !body.Fetching() {
				x.clear()
				x.noAnswer(errLineDown)
				return true
			}
		}
		reader := body.NewReader(from, end)
		err := x.firstByte(reader, body, from)
		reader.Close()
		if err != nil {
			x.outdated(o, err)
			return x.notBegun(err)
		}
	}
	h := x.w.Header()
	rfc9111.AppendCacheStatus(h, Name, cs)
	h.Set(vouch.Body, vouch.Digests)
	if span.Len >= 0 {
		h.Set(vouch.Length, contentLength(span.Len))
	}
	if status == http.StatusPartialContent {
		h.Set("Content-Range", fmt.Sprintf("bytes %d-%d/%d", span.Off, span.End()-1, length))
	}
	x.begin(status, result)
	flush := http.NewResponseController(x.w)
	list := vouch.NewWriter(x.w, func() { _ = flush.Flush() }) //nolint:errcheck // the next write tells
	n, err := x.sendDigests(body, list, first, end)
	x.sent(cs.Detail, n)
	x.outdated(o, err)
	x.finish(err)
	return true
}

// sendDigests sends the digests of the blocks from the one numbered first to
// end, and closes the list.
func (x *exchange) sendDigests(body *fill.Body, list *vouch.Writer, first int, end int64) (n int64, err error) {
	ctx, cancel := context.WithCancel(x.r.Context())
	defer cancel()
	told := make(chan struct{})
	go func() { // ends with this call
		defer close(told)
		tick := time.NewTicker(goesOnEvery)
		defer tick.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case <-tick.C:
				if list.GoesOn() != nil {
					return // whoever sends the next digest sees it too
				}
			}
		}
	}()
	err = digestsOf(ctx, body, list, first, end)
	cancel()
	<-told
	return list.Close(), err
}

// digestsOf takes digests from the body's manifest, and from its bytes where
// the manifest has none yet.
func digestsOf(ctx context.Context, body *fill.Body, list *vouch.Writer, first int, end int64) error {
	for i := first; end < 0 || int64(i)*block.Size < end; {
		if d, n, known := body.Digest(i); known {
			if err := list.Block(n, d); err != nil {
				return err
			}
			i++
			continue
		}
		s := &summing{body: body, list: list, next: i, sum: sha256.New()}
		reader := body.NewReader(int64(i)*block.Size, end)
		_, err := reader.CopyTo(ctx, s)
		reader.Close()
		switch {
		case errors.Is(err, errKnown):
		case err != nil:
			return err
		default:
			return s.flush() // the last block
		}
		i = s.next
	}
	return nil
}

// errKnown ends a reading where the manifest knows how it goes on.
var errKnown = errors.New("the digest of the next block is known")

// summing is written a body from the beginning of a block on, and vouches for
// one block after the other.
type summing struct {
	body *fill.Body
	list *vouch.Writer
	next int // the block that is being written
	n    int // what was written of it
	sum  hash.Hash
}

func (s *summing) Write(p []byte) (written int, err error) {
	for len(p) > 0 {
		if s.n == 0 {
			if _, _, known := s.body.Digest(s.next); known {
				return written, errKnown
			}
		}
		k := min(len(p), block.Size-s.n)
		s.sum.Write(p[:k])
		s.n += k
		written += k
		p = p[k:]
		if s.n == block.Size {
			if err := s.flush(); err != nil {
				return written, err
			}
		}
	}
	return written, nil
}

// flush vouches for what was written of a block.
func (s *summing) flush() error {
	if s.n == 0 {
		return nil
	}
	var d block.Digest
	s.sum.Sum(d[:0])
	n := s.n
	s.next, s.n = s.next+1, 0
	s.sum.Reset()
	return s.list.Block(n, d)
}
