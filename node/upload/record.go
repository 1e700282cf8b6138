package upload

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"preau/node/keep"
)

// stage is how far an upload has come.
type stage string

const (
	stageComing  stage = "coming"
	stageWhole   stage = "whole"
	stageHanding stage = "handing" // it may be in the outbox already
	stageKept    stage = "kept"
)

// record is what is known of an upload on the disk.
type record struct {
	ID      string
	Owner   string
	Meta    Meta
	Length  int64
	Offset  int64 // of which the bytes before are synced
	Stage   stage
	Before  []string      `json:",omitempty"` // what the outbox had like it before it was handed on
	Deposit string        `json:",omitempty"`
	Idle    time.Duration // that the box ran since the last byte came
	Made    time.Time
}

const idBytes = 16

func newID() string {
	var id [idBytes]byte
	_, _ = rand.Read(id[:]) // never fails (crypto/rand)
	return hex.EncodeToString(id[:])
}

func validID(s string) bool {
	raw, err := hex.DecodeString(s)
	return err == nil && len(raw) == idBytes && s == strings.ToLower(s)
}

func (r record) check(name string) error {
	switch {
	case !validID(r.ID) || r.ID != name:
		return fmt.Errorf("it calls itself %q", r.ID)
	case r.Length < 0 || r.Offset < 0 || r.Offset > r.Length:
		return fmt.Errorf("it has %d bytes of %d", r.Offset, r.Length)
	}
	switch r.Stage {
	case stageComing, stageWhole, stageHanding, stageKept:
		return nil
	}
	return fmt.Errorf("it is in no stage that is known: %q", r.Stage)
}

func (s *Server) data() string          { return filepath.Join(s.cfg.Dir, "data") }
func (s *Server) file(id string) string { return filepath.Join(s.data(), id) }

// load reads what there is of earlier uploads, and removes bytes that belong to
// none that needs them.
func (s *Server) load() error {
	recs, err := keep.Load(s.recs, func(name string, r record) error { return r.check(name) })
	if err != nil {
		return err
	}
	for id, r := range recs {
		info, err := os.Stat(s.file(id))
		missing := errors.Is(err, fs.ErrNotExist)
		switch {
		case err != nil && !missing:
			return fmt.Errorf("look at an upload: %w", err)
		case r.Stage == stageKept:
		case missing && r.Offset > 0, err == nil && info.Size() < r.Offset:
			s.log.Error("the disk has lost bytes of an upload; it begins anew", "upload", id)
			r.Offset, r.Stage = 0, stageComing
		}
		s.uploads[id] = &upload{rec: r, turn: make(chan struct{}, 1)}
	}
	entries, err := os.ReadDir(s.data())
	if err != nil {
		return fmt.Errorf("read folder of uploads: %w", err)
	}
	for _, e := range entries {
		if u := s.uploads[e.Name()]; u != nil && u.rec.Stage != stageKept || !validID(e.Name()) || s.aside(e.Name()) {
			continue
		}
		if err := os.Remove(s.file(e.Name())); err != nil {
			return fmt.Errorf("remove bytes of an upload that is no more: %w", err)
		}
	}
	return nil
}

// aside reports whether the record of an upload was put aside: somebody may want
// its bytes.
func (s *Server) aside(id string) bool {
	names, err := filepath.Glob(filepath.Join(s.cfg.Dir, "records", id+".json.*"))
	return err == nil && len(names) > 0
}

// save puts a record on the disk and then in the place of the one before. The
// caller has the upload's turn.
func (s *Server) save(u *upload, r record) error {
	if err := s.at("save " + string(r.Stage)); err != nil {
		return err
	}
	if err := s.recs.Write(r.ID, r); err != nil {
		return err
	}
	if err := s.at("saved " + string(r.Stage)); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	u.rec = r
	s.bell.Tell()
	return nil
}

// remove forgets an upload, bytes last: without its record nobody asks for them.
// The caller has its turn.
func (s *Server) remove(u *upload) error {
	id := s.record(u).ID
	if err := s.at("remove record"); err != nil {
		return err
	}
	if err := s.recs.Remove(id); err != nil {
		return err
	}
	s.mu.Lock()
	u.gone = true
	delete(s.uploads, id)
	s.bell.Tell()
	s.mu.Unlock()
	return s.removeBytes(id)
}

func (s *Server) removeBytes(id string) error {
	if err := s.at("remove bytes"); err != nil {
		return err
	}
	if err := os.Remove(s.file(id)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("remove bytes of an upload: %w", err)
	}
	return nil
}

// take waits for the turn of an upload. Whoever sends bytes to it now is cut off:
// the client that comes back is the one that counts, and the connection that it
// had before may be dead without anybody knowing.
func (s *Server) take(ctx context.Context, u *upload) error {
	s.mu.Lock()
	if u.cut != nil {
		u.cut()
	}
	s.mu.Unlock()
	patience := time.NewTimer(takeWithin)
	defer patience.Stop()
	select {
	case u.turn <- struct{}{}:
	case <-ctx.Done():
		return ctx.Err()
	case <-patience.C:
		return errBusy
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if u.gone {
		u.leave()
		return errUnknown
	}
	return nil
}

func (u *upload) try() bool {
	select {
	case u.turn <- struct{}{}:
		return true
	default:
		return false
	}
}

func (u *upload) leave() { <-u.turn }
