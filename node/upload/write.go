package upload

import (
	"context"
	"crypto/subtle"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"sync/atomic"
	"syscall"
	"time"

	"preau/node/keep"
)

const (
	// pieceSize is how much is read and written at a time.
	pieceSize = 256 << 10
	// maxSummed bounds a piece that has a checksum: nothing of it counts before all
	// of it is there.
	maxSummed = 64 << 20
	// takeWithin is how long a client waits for the one before it to be cut off.
	takeWithin = 10 * time.Second
)

// What may become of a request.
var (
	errUnknown  = errors.New("there is no such upload")
	errBusy     = errors.New("another client sends to this upload")
	errCut      = errors.New("another client goes on with the upload")
	errStalled  = errors.New("the client sends nothing")
	errMismatch = errors.New("the bytes are not those that the client has summed up")
	errDisk     = errors.New("the disk has no room left")
	errBroken   = errors.New("the body broke off")
)

// receive writes what comes behind the upload's offset, and counts it. What came
// before an error counts too, unless it has a checksum. The caller has its turn.
func (s *Server) receive(ctx context.Context, w http.ResponseWriter, r *http.Request, u *upload, sum *checksum) error {
	rec := s.record(u)
	f, err := os.OpenFile(s.file(rec.ID), os.O_WRONLY, 0o600)
	if err != nil {
		return fmt.Errorf("open an upload: %w", err)
	}
	body := s.watched(w, r, u)
	defer body.rest()
	in := &intake{s: s, u: u, rec: rec, f: f, at: rec.Offset, sum: sum}
	err = in.copy(ctx, io.LimitReader(body, rec.Length-rec.Offset))
	return errors.Join(err, f.Close())
}

// intake is the writing of one piece.
type intake struct {
	s   *Server
	u   *upload
	rec record
	f   *os.File
	at  int64 // where the next byte goes
	sum *checksum
}

func (in *intake) copy(ctx context.Context, r io.Reader) error {
	buf := make([]byte, pieceSize)
	for {
		n, err := r.Read(buf)
		if n > 0 {
			if err := in.write(buf[:n]); err != nil {
				// What was written before is worth keeping; what was not is not there.
				return errors.Join(err, in.count(ctx, false))
			}
		}
		switch {
		case errors.Is(err, io.EOF):
			return in.count(ctx, true)
		case err != nil:
			if !errors.Is(err, errCut) && !errors.Is(err, errStalled) {
				err = fmt.Errorf("%w: %w", errBroken, err)
			}
			return errors.Join(err, in.count(ctx, false))
		}
	}
}

func (in *intake) write(p []byte) error {
	if err := in.s.at("write"); err != nil {
		return noRoom(err)
	}
	n, err := in.f.WriteAt(p, in.at)
	in.at += int64(n)
	in.s.met.received.Add(float64(n))
	if in.sum != nil {
		in.sum.sum.Write(p) // never fails
		if in.at-in.rec.Offset > maxSummed {
			return fmt.Errorf("%w: a piece with a checksum has at most %d MiB", errTooLarge, maxSummed>>20)
		}
	}
	if err != nil {
		return noRoom(fmt.Errorf("write an upload: %w", err))
	}
	if in.sum == nil && in.at-in.rec.Offset >= in.s.cfg.Checkpoint && in.at < in.rec.Length {
		return in.checkpoint()
	}
	return nil
}

// count counts what came of a piece, at its end or before.
func (in *intake) count(ctx context.Context, end bool) error {
	switch {
	case in.at == in.rec.Offset:
		return nil
	case in.sum != nil && !end:
		return nil // nothing can be said of a part
	case in.sum != nil && subtle.ConstantTimeCompare(in.sum.sum.Sum(nil), in.sum.want) != 1:
		return errMismatch
	}
	if err := in.checkpoint(); err != nil {
		return err
	}
	if in.rec.Stage == stageWhole {
		in.s.log.InfoContext(ctx, "an upload is whole", "bytes", in.rec.Length)
		in.s.wake()
	}
	return nil
}

// checkpoint syncs what was written and then counts it.
func (in *intake) checkpoint() error {
	if err := in.s.at("sync"); err != nil {
		return err
	}
	if err := in.f.Sync(); err != nil {
		return noRoom(fmt.Errorf("sync an upload: %w", err))
	}
	rec := in.rec
	rec.Offset, rec.Idle = in.at, 0
	if rec.Offset == rec.Length {
		rec.Stage = stageWhole
	}
	if err := in.s.save(in.u, rec); err != nil {
		return noRoom(err)
	}
	in.rec = rec
	if rec.Stage == stageComing {
		if left, err := in.s.free(in.s.cfg.Dir); err == nil && left < in.s.cfg.Reserve {
			return fmt.Errorf("%w: %d MiB", errDisk, left>>20)
		}
	}
	return nil
}

// noRoom marks the errors of a full disk.
func noRoom(err error) error {
	if errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) {
		return fmt.Errorf("%w: %w", errDisk, err)
	}
	return err
}

// wake has Run look at what is whole.
func (s *Server) wake() {
	select {
	case s.poke <- struct{}{}:
	default:
	}
}

// done ends a request's turn. Run can hand on what became whole in it only now, and
// may have looked before.
func (s *Server) done(u *upload) {
	u.leave()
	if s.record(u).Stage == stageWhole {
		s.wake()
	}
}

// watched is a request's body that can be cut off, and is if nothing comes.
type watched struct {
	r     io.Reader
	c     *http.ResponseController
	stall time.Duration
	ended atomic.Bool
	rest  func()
}

// watched makes the request the one that is cut off when another one comes.
func (s *Server) watched(w http.ResponseWriter, r *http.Request, u *upload) *watched {
	b := &watched{r: r.Body, c: http.NewResponseController(w), stall: s.cfg.Stall}
	cut := func() {
		b.ended.Store(true)
		// Where there are no deadlines the request ends by itself.
		_ = b.c.SetReadDeadline(time.Unix(1, 0)) //nolint:errcheck // see above
	}
	s.mu.Lock()
	u.cut = cut
	s.bell.Tell()
	s.mu.Unlock()
	b.rest = func() {
		s.mu.Lock()
		u.cut = nil
		s.bell.Tell()
		s.mu.Unlock()
		_ = b.c.SetReadDeadline(time.Time{}) //nolint:errcheck // then there was none
	}
	return b
}

func (b *watched) Read(p []byte) (int, error) {
	if err := b.c.SetReadDeadline(time.Now().Add(b.stall)); err != nil && !errors.Is(err, http.ErrNotSupported) {
		return 0, err
	}
	if b.ended.Load() { // looked at after the deadline was set: neither can miss the other
		return 0, errCut
	}
	n, err := b.r.Read(p)
	if err == nil || errors.Is(err, io.EOF) {
		return n, err
	}
	if b.ended.Load() {
		return n, errCut
	}
	if e, ok := errors.AsType[interface {
		error
		Timeout() bool
	}](err); ok && e.Timeout() {
		return n, errStalled
	}
	return n, err
}

// make makes the file and the record of an upload.
func (s *Server) make(u *upload) error {
	if err := s.at("make"); err != nil {
		return err
	}
	f, err := os.OpenFile(s.file(u.rec.ID), os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return noRoom(fmt.Errorf("make an upload: %w", err))
	}
	if err := errors.Join(f.Close(), keep.SyncDir(s.data())); err != nil {
		return noRoom(fmt.Errorf("make an upload: %w", err))
	}
	return noRoom(s.save(u, u.rec))
}
