package upload

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"time"
)

// What the outbox did not take is offered to it again after tryAgain, and then
// less and less often: each time costs the disk two writes.
const (
	tryAgain = time.Minute
	tryLater = time.Hour
)

// handOn gives what is whole to the outbox, one after the other.
func (s *Server) handOn(ctx context.Context) {
	now := time.Now()
	ids := s.ids(func(u *upload) bool {
		return (u.rec.Stage == stageWhole || u.rec.Stage == stageHanding) && !now.Before(u.next)
	})
	for _, id := range ids {
		u := s.get(id)
		if u == nil || !u.try() {
			continue // it is being removed
		}
		err := s.hand(ctx, u)
		if err != nil && ctx.Err() == nil {
			s.log.WarnContext(ctx, "the outbox did not take an upload; it is offered again", "upload", id, "err", err)
		}
		if ctx.Err() == nil {
			s.mu.Lock()
			u.wait = min(max(2*u.wait, tryAgain), tryLater)
			u.next = now.Add(u.wait)
			if reason := reasonOf(err); u.reason != reason {
				u.reason = reason
				s.bell.Tell()
			}
			s.mu.Unlock()
		}
		u.leave()
		if ctx.Err() != nil {
			return
		}
	}
}

// hand gives one upload to the outbox. Before it does, it notes what the outbox
// has that looks like it: whatever looks so afterwards and was not there is this
// one, should nobody live to hear how it went. The caller has its turn.
func (s *Server) hand(ctx context.Context, u *upload) error {
	rec := s.record(u)
	if u.gone || rec.Stage != stageWhole && rec.Stage != stageHanding {
		return nil
	}
	if room := s.box.Room(ctx); rec.Stage == stageWhole && room >= 0 && room < rec.Length {
		return fmt.Errorf("%w: %d MiB are left", ErrNoRoom, room>>20)
	}
	like, err := s.box.Like(ctx, rec.Meta.Filename, rec.Length)
	if err != nil {
		return fmt.Errorf("ask the outbox for what it has: %w", err)
	}
	if rec.Stage == stageHanding {
		id, err := s.found(ctx, rec, like)
		if err != nil {
			return err
		}
		if id != "" {
			return s.kept(ctx, u, rec, id)
		}
	}
	rec.Stage, rec.Before = stageHanding, nil
	for _, k := range like {
		rec.Before = append(rec.Before, k.ID)
	}
	if err := s.save(u, rec); err != nil {
		return err
	}
	id, err := s.add(ctx, rec)
	if err != nil {
		rec.Stage, rec.Before = stageWhole, nil
		return errors.Join(err, s.save(u, rec))
	}
	if err := s.at("added"); err != nil {
		return err
	}
	return s.kept(ctx, u, rec, id)
}

func (s *Server) add(ctx context.Context, rec record) (string, error) {
	if err := s.at("add"); err != nil {
		return "", err
	}
	f, err := os.Open(s.file(rec.ID))
	if err != nil {
		return "", fmt.Errorf("open an upload: %w", err)
	}
	// Beyond its length may lie what was never counted.
	id, err := s.box.Add(ctx, rec.Meta, rec.Length, io.LimitReader(f, rec.Length))
	if err != nil {
		err = fmt.Errorf("add to the outbox: %w", err)
	}
	return id, errors.Join(err, f.Close())
}

// found looks for an upload among what the outbox has that looks like it.
func (s *Server) found(ctx context.Context, rec record, like []Kept) (string, error) {
	like = slices.DeleteFunc(slices.Clone(like), func(k Kept) bool { return slices.Contains(rec.Before, k.ID) || s.claimed(k.ID) })
	if len(like) == 0 {
		return "", nil
	}
	f, err := os.Open(s.file(rec.ID))
	if err != nil {
		return "", fmt.Errorf("open an upload: %w", err)
	}
	h := sha256.New()
	_, err = io.Copy(h, io.LimitReader(&within{ctx, f}, rec.Length))
	if err = errors.Join(err, f.Close()); err != nil {
		return "", fmt.Errorf("read an upload: %w", err)
	}
	for _, k := range like {
		if [sha256.Size]byte(h.Sum(nil)) == k.SHA256 {
			return k.ID, nil
		}
	}
	return "", nil
}

// claimed reports whether a deposit is known to be another upload.
func (s *Server) claimed(deposit string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, u := range s.uploads {
		if u.rec.Stage == stageKept && u.rec.Deposit == deposit {
			return true
		}
	}
	return false
}

// within ends a reading with its context.
type within struct {
	ctx context.Context
	r   io.Reader
}

func (w *within) Read(p []byte) (int, error) {
	if err := w.ctx.Err(); err != nil {
		return 0, err
	}
	return w.r.Read(p)
}

// kept notes that the outbox has an upload, and removes its bytes here.
func (s *Server) kept(ctx context.Context, u *upload, rec record, id string) error {
	rec.Stage, rec.Before, rec.Deposit, rec.Idle = stageKept, nil, id, 0
	if err := s.save(u, rec); err != nil {
		return err
	}
	s.met.ended.WithLabelValues("kept").Inc()
	s.log.InfoContext(ctx, "an upload is in the outbox", "deposit", id, "bytes", rec.Length)
	return s.removeBytes(rec.ID)
}
