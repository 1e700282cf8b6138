package edge

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"hash"
	"io"
	"sync"
	"time"

	"preau/cache/profile"
)

// readAtOnce is how much of a fragment is taken at a time.
const readAtOnce = 64 << 10

// errMet ends a stream that has come to what another one brings.
var errMet = errors.New("another fetch brings what follows")

// checker is a stream's body of which each fragment is given only when all of it
// has come and is what the site's sums say. What lies between fragments goes
// through as it is.
//
// A read that brings no fragment to its end gives nothing, and no error: who
// reads can look around meanwhile. Close may be called while one reads.
type checker struct {
	s      *source
	list   []profile.Fragment
	body   io.ReadCloser
	pos    int64 // of the byte that body gives next
	out    int64 // bytes before it are not wanted
	ctx    context.Context
	cancel context.CancelFunc

	// of who reads
	now   *piece
	ready []byte // to be given
	met   bool

	mu      sync.Mutex
	reading bool
	closed  bool
}

// piece is the fragment that is coming.
type piece struct {
	profile.Fragment
	id   fragmentID
	buf  []byte
	n    int64 // how much of it has come
	sum  hash.Hash
	good bool
}

// check makes the checker of a body whose next byte is that at pos, and which is
// wanted from out on.
func (s *source) check(body io.ReadCloser, list []profile.Fragment, pos, out int64) *checker {
	c := &checker{s: s, list: list, body: body, pos: pos, out: out}
	c.ctx, c.cancel = context.WithCancel(s.t.h.ctx)
	return c
}

// Read implements io.Reader.
func (c *checker) Read(p []byte) (int, error) {
	if !c.enter() {
		return 0, io.ErrClosedPipe
	}
	defer c.leave()
	if len(p) == 0 {
		return 0, nil
	}
	switch {
	case len(c.ready) > 0:
		n := copy(p, c.ready)
		if c.ready = c.ready[n:]; len(c.ready) == 0 {
			c.end()
		}
		return n, nil
	case c.met:
		return 0, errMet
	case c.now != nil:
		return 0, c.gather()
	}
	f, in := fragmentAt(c.list, c.pos)
	switch {
	case in && f.To-f.From > mostFragment:
		if c.pos == f.From {
			c.count(fragmentUnchecked)
		}
		return c.through(p, f.To)
	case in && f.From == c.pos:
		if refused, _ := c.s.t.h.fragments.refuses(c.s.o.ID, f.From, f.To); refused {
			return 0, errFragment
		}
		if !c.begin(f, nil) {
			return 0, c.ctx.Err()
		}
		return 0, c.gather()
	case in: // nobody can say whether the rest of it is right
		c.out = max(c.out, f.To)
		return c.through(p, f.To)
	case f.From > c.pos:
		return c.through(p, f.From)
	}
	return c.through(p, c.pos+int64(len(p)))
}

// through gives what comes before to as it is, or nothing of what is not wanted.
func (c *checker) through(p []byte, to int64) (int, error) {
	wanted := c.pos >= c.out
	if !wanted {
		to = min(to, c.out)
	}
	n, err := c.body.Read(p[:min(int64(len(p)), to-c.pos)])
	c.pos += int64(n)
	if !wanted {
		n = 0
	}
	return n, err
}

// begin begins a fragment of which had has come before. It reports false if it
// can't yet, or another stream brings it.
func (c *checker) begin(f profile.Fragment, had []byte) bool {
	id := fragmentID{c.s.o.ID, f.From}
	all := c.s.t.h.fragments
	if over, mine := all.take(id); !mine {
		// What follows would come twice. Who reads sees that it is there when the
		// other has given it.
		_ = c.body.Close() // not to be read any more
		select {
		case <-over:
		case <-c.ctx.Done():
		}
		c.met = true
		return false
	}
	if !all.reserve(f.To - f.From) {
		all.give(id)
		rest := time.NewTimer(20 * time.Millisecond)
		defer rest.Stop()
		select {
		case <-rest.C:
		case <-c.ctx.Done():
		}
		return false
	}
	c.start(f, had)
	return true
}

// start starts a fragment that was taken and reserved.
func (c *checker) start(f profile.Fragment, had []byte) {
	c.now = &piece{Fragment: f, id: fragmentID{c.s.o.ID, f.From}, buf: make([]byte, f.To-f.From), sum: sha256.New()}
	c.now.n = int64(copy(c.now.buf, had))
	c.now.sum.Write(c.now.buf[:c.now.n])
}

