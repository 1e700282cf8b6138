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

// chunkBytes is how much is written at once. An HTTP/2 connection keeps a buffer
// as large as the largest frame it ever wrote, for as long as the box follows.
const chunkBytes = 2<<10 - 16

// smallFrame is what is put together with its header, into one write.
const smallFrame = 1 << 10

// soon is after how long a box that has just come is told that it has all.
const soon = time.Second

// stream is one box that follows. It has the handler's goroutine and nothing
// else: no queue, no buffer, no timer. While there is nothing to tell, that
// goroutine waits on wake in ServeHTTP, which is as few frames deep as can be:
// with thousands of boxes, stacks are most of what they cost.
type stream struct {
	// These are looked at every second, and lie together for that.
	ctx  context.Context // the request's: the stream is one request
	beat atomic.Int64    // when a heartbeat is due, by the server's clock; 0: never
	late atomic.Int64    // when the write under way has taken too long; 0: none is
	wake chan struct{}   // something may have to be done

	place int // in presence.live, under its lock
	s     *Server
	box   identity.Identity
	req   *Request // nil once it has begun
	w     http.ResponseWriter
	rc    *http.ResponseController

	sent atomic.Uint64 // the box's cursor, once it has read what was written
	told atomic.Uint64 // the end of the last batch that had records in it
	seen atomic.Uint64 // up to where there was nothing more for the box

	mu     sync.Mutex
	kicked Reason
	slow   bool      // a write was ended because of late
	over   bool      // the handler is done with w
	end    time.Time // of lastWords

	until  uint64 // of the snapshot under way
	floor  uint64 // that the box was told of
	settle uint64 // where the box may drop what was not in it
	epoch  uint64
	cert   *tls.Certificate
	node   *node
}

func newStream(ctx context.Context, s *Server, box identity.Identity, req Request, w http.ResponseWriter) *stream {
	st := &stream{s: s, box: box, req: &req, w: w, rc: http.NewResponseController(w), ctx: ctx, wake: make(chan struct{}, 1)}
	st.sent.Store(req.Cursor.Index)
	return st
}

// leave is the last that is done with the request.
func (st *stream) leave() {
	st.mu.Lock()
	st.over = true
	st.mu.Unlock()
	st.s.met.streams.Dec()
	st.s.presence.leave(st, time.Now())
	st.s.streams.Done()
}

// poke has the stream look whether there is something to do. It never waits.
func (st *stream) poke() {
	select {
	case st.wake <- struct{}{}:
	default:
	}
}

// kick ends the stream, with reason as its last word if the box still reads.
func (st *stream) kick(reason Reason) {
	st.mu.Lock()
	defer st.mu.Unlock()
	if st.kicked == "" {
		st.kicked, st.end = reason, time.Now().Add(lastWords)
		if !st.over {
			st.deadline(st.end) // a write that hangs must not outlast it
		}
		st.poke()
	}
}

