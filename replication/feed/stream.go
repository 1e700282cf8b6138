package feed

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"preau/replication/identity"
)

// A stream that catches up gives its place to the next one after so much.
const (
	turnBytes = 4 << 20
	turnTime  = 2 * time.Second
)

// chunkBytes is how much is written at once. An HTTP/2 connection keeps a buffer
// as large as the largest frame it ever wrote, for as long as the box follows.
const chunkBytes = 8<<10 - 16

// smallFrame is what is put together with its header, into one write.
const smallFrame = 4 << 10

// stream is one box that follows. It has the handler's goroutine and nothing
// else: no queue, no buffer.
type stream struct {
	s       *Server
	box     identity.Identity
	version string
	w       http.ResponseWriter
	rc      *http.ResponseController

	sent atomic.Uint64 // the box's cursor, once it has read what was written
	told atomic.Uint64 // the end of the last batch that had records in it
	seen atomic.Uint64 // up to where there was nothing more for the box

	mu     sync.Mutex
	kicked Reason
	over   bool          // the handler is done with w
	end    time.Time     // of lastWords
	kicks  chan struct{} // closed when kicked

	until  uint64 // of the snapshot under way
	settle uint64 // where the box may drop what was not in it
	epoch  uint64
	cert   *tls.Certificate
	node   *node
	beat   *time.Timer
}

func newStream(s *Server, box identity.Identity, req Request, w http.ResponseWriter) *stream {
	st := &stream{s: s, box: box, version: req.Version, w: w, rc: http.NewResponseController(w), kicks: make(chan struct{})}
	st.sent.Store(req.Cursor.Index)
	return st
}

// kick ends the stream, with reason as its last word if the box still reads.
func (st *stream) kick(reason Reason) {
	st.mu.Lock()
	defer st.mu.Unlock()
	if st.kicked == "" {
		st.kicked, st.end = reason, time.Now().Add(lastWords)
		close(st.kicks)
		if !st.over {
			st.deadline(st.end) // a write that hangs must not outlast it
		}
	}
}

// deadline sets until when writes may take. A connection that has none does
// without.
func (st *stream) deadline(t time.Time) {
	if err := st.rc.SetWriteDeadline(t); err != nil && !errors.Is(err, http.ErrNotSupported) {
		st.s.log.Debug("no write deadline", "box", st.box.Name, "err", err)
	}
}

// errSlow reports a box that did not take a message in time.
var errSlow = errors.New("the box is too slow")

// errWrite reports a box that is no longer there.
var errWrite = errors.New("write")

// errGoodbye ends a stream in an orderly way.
type errGoodbye Reason

func (e errGoodbye) Error() string { return "goodbye: " + string(e) }

// run writes the feed until something ends it, and says what.
func (st *stream) run(ctx context.Context, req Request) string {
	st.beat = time.NewTimer(time.Hour)
	defer func() {
		st.beat.Stop()
		st.mu.Lock()
		st.over = true
		st.mu.Unlock()
	}()
	err := st.follow(ctx, req)
	var bye errGoodbye
	switch {
	case errors.As(err, &bye):
		if err := st.write(frameGoodbye, goodbyeHeader{Reason(bye)}, nil, ""); err != nil {
			st.s.log.DebugContext(ctx, "goodbye not delivered", "box", st.box.Name, "err", err)
		}
		return string(bye)
	case errors.Is(err, errSlow):
		st.s.log.InfoContext(ctx, "box is too slow", "box", st.box.Name)
		return "slow"
	case ctx.Err() != nil:
		return "gone"
	case errors.Is(err, errWrite):
		return "gone"
	}
	st.s.log.WarnContext(ctx, "stream ended", "box", st.box.Name, "err", err)
	return "failed"
}