// gather takes what has come of the fragment, and judges it when it is whole.
func (c *checker) gather() error {
	pc := c.now
	var err error
	if pc.n < pc.To-pc.From {
		var n int
		n, err = c.body.Read(pc.buf[pc.n:min(pc.n+readAtOnce, int64(len(pc.buf)))])
		pc.sum.Write(pc.buf[pc.n : pc.n+int64(n)])
		pc.n += int64(n)
		c.pos += int64(n)
	}
	switch {
	case pc.n == pc.To-pc.From:
		return c.judge()
	case errors.Is(err, io.EOF):
		if length := c.s.o.Length; length >= 0 && pc.To > length {
			return c.wrong(errFragment) // the file ends before its fragments do
		}
		return io.ErrUnexpectedEOF
	}
	return err
}

// wrong gives up what has come of the fragment, since it can't be had as it should
// be for the reason err.
func (c *checker) wrong(err error) error {
	pc, all := c.now, c.s.t.h.fragments
	all.forget(pc.id)
	pc.n = 0 // nothing of it is kept
	if errors.Is(err, errFragment) {
		c.count(fragmentRefused)
		all.refuse(c.s.o.ID, pc.Fragment)
	}
	return err
}

// judge compares the fragment with its sum, and has it fetched again if it is
// another.
func (c *checker) judge() error {
	pc := c.now
	result := fragmentVerified
	if [sha256.Size]byte(pc.sum.Sum(nil)) != pc.Sum {
		b, err := c.mend(pc)
		if err != nil {
			return c.wrong(err)
		}
		pc.buf, result = b, fragmentMended
	}
	pc.good = true
	c.count(result)
	all := c.s.t.h.fragments
	all.accepted(c.s.o.ID, pc.Fragment)
	if c.ready = pc.buf; c.out > pc.From {
		// Its beginning was asked for by nobody, and will be.
		all.keep(pc.id, pc.buf)
		c.ready = pc.buf[min(c.out-pc.From, int64(len(pc.buf))):]
	} else {
		all.forget(pc.id)
	}
	if len(c.ready) == 0 {
		c.end()
	}
	return nil
}

// end ends the fragment that was given.
func (c *checker) end() {
	if c.now == nil {
		return
	}
	all := c.s.t.h.fragments
	if pc := c.now; !pc.good && pc.n > 0 {
		all.keep(pc.id, pc.buf[:pc.n:pc.n])
	}
	all.unreserve(c.now.To - c.now.From)
	all.give(c.now.id)
	c.now, c.ready = nil, nil
}

func (c *checker) count(result string) {
	c.s.t.h.fragments.counts.WithLabelValues(c.s.t.site.Name, result).Inc()
}

func (c *checker) enter() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return false
	}
	c.reading = true
	return true
}

func (c *checker) leave() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.reading = false; c.closed {
		c.end()
	}
}

// Close implements io.Closer. What has come of a fragment is kept for whoever
// asks for the rest.
func (c *checker) Close() error {
	err := c.body.Close()
	c.cancel()
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.closed && !c.reading {
		c.end()
	}
	c.closed = true
	return err
}

// mend has a fragment that came otherwise than its sum says: as it came if the site
// says other sums by now, or as it comes when it is asked for again, past every
// cache on the way.
func (c *checker) mend(pc *piece) ([]byte, error) {
	if c.sumsAre(pc, pc.buf, false) {
		return pc.buf, nil
	}
	c.s.t.h.log.WarnContext(c.ctx, "a fragment is not what the site's sums say; it is asked for again", "site", c.s.t.site.Name, "from", pc.From, "bytes", pc.To-pc.From)
	again, err := c.s.again(c.ctx, pc.Fragment)
	if err == nil && sha256.Sum256(again) == pc.Sum {
		return again, nil
	}
	if c.ctx.Err() != nil {
		return nil, c.ctx.Err()
	}
	for _, b := range [][]byte{pc.buf, again} {
		if c.sumsAre(pc, b, true) {
			return b, nil
		}
	}
	if err != nil {
		return nil, fmt.Errorf("%w, and can't be had again: %w", errFragment, err)
	}
	return nil, errFragment
}

// sumsAre reports whether b is the fragment by what the site says now, which goes
// for what follows too.
func (c *checker) sumsAre(pc *piece, b []byte, ask bool) bool {
	of, ok := c.s.t.fragmented()
	if !ok || int64(len(b)) != pc.To-pc.From {
		return false
	}
	list := c.s.t.fragmentsOf(c.ctx)
	if ask {
		list = c.s.t.lookUpSums(c.ctx, of, true).files[of.Name]
	}
	now, in := fragmentAt(list, pc.From)
	if !in || now.From != pc.From || now.To != pc.To || sha256.Sum256(b) != now.Sum {
		return false
	}
	c.list = list
	return true
}
