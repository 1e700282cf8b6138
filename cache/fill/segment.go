package fill

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"slices"
	"time"

	"preau/cache/block"
)

// readSize is how much of a stream is taken at a time: large enough that a
// fast line costs few wake-ups, small enough that a slow one is passed on as
// it comes.
const readSize = 32 << 10

// homelessParts is how many whole blocks a body keeps in memory when the disk
// takes no more, and homelessWait how long the slowest reader may hold the
// fetch up then.
const (
	homelessParts = 8
	homelessWait  = 10 * time.Second
)

// errEnough ends a fetch that has met bytes that are held or being fetched.
var errEnough = errors.New("met what is held")

// segment is one fetch under way. pos and to are guarded by the body's lock.
type segment struct {
	ctx    context.Context
	cancel context.CancelFunc
	pos    int64 // of the next byte it brings
	to     int64 // where it ends; endless if not known
	proven bool
	check  []byte // bytes of a stored block that an unproven stream repeats
}

// Feed hands the body a stream that is already open: the answer that told what
// the body is. The stream is closed in any case.
func (b *Body) Feed(st *Stream) {
	b.mu.Lock()
	defer b.mu.Unlock()
	to := endless
	if st.To >= 0 {
		to = st.To
	}
	b.begin(st.From, to, st)
}

// begin starts a fetch of from..to. Callers hold b.mu.
func (b *Body) begin(from, to int64, st *Stream) {
	b.m.mu.Lock()
	closed := b.m.closed
	if !closed {
		b.m.work.Add(1)
	}
	b.m.mu.Unlock()
	if closed || b.err != nil {
		if !closed {
			b.m.work.Done()
		}
		if st != nil {
			_ = st.Body.Close() // never read
		}
		return
	}
	s := &segment{pos: from, to: to}
	s.ctx, s.cancel = context.WithCancel(b.m.ctx)
	if b.segs == nil {
		b.segs = map[*segment]struct{}{}
	}
	b.segs[s] = struct{}{}
	b.m.metrics.fetching.Inc()
	b.m.metrics.fetches.Inc()
	if len(b.have) > 0 {
		b.m.metrics.resumes.Inc()
	}
	go func() {
		defer b.m.work.Done()
		defer b.m.metrics.fetching.Dec()
		err := b.fetch(s, st)
		cancelled := s.ctx.Err() != nil
		s.cancel()
		b.ended(s, from, err, cancelled)
	}()
}

// fetch brings the bytes of s.
func (b *Body) fetch(s *segment, st *Stream) error {
	if st == nil {
		to := s.to
		if to == endless {
			to = -1
		}
		var err error
		if st, err = b.spec.Source.Open(s.ctx, s.pos, to); err != nil {
			return err
		}
	}
	defer func() { _ = st.Body.Close() }() // read to where it was needed
	// A stream that gives nothing would hold Read for ever: closing its body is
	// what ends it when the fetch is cancelled.
	defer context.AfterFunc(s.ctx, func() { _ = st.Body.Close() })()
	if err := b.adopt(s, st); err != nil {
		return err
	}
	buf := make([]byte, readSize)
	for {
		n, rerr := st.Body.Read(buf)
		if n > 0 {
			if err := b.take(s, buf[:n]); err != nil {
				return err
			}
		}
		if err := s.ctx.Err(); err != nil {
			return err
		}
		switch {
		case rerr == nil:
		case !errors.Is(rerr, io.EOF):
			return fmt.Errorf("read body: %w", rerr)
		default:
			return b.eof(s, st)
		}
	}
}

// adopt checks the stream's word about the body against what is known.
func (b *Body) adopt(s *segment, st *Stream) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	switch {
	case st.Total < 0:
	case b.length < 0:
		if b.have.size() > 0 && b.have[len(b.have)-1].to > st.Total {
			return fmt.Errorf("%w: more is held than its length of %d bytes", ErrChanged, st.Total)
		}
		b.length = st.Total
		b.dirty = true
	case b.length != st.Total:
		return fmt.Errorf("%w: length %d became %d", ErrChanged, b.length, st.Total)
	}
	if st.From > s.pos {
		return fmt.Errorf("source began at %d, asked for %d", st.From, s.pos)
	}
	s.pos, s.proven = st.From, st.Proven
	if st.To >= 0 {
		s.to = st.To
	} else {
		s.to = b.end()
	}
	return nil
}