func (st *stream) follow(ctx context.Context, req Request) error {
	if err := st.abreast(ctx, 1); err != nil { // there is nothing to be signed before
		return err
	}
	now, err := st.s.state()
	if err != nil {
		return err
	}
	now.fresh = st.s.fresh(now)
	begin, err := plan(req.Cursor, req.Until, now)
	if err != nil {
		return errGoodbye(ReasonBehind)
	}
	hello := Hello{
		Region: st.s.cfg.Region, Epoch: now.epoch, Mode: begin.mode, After: begin.after,
		Until: begin.until, Again: begin.again, Now: now.applied, Server: st.s.cfg.Name, Floor: now.floor,
	}
	if !now.floorTime.IsZero() {
		hello.FloorTime = now.floorTime.UnixMilli()
	}
	if begin.mode == ModeSnapshot {
		if st.cert, err = st.s.signer(); err != nil {
			return fmt.Errorf("certificate to sign snapshots with: %w", err)
		}
		hello.Chain = st.cert.Certificate
	}
	st.epoch, st.until = now.epoch, begin.until
	st.sent.Store(begin.after)
	st.told.Store(begin.after)
	st.seen.Store(begin.after)
	st.w.Header().Set("Content-Type", ContentType)
	st.w.Header().Set("Cache-Control", "no-store")
	if err := st.write(frameHello, hello, nil, ""); err != nil {
		return err
	}
	if err := st.abreast(ctx, max(begin.after, begin.until)); err != nil {
		return err
	}
	for {
		if err := st.step(ctx); err != nil {
			return err
		}
	}
}

// abreast waits until the server has what the box has.
func (st *stream) abreast(ctx context.Context, index uint64) error {
	grace := time.NewTimer(st.s.cfg.BehindGrace)
	defer grace.Stop()
	for {
		_, quiet, _ := st.s.chain.applied()
		if quiet >= index {
			return nil
		}
		look := time.NewTimer(250 * time.Millisecond)
		select {
		case <-look.C:
		case <-grace.C:
			look.Stop()
			return errGoodbye(ReasonBehind)
		case <-st.kicks:
			look.Stop()
			return st.lastWord()
		case <-ctx.Done():
			look.Stop()
			return ctx.Err()
		}
	}
}

func (st *stream) lastWord() error {
	st.mu.Lock()
	defer st.mu.Unlock()
	return errGoodbye(st.kicked)
}

// step sends what there is, or waits.
func (st *stream) step(ctx context.Context) error {
	pos := st.seen.Load()
	if st.until > pos {
		return st.catchUp(ctx, st.until, false)
	}
	if st.until > 0 {
		st.until = 0
		st.beat.Reset(time.Second)
	}
	if st.node == nil {
		n, limit := st.s.chain.locate(pos)
		if n == nil {
			return st.catchUp(ctx, limit, true)
		}
		st.node = n
	}
	if ready, err := st.wait(ctx, st.node.ready); err != nil || !ready {
		return err
	}
	n := st.node.next
	b := n.blk.Load()
	switch {
	case pos >= n.upto: // the box had it from another server
		st.node = n
	case b == nil, pos > n.after:
		st.node = nil
		return st.catchUp(ctx, n.upto, true)
	default:
		if err := st.send(b, "live"); err != nil {
			return err
		}
		st.node = n
	}
	return nil
}

// wait waits for c, or sends a heartbeat when it is time for one.
func (st *stream) wait(ctx context.Context, c <-chan struct{}) (ready bool, err error) {
	select {
	case <-st.kicks:
		return false, st.lastWord()
	default:
	}
	select {
	case <-c:
		return true, nil
	case <-st.beat.C:
		return false, st.heartbeat()
	case <-st.kicks:
		return false, st.lastWord()
	case <-ctx.Done():
		return false, ctx.Err()
	}
}

// heartbeat is an empty batch. It moves the box's cursor over what it has no
// part in, lest a quiet month makes the cursor too old.
func (st *stream) heartbeat() error {
	pos := st.seen.Load()
	if st.until == 0 && st.node != nil {
		pos = st.s.chain.idle(st.node, pos)
		st.seen.Store(pos)
	} else {
		pos = st.sent.Load() // a signed batch will follow on it
	}
	h := batchHeader{After: st.sent.Load(), Upto: pos}
	if err := st.write(frameBatch, h, nil, "heartbeat"); err != nil {
		return err
	}
	st.sent.Store(pos)
	if pos < st.settle {
		st.beat.Reset(time.Second) // a box that has just come waits for it
	}
	return nil
}