// tick is called every second or so. It wakes the stream for a heartbeat, or when
// the box has left, and ends a write that takes too long. To set and clear a deadline around each write
// instead would wake the connection's goroutine twice more for each heartbeat.
func (st *stream) tick(now int64) {
	if late := st.late.Load(); late != 0 && now >= late {
		st.mu.Lock()
		if st.kicked == "" && !st.over && !st.slow {
			st.slow = true
			st.deadline(time.Unix(1, 0))
		}
		st.mu.Unlock()
	}
	if beat := st.beat.Load(); beat != 0 && now >= beat || st.ctx.Err() != nil {
		st.poke()
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

// advance does what there is to do, and reports whether the stream goes on: when
// it is woken. If not, it is over, and has been left.
func (st *stream) advance() (goesOn bool) {
	defer func() {
		if !goesOn {
			st.leave()
		}
	}()
	err := st.begin()
	for waits := false; err == nil; {
		if waits, err = st.step(); waits {
			return true
		}
	}
	st.s.met.ends.WithLabelValues(st.part(err)).Inc()
	return false
}

// part says goodbye if that is how the stream ends, and returns how it does.
func (st *stream) part(err error) string {
	var bye errGoodbye
	switch {
	case errors.As(err, &bye):
		if err := st.write(frameGoodbye, goodbyeHeader{Reason(bye)}, nil, ""); err != nil {
			st.s.log.DebugContext(st.ctx, "goodbye not delivered", "box", st.box.Name, "err", err)
		}
		return string(bye)
	case errors.Is(err, errSlow):
		st.s.log.InfoContext(st.ctx, "box is too slow", "box", st.box.Name)
		return "slow"
	case st.ctx.Err() != nil:
		return "gone"
	case errors.Is(err, errWrite):
		return "gone"
	}
	st.s.log.WarnContext(st.ctx, "stream ended", "box", st.box.Name, "err", err)
	return "failed"
}

// begin says hello.
func (st *stream) begin() error {
	if st.req == nil {
		return nil
	}
	req := *st.req
	st.req = nil
	if err := st.abreast(1); err != nil { // there is nothing to be signed before
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
	st.epoch, st.until, st.floor = now.epoch, begin.until, now.floor
	st.sent.Store(begin.after)
	st.told.Store(begin.after)
	st.seen.Store(begin.after)
	st.w.Header().Set("Content-Type", ContentType)
	st.w.Header().Set("Cache-Control", "no-store")
	if err := st.write(frameHello, hello, nil, ""); err != nil {
		return err
	}
	return st.abreast(max(begin.after, begin.until))
}

// abreast waits until the server has what the box has.
func (st *stream) abreast(index uint64) error {
	var grace, look *time.Timer
	for {
		_, quiet, _ := st.s.chain.applied()
		if quiet >= index {
			return nil
		}
		if grace == nil {
			grace = time.NewTimer(st.s.cfg.BehindGrace)
			defer grace.Stop()
			look = time.NewTimer(0)
			defer look.Stop()
		}
		look.Reset(250 * time.Millisecond)
		select {
		case <-look.C:
		case <-grace.C:
			return errGoodbye(ReasonBehind)
		case <-st.wake:
			if err := st.ended(); err != nil {
				return err
			}
		}
	}
}

// ended is why the stream should end, nil if it should not.
func (st *stream) ended() error {
	st.mu.Lock()
	defer st.mu.Unlock()
	if st.kicked != "" {
		return errGoodbye(st.kicked)
	}
	return st.ctx.Err()
}

// step sends what there is, or reports that the stream must wait.
func (st *stream) step() (waits bool, err error) {
	if err := st.ended(); err != nil {
		return false, err
	}
	pos := st.seen.Load()
	if st.until > pos {
		return false, st.catchUp(st.until, false)
	}
	if st.until > 0 {
		st.until = 0
		st.beatIn(soon)
	}
	if st.node == nil {
		n, limit := st.s.chain.locate(pos)
		if n == nil {
			return false, st.catchUp(limit, true)
		}
		st.node = n
	}
	n := st.node.next.Load()
	if n == nil {
		if !st.beatDue() {
			return true, nil
		}
		return false, st.heartbeat()
	}
	b := n.blk.Load()
	switch {
	case pos >= n.upto: // the box had it from another server
		st.node = n
	case b == nil, pos > n.after:
		st.node = nil
		return false, st.catchUp(n.upto, true)
	default:
		if err := st.send(b, "live"); err != nil {
			return false, err
		}
		st.node = n
	}
	return false, nil
}

func (st *stream) beatIn(d time.Duration) { st.beat.Store(st.s.now() + int64(d)) }

func (st *stream) beatDue() bool {
	beat := st.beat.Load()
	return beat != 0 && st.s.now() >= beat
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
	frame := appendHeartbeat(make([]byte, 0, 48), st.sent.Load(), pos)
	if err := st.put(frame, nil); err != nil {
		return err
	}
	st.s.met.beats.Inc()
	st.sent.Store(pos)
	if pos < st.settle {
		st.beatIn(soon) // a box that has just come waits for it
	}
	return nil
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

// write writes one frame and pushes it out.
func (st *stream) write(frame byte, header any, body []byte, kind string) error {
	buf, err := appendFrame(make([]byte, 0, 128+min(len(body), smallFrame)), frame, header, len(body))
	if err != nil {
		return err
	}
	if len(body) <= smallFrame {
		buf, body = append(buf, body...), nil
	}
	if err := st.put(buf, body); err != nil {
		return err
	}
	if kind != "" {
		st.s.met.frames.WithLabelValues(kind).Inc()
	}
	return nil
}

// put writes a frame's bytes. A box that does not take them in time costs nobody
// else anything.
func (st *stream) put(frame, body []byte) error {
	st.late.Store(st.s.now() + int64(st.s.cfg.WriteTimeout))
	_, err := st.w.Write(frame)
	for chunk := range slices.Chunk(body, chunkBytes) {
		if err == nil {
			_, err = st.w.Write(chunk)
		}
		// Else net/http puts what it can together.
		if err == nil {
			err = st.rc.Flush()
		}
	}
	if err == nil && len(body) == 0 {
		err = st.rc.Flush()
	}
	st.late.Store(0)
	if err != nil {
		return st.unwritten(err)
	}
	st.s.met.sentBytes.Add(float64(len(frame) + len(body)))
	// A tenth either way, so that boxes that came together part.
	every := st.s.cfg.Heartbeat
	st.beatIn(every - every/10 + rand.N(every/5+1))
	return nil
}

// unwritten tells a box that was too slow from one that is gone: once the time is
// over, HTTP/2 says only that the stream is closed.
func (st *stream) unwritten(err error) error {
	st.mu.Lock()
	defer st.mu.Unlock()
	if st.slow || st.kicked != "" && !time.Now().Before(st.end) {
		return fmt.Errorf("%w: %w", errSlow, err)
	}
	return fmt.Errorf("%w to %s: %w", errWrite, st.box.Name, err)
}