// take puts p, the bytes at s.pos, where they belong and wakes who waits for
// them. It returns errEnough when the rest need not come.
func (b *Body) take(s *segment, p []byte) error {
	for len(p) > 0 {
		i := int(s.pos / block.Size)
		b.mu.Lock()
		if b.length >= 0 && s.pos+int64(len(p)) > b.length {
			b.mu.Unlock()
			return fmt.Errorf("%w: source sends more than its length of %d bytes", ErrChanged, b.length)
		}
		_, blockEnd := b.extent(i)
		if held := b.have.end(s.pos); held > s.pos {
			n := min(int64(len(p)), held-s.pos, blockEnd-s.pos)
			err := b.repeat(s, p[:n], held)
			if err == nil {
				s.pos += n
			}
			b.mu.Unlock()
			if err != nil {
				return err
			}
			p = p[n:]
			continue
		}
		n := b.have.next(s.pos, min(s.pos+int64(len(p)), blockEnd)) - s.pos
		pt := b.part(i)
		if len(pt.onDisk) > 0 {
			b.load(i, pt)
		}
		from, _ := b.extent(i)
		pt.write(s.pos-from, p[:n])
		b.have = b.have.add(s.pos, s.pos+n)
		b.trouble, b.failures = time.Time{}, 0
		for r := range b.readers {
			if r.waiting && r.pos >= s.pos && r.pos < s.pos+n {
				r.nudge()
			}
		}
		s.pos += n
		whole := b.wholePart(i)
		b.mu.Unlock()
		p = p[n:]
		if whole {
			if err := b.keep(s, i); err != nil {
				return err
			}
		}
	}
	return nil
}

// wholePart reports whether all bytes of block i are in memory and it is not
// stored yet. Callers hold b.mu.
func (b *Body) wholePart(i int) bool {
	pt := b.parts[i]
	from, to := b.extent(i)
	if pt == nil || pt.stored || b.length < 0 && to-from < block.Size {
		return false
	}
	if len(pt.onDisk) > 0 && b.have.covers(from, to) {
		b.load(i, pt)
	}
	return pt.have.covers(0, to-from) && to > from
}

// repeat deals with bytes that are held already, up to held: read over if
// they are few or must be compared, else the fetch has brought enough. Callers
// hold b.mu.
func (b *Body) repeat(s *segment, p []byte, held int64) error {
	if b.spec.Source.Ranges() && s.proven {
		for o := range b.segs {
			if o != s && o.pos >= s.pos && o.pos <= held && o.ctx.Err() == nil {
				return errEnough // another fetch is bringing what follows
			}
		}
		if held-s.pos > b.m.cfg.Skip && len(s.check) == 0 {
			return errEnough
		}
	}
	b.m.metrics.duplicates.Add(float64(len(p)))
	if s.proven {
		return nil
	}
	i := int(s.pos / block.Size)
	from, to := b.extent(i)
	if i < len(b.blocks) && !b.blocks[i].IsZero() {
		s.check = append(s.check, p...)
		if s.pos+int64(len(p)) == to {
			same := block.Sum(s.check) == b.blocks[i]
			s.check = s.check[:0]
			if !same {
				return fmt.Errorf("%w: block %d differs", ErrChanged, i)
			}
		}
		return nil
	}
	pt := b.part(i)
	if len(pt.onDisk) > 0 {
		b.load(i, pt)
	}
	if !pt.equal(s.pos-from, p) {
		return fmt.Errorf("%w: bytes at %d differ", ErrChanged, s.pos)
	}
	return nil
}