// catchUp takes a turn at reading from the source, towards limit.
func (st *stream) catchUp(ctx context.Context, limit uint64, gone bool) error {
	if err := st.turn(ctx); err != nil {
		return err
	}
	defer func() { <-st.s.slots }()
	began, bytes := time.Now(), 0
	for st.seen.Load() < limit && bytes < turnBytes && time.Since(began) < turnTime {
		select {
		case <-st.kicks:
			return st.lastWord()
		case <-ctx.Done():
			return ctx.Err()
		default:
		}
		asOf := uint64(0)
		if !gone {
			asOf = limit
		}
		b, err := st.s.shelf.get(st.seen.Load(), limit, gone, asOf)
		switch {
		case errors.Is(err, ErrPruned), errors.Is(err, ErrBehind):
			return errGoodbye(ReasonAgain)
		case err != nil:
			return err
		}
		kind := "changes"
		if !gone {
			kind = "snapshot"
		}
		if err := st.send(b, kind); err != nil {
			return err
		}
		for _, p := range b.public {
			bytes += len(p.bytes)
		}
	}
	return nil
}

// turn waits for a place among those who catch up, in order of arrival.
func (st *stream) turn(ctx context.Context) error {
	select {
	case st.s.slots <- struct{}{}:
		return nil
	default:
	}
	st.s.met.waiting.Inc()
	defer st.s.met.waiting.Dec()
	for {
		select {
		case st.s.slots <- struct{}{}:
			return nil
		case <-st.beat.C:
			if err := st.heartbeat(); err != nil {
				return err
			}
		case <-st.kicks:
			return st.lastWord()
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// send writes b, or what of it concerns the box. If that is nothing, nothing is
// written: the next batch will follow on the cursor that the box has.
func (st *stream) send(b *block, kind string) error {
	signed := kind == "snapshot"
	own := b.school(st.box.School, !signed, st.s.enc)
	if signed && len(b.extra) > 0 && len(own) == 0 {
		own = []payload{{}}
	}
	var sigs [][]byte
	if signed {
		var err error
		st.settle = max(st.settle, b.at)
		if sigs, err = b.signatures(st.cert, st.s.cfg.Region, st.epoch); err != nil {
			return err
		}
	}
	after := st.sent.Load()
	total := len(b.public) + len(own)
	for i, p := range b.public {
		h := b.head(after, i, i < total-1)
		if signed {
			h.At, h.Sig = b.at, sigs[i]
		}
		if err := st.write(frameBatch, h, p.bytes, kind); err != nil {
			return err
		}
	}
	for i, p := range own {
		part := len(b.public) + i
		h := batchHeader{
			After: after, Upto: b.upto, Part: uint16(part), More: part < total-1,
			Count: uint32(p.count), View: st.box.School,
		}
		if signed {
			h.At = b.at
			if err := sign(st.cert, st.s.cfg.Region, st.epoch, &h, p.bytes); err != nil {
				return err
			}
		}
		if err := st.write(frameBatch, h, p.bytes, kind); err != nil {
			return err
		}
	}
	if total > 0 {
		st.told.Store(b.upto)
		st.sent.Store(b.upto)
	}
	st.seen.Store(b.upto)
	return nil
}

// write writes one frame and pushes it out. A box that does not take it in time
// costs nobody else anything.
func (st *stream) write(frame byte, header any, body []byte, kind string) error {
	buf, err := appendFrame(make([]byte, 0, 128+min(len(body), smallFrame)), frame, header, len(body))
	if err != nil {
		return err
	}
	if len(body) <= smallFrame {
		buf, body = append(buf, body...), nil
	}
	st.mu.Lock()
	by := time.Now().Add(st.s.cfg.WriteTimeout)
	if st.kicked != "" {
		by = st.end
	}
	st.deadline(by)
	st.mu.Unlock()
	_, err = st.w.Write(buf)
	for chunk := range slices.Chunk(body, chunkBytes) {
		if err == nil {
			_, err = st.w.Write(chunk)
		}
	}
	if err == nil {
		err = st.rc.Flush()
	}
	switch {
	case err == nil:
	case !time.Now().Before(by): // by then HTTP/2 says only that the stream is closed
		return fmt.Errorf("%w: %w", errSlow, err)
	default:
		return fmt.Errorf("%w to %s: %w", errWrite, st.box.Name, err)
	}
	st.mu.Lock()
	if st.kicked == "" {
		st.deadline(time.Time{}) // it must not strike while there is nothing to write
	}
	st.mu.Unlock()
	st.s.met.sentBytes.Add(float64(len(buf) + len(body)))
	if kind != "" {
		st.s.met.frames.WithLabelValues(kind).Inc()
	}
	// A tenth either way, so that boxes that came together part.
	every := st.s.cfg.Heartbeat
	st.beat.Reset(every - every/10 + rand.N(every/5+1))
	return nil
}
