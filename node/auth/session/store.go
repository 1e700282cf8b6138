package session

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"preau/node/keep"
)

// What is kept at most: of all, and of one person.
const (
	MaxSessions = 1000
	maxOfOne    = 20
	maxRecord   = 16 << 10
)

// idBytes is 256 bits: nobody guesses one.
const idBytes = 32

// Store is a box's sessions. Its methods may be called at the same time.
type Store struct {
	dir   string
	rules Rules
	log   *slog.Logger

	disk sync.Mutex // one writer at a time; taken before mu

	mu    sync.Mutex
	live  map[key]*entry
	stale map[key]bool // their files could not be removed yet
}

type key [sha256.Size]byte

type entry struct {
	Session
	written bool // the file says the same
}

// Open reads the sessions in dir. Those that can't be read are removed.
func Open(dir string, rules Rules, log *slog.Logger) (*Store, error) {
	if err := keep.Dir(dir); err != nil {
		return nil, err
	}
	s := &Store{dir: dir, rules: rules, log: log, live: map[key]*entry{}, stale: map[key]bool{}}
	files, err := os.ReadDir(dir)
	if err != nil {
		return nil, fmt.Errorf("read folder of sessions: %w", err)
	}
	for _, f := range files {
		name := filepath.Join(dir, f.Name())
		k, ok := keyOf(f.Name())
		var read Session
		if ok && len(s.live) < MaxSessions {
			if err = keep.Read(name, maxRecord, &read); err == nil {
				s.live[k] = &entry{read, true}
				continue
			}
			log.Warn("a session can't be read: who had it has to sign in again", "err", err)
		}
		if err := os.RemoveAll(name); err != nil {
			log.Warn("what is no session can't be removed", "file", name, "err", err)
		}
	}
	return s, nil
}

func keyOf(name string) (k key, ok bool) {
	p, err := hex.DecodeString(name)
	if err != nil || len(p) != len(k) || strings.ToLower(name) != name {
		return k, false
	}
	return key(p), true
}

func (s *Store) file(k key) string { return filepath.Join(s.dir, hex.EncodeToString(k[:])) }

// Begin begins a session now and gives its id, which the browser keeps. If the
// disk does not take it the session still is, until the box starts again: the
// error says so.
func (s *Store) Begin(now time.Time, v Session) (id string, err error) {
	var secret [idBytes]byte
	if _, err := rand.Read(secret[:]); err != nil {
		return "", fmt.Errorf("make a session: %w", err)
	}
	v.Begun, v.Seen = now.Round(0), now.Round(0)
	k := key(sha256.Sum256(secret[:]))
	s.mu.Lock()
	s.room(v.Subject)
	s.live[k] = &entry{Session: v}
	s.mu.Unlock()
	return base64.RawURLEncoding.EncodeToString(secret[:]), s.Save()
}

// room makes room for one more of a person: who was not seen for longest goes.
func (s *Store) room(subject string) {
	for {
		var oldest, oldestOwn key
		var found, foundOwn *entry
		own := 0
		for k, e := range s.live {
			if found == nil || e.Seen.Before(found.Seen) {
				oldest, found = k, e
			}
			if e.Subject != subject {
				continue
			}
			if own++; foundOwn == nil || e.Seen.Before(foundOwn.Seen) {
				oldestOwn, foundOwn = k, e
			}
		}
		switch {
		case own >= maxOfOne:
			s.drop(oldestOwn)
		case len(s.live) >= MaxSessions:
			s.drop(oldest)
		default:
			return
		}
	}
}

// drop forgets a session; Save removes its file.
func (s *Store) drop(k key) {
	delete(s.live, k)
	s.stale[k] = true
}

// decode reads what a cookie has.
func decode(id string) (k key, ok bool) {
	if len(id) != base64.RawURLEncoding.EncodedLen(idBytes) {
		return k, false
	}
	p, err := base64.RawURLEncoding.Strict().DecodeString(id)
	if err != nil {
		return k, false
	}
	return sha256.Sum256(p), true
}

// Find gives the session with an id, and notes that it was seen now. cut: the
// line is cut, which prolongs it.
func (s *Store) Find(id string, now time.Time, cut bool) (Session, bool) {
	k, ok := decode(id)
	if !ok {
		return Session{}, false
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	e, ok := s.live[k]
	if !ok {
		return Session{}, false
	}
	e.redate(now)
	if !now.Before(s.rules.Ends(e.Session, cut)) {
		s.drop(k)
		return Session{}, false
	}
	// To the minute: a page with thirty parts is not thirty changes.
	if now.Sub(e.Seen) >= time.Minute {
		e.Seen, e.written = now.Round(0), false
	}
	return e.Session, true
}

func (e *entry) redate(now time.Time) {
	if moved := Redate(e.Session, now); !moved.Seen.Equal(e.Seen) {
		e.Session, e.written = moved, false
	}
}

// End ends the session with an id.
func (s *Store) End(id string) error {
	k, ok := decode(id)
	if !ok {
		return nil
	}
	s.mu.Lock()
	if s.live[k] != nil {
		s.drop(k)
	}
	s.mu.Unlock()
	return s.Save()
}

// EndAll ends the sessions that are meant, and says how many.
func (s *Store) EndAll(meant func(Session) bool) (int, error) {
	s.mu.Lock()
	n := 0
	for k, e := range s.live {
		if meant(e.Session) {
			s.drop(k)
			n++
		}
	}
	s.mu.Unlock()
	return n, s.Save()
}

// Sweep ends what has run out, and reports whether there are files to remove: what
// is over must not be found again after a power cut.
func (s *Store) Sweep(now time.Time, cut bool) (ended bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for k, e := range s.live {
		e.redate(now)
		if !now.Before(s.rules.Ends(e.Session, cut)) {
			s.drop(k)
		}
	}
	return len(s.stale) > 0
}

// Len is how many sessions there are.
func (s *Store) Len() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.live)
}

// Save brings the disk up to date. What does not succeed is tried again the next
// time: above all the removal of a session that has ended.
func (s *Store) Save() error {
	s.disk.Lock()
	defer s.disk.Unlock()
	s.mu.Lock()
	changed := map[key]Session{}
	for k, e := range s.live {
		if !e.written {
			changed[k] = e.Session
			e.written = true
		}
	}
	gone := make([]key, 0, len(s.stale))
	for k := range s.stale {
		gone = append(gone, k)
	}
	s.mu.Unlock()
	var errs []error
	for _, k := range gone {
		if err := keep.Remove(s.file(k)); err != nil {
			errs = append(errs, fmt.Errorf("remove a session that has ended: %w", err))
			continue
		}
		s.mu.Lock()
		delete(s.stale, k)
		s.mu.Unlock()
	}
	for k, v := range changed {
		if err := keep.Write(s.file(k), v); err != nil {
			errs = append(errs, fmt.Errorf("keep a session: %w", err))
			s.mu.Lock()
			if e := s.live[k]; e != nil {
				e.written = false
			}
			s.mu.Unlock()
		}
	}
	return errors.Join(errs...)
}