// eof is the end of a stream: of the body too, if that was not known before.
func (b *Body) eof(s *segment, st *Stream) error {
	b.mu.Lock()
	if st.To >= 0 && s.pos < st.To {
		b.mu.Unlock()
		return fmt.Errorf("stream ended at byte %d of %d: %w", s.pos, st.To, io.ErrUnexpectedEOF)
	}
	last := -1
	if b.length < 0 && st.To < 0 {
		b.length = s.pos
		b.dirty = true
		for r := range b.readers {
			r.nudge() // those who wait at the end learn that it is one
		}
		if s.pos%block.Size != 0 {
			last = int(s.pos / block.Size)
		}
	}
	whole := last >= 0 && b.wholePart(last)
	b.mu.Unlock()
	if whole {
		return b.keep(s, last)
	}
	return nil
}

// keep stores block i, all of which is in memory.
func (b *Body) keep(s *segment, i int) error {
	b.mu.Lock()
	pt := b.parts[i]
	from, to := b.extent(i)
	buf := whole.Get().(*[block.Size]byte)
	defer whole.Put(buf)
	p := buf[:to-from]
	pt.read(0, p)
	want, expected := b.expect[i]
	b.mu.Unlock()

	d := block.Sum(p)
	if expected && d != want {
		return fmt.Errorf("%w: block %d is not the one that was lost", ErrChanged, i)
	}
	// Not the fetch's context: the last reader may leave with the last byte,
	// which ends the fetch, and these bytes have crossed the line.
	seg, err := b.m.store.Put(context.WithoutCancel(s.ctx), b.spec.Ring, d, p)
	if err != nil {
		return b.shelter(s, i, err)
	}
	b.mu.Lock()
	b.own(i)
	b.blocks[i], pt.stored = d, true
	delete(b.expect, i)
	b.touch(seg)
	b.dirty = true
	b.recent = append(b.recent, i)
	for len(b.recent) > 2 {
		b.forget(b.recent[0])
		b.recent = b.recent[1:]
	}
	b.mu.Unlock()
	b.addToSum(i, p)
	b.mu.Lock()
	due := time.Since(b.saved) >= b.m.cfg.SaveEvery
	b.mu.Unlock()
	if due {
		b.save()
	}
	return nil
}

// forget drops the memory of part i. Callers hold b.mu.
func (b *Body) forget(i int) {
	if pt := b.parts[i]; pt != nil {
		pt.release()
		delete(b.parts, i)
	}
}

// shelter keeps a whole block in memory that the store would not take, so that
// the class that is here gets it though nothing is kept. The fetch waits for
// its readers then instead of running ahead of them.
func (b *Body) shelter(s *segment, i int, cause error) error {
	b.mu.Lock()
	b.homeless = append(b.homeless, i)
	if len(b.homeless) == 1 {
		b.m.log.Warn("a body is passed through: its blocks can't be kept", "err", cause)
	}
	b.mu.Unlock()
	for waited := time.Duration(0); ; waited += 20 * time.Millisecond {
		b.mu.Lock()
		if len(b.homeless) < homelessParts {
			b.mu.Unlock()
			return nil
		}
		from, to := b.extent(b.homeless[0])
		behind := false
		for r := range b.readers {
			behind = behind || r.pos >= from && r.pos < to
		}
		if !behind || waited >= homelessWait {
			b.have = b.have.remove(from, to)
			b.forget(b.homeless[0])
			b.homeless = slices.Delete(b.homeless, 0, 1)
			b.mu.Unlock()
			return nil
		}
		b.mu.Unlock()
		select {
		case <-s.ctx.Done():
			return s.ctx.Err()
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// addToSum takes block i into the whole body's digest if it is its turn.
func (b *Body) addToSum(i int, p []byte) {
	b.mu.Lock()
	if b.summed != i || b.summing || !b.sha256.IsZero() {
		b.mu.Unlock()
		return
	}
	if b.sum == nil {
		b.sum = sha256.New()
	}
	b.summing = true
	b.mu.Unlock()
	b.sum.Write(p)
	b.mu.Lock()
	b.summing = false
	b.summed++
	b.mu.Unlock()
}
