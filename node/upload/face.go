package upload

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// The protocol's own words (tus 1.0.0).
const (
	version    = "1.0.0"
	extensions = "creation,expiration,checksum,termination"
	pieceType  = "application/offset+octet-stream"
)

// Handler is the face for clients: POST to Config.Prefix makes an upload, and
// HEAD, PATCH and DELETE of what it answers go on with it. GET tells how far it
// is, as JSON. owner says whose a request is, or nothing if it is nobody's: one
// person's uploads are not there for another. Requests across origins are for
// whoever stands before it to refuse.
func (s *Server) Handler(owner func(*http.Request) string) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("Tus-Resumable", version)
		h.Set("Cache-Control", "no-store")
		h.Set("X-Content-Type-Options", "nosniff")
		method := r.Method
		// Who can send nothing else says so in a field ("X-HTTP-Method-Override").
		if over := r.Header.Get("X-Http-Method-Override"); method == http.MethodPost && (over == http.MethodPatch || over == http.MethodDelete) {
			method = over
		}
		if method == http.MethodOptions {
			s.options(w)
			return
		}
		who := owner(r)
		if who == "" {
			answer(w, http.StatusUnauthorized, ReasonForbid)
			return
		}
		id, ok := strings.CutPrefix(r.URL.Path, s.cfg.Prefix)
		if !ok || id != "" && !validID(id) {
			answer(w, http.StatusNotFound, ReasonUnknown)
			return
		}
		if method != http.MethodGet && r.Header.Get("Tus-Resumable") != version {
			h.Set("Tus-Version", version)
			answer(w, http.StatusPreconditionFailed, ReasonRequest)
			return
		}
		err := s.serve(w, r, method, who, id)
		if err != nil {
			if r.ContentLength != 0 {
				h.Set("Connection", "close") // what is left of the body is not waited for
			}
			s.refuse(w, r, err)
		}
	})
}

func (s *Server) options(w http.ResponseWriter) {
	h := w.Header()
	h.Set("Tus-Version", version)
	h.Set("Tus-Extension", extensions)
	h.Set("Tus-Max-Size", strconv.FormatInt(s.cfg.MaxSize, 10))
	h.Set("Tus-Checksum-Algorithm", algorithms)
	w.WriteHeader(http.StatusNoContent)
}

func (s *Server) serve(w http.ResponseWriter, r *http.Request, method, who, id string) error {
	if id == "" {
		switch method {
		case http.MethodPost:
			return s.create(w, r, who)
		case http.MethodGet:
			writeJSON(w, http.StatusOK, s.List(who))
			return nil
		}
		return wrongMethod(w, "GET, POST, OPTIONS")
	}
	u := s.get(id)
	if u == nil || s.record(u).Owner != who {
		return errUnknown
	}
	switch method {
	case http.MethodHead:
		return s.head(w, r, u)
	case http.MethodPatch:
		return s.patch(w, r, u)
	case http.MethodDelete:
		return s.terminate(w, r, u)
	case http.MethodGet:
		s.mu.Lock()
		st := u.status()
		s.mu.Unlock()
		writeJSON(w, http.StatusOK, st)
		return nil
	}
	return wrongMethod(w, "GET, HEAD, PATCH, DELETE, OPTIONS")
}

func wrongMethod(w http.ResponseWriter, allow string) error {
	w.Header().Set("Allow", allow)
	answer(w, http.StatusMethodNotAllowed, ReasonRequest)
	return nil
}

// create is POST (tus 1.0.0, Creation).
func (s *Server) create(w http.ResponseWriter, r *http.Request, who string) error {
	length, ok := parseSize(r.Header.Get("Upload-Length"))
	if !ok || r.ContentLength > 0 { // neither a length that comes later nor bytes with the first request
		answer(w, http.StatusBadRequest, ReasonRequest)
		return nil
	}
	meta, err := parseMetadata(strings.Join(r.Header.Values("Upload-Metadata"), ","))
	if err != nil {
		return err
	}
	left, err := s.free(s.cfg.Dir)
	if err != nil {
		return err
	}
	room := s.box.Room(r.Context())
	rec := record{ID: newID(), Owner: who, Meta: meta, Length: length, Stage: stageComing, Made: time.Now()}
	if length == 0 {
		rec.Stage = stageWhole
	}
	u := &upload{rec: rec, turn: make(chan struct{}, 1)}
	if err := s.enter(u, left, room); err != nil {
		return err
	}
	defer s.done(u)
	if err := s.make(u); err != nil {
		return errors.Join(err, s.remove(u))
	}
	if rec.Stage == stageWhole {
		s.wake()
	}
	w.Header().Set("Location", s.cfg.Prefix+rec.ID)
	s.expires(w, rec)
	w.WriteHeader(http.StatusCreated)
	return nil
}

// enter takes an upload in if there is room for it, so that two that come at once
// are not both given the same room. Its turn is the caller's.
func (s *Server) enter(u *upload, left, room int64) error {
	if u.rec.Length > s.cfg.MaxSize {
		return fmt.Errorf("%w: %d MiB of at most %d", errTooLarge, u.rec.Length>>20, s.cfg.MaxSize>>20)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.decide(u.rec.Owner, u.rec.Length, left, room); err != nil {
		return err
	}
	s.uploads[u.rec.ID] = u
	u.turn <- struct{}{}
	return nil
}

// head tells where to go on (tus 1.0.0, HEAD). Whoever still sends is cut off: the
// answer must hold until the next request. Of what is whole nothing is awaited.
func (s *Server) head(w http.ResponseWriter, r *http.Request, u *upload) error {
	rec := s.record(u)
	if rec.Stage == stageComing {
		if err := s.take(r.Context(), u); err != nil {
			return err
		}
		defer u.leave()
		rec = s.record(u)
	}
	h := w.Header()
	h.Set("Upload-Offset", strconv.FormatInt(rec.Offset, 10))
	h.Set("Upload-Length", strconv.FormatInt(rec.Length, 10))
	s.expires(w, rec)
	w.WriteHeader(http.StatusOK)
	return nil
}

func (s *Server) patch(w http.ResponseWriter, r *http.Request, u *upload) error {
	if r.Header.Get("Content-Type") != pieceType {
		answer(w, http.StatusUnsupportedMediaType, ReasonRequest)
		return nil
	}
	offset, ok := parseSize(r.Header.Get("Upload-Offset"))
	if !ok || r.Header.Get("Content-Encoding") != "" {
		answer(w, http.StatusBadRequest, ReasonRequest)
		return nil
	}
	sum, err := parseChecksum(r.Header.Get("Upload-Checksum"))
	if err != nil {
		return err
	}
	rec := s.record(u)
	if rec.Stage == stageComing {
		if err := s.take(r.Context(), u); err != nil {
			return err
		}
		defer s.done(u)
		rec = s.record(u)
	}
	switch {
	case offset != rec.Offset:
		w.Header().Set("Upload-Offset", strconv.FormatInt(rec.Offset, 10))
		w.Header().Set("Connection", "close")
		answer(w, http.StatusConflict, ReasonOffset)
		return nil
	case r.ContentLength > rec.Length-rec.Offset:
		return fmt.Errorf("%w: %d bytes where %d are missing", errTooLarge, r.ContentLength, rec.Length-rec.Offset)
	case sum != nil && r.ContentLength > maxSummed:
		return fmt.Errorf("%w: a piece with a checksum has at most %d MiB", errTooLarge, maxSummed>>20)
	case rec.Stage == stageComing:
		if err := s.receive(r.Context(), w, r, u, sum); err != nil {
			return err
		}
	}
	rec = s.record(u)
	w.Header().Set("Upload-Offset", strconv.FormatInt(rec.Offset, 10))
	s.expires(w, rec)
	w.WriteHeader(http.StatusNoContent)
	return nil
}

// terminate is DELETE (tus 1.0.0, Termination). What is in the outbox stays there.
func (s *Server) terminate(w http.ResponseWriter, r *http.Request, u *upload) error {
	if err := s.giveUp(r.Context(), u); err != nil {
		return err
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}

func (s *Server) giveUp(ctx context.Context, u *upload) error {
	if err := s.take(ctx, u); err != nil {
		return err
	}
	defer u.leave()
	kept := s.record(u).Stage == stageKept
	if err := s.remove(u); err != nil {
		return err
	}
	if !kept {
		s.met.ended.WithLabelValues("removed").Inc()
	}
	return nil
}

// Remove gives up an owner's upload, for pages without scripts. That there is none
// is no error.
func (s *Server) Remove(ctx context.Context, owner, id string) error {
	u := s.get(id)
	if u == nil || s.record(u).Owner != owner {
		return nil
	}
	err := s.giveUp(ctx, u)
	if errors.Is(err, errUnknown) {
		return nil
	}
	return err
}

// expires tells when an upload goes if nobody comes back (tus 1.0.0, Expiration).
// It may be later, since only the time counts that the box runs.
func (s *Server) expires(w http.ResponseWriter, rec record) {
	if rec.Stage == stageComing {
		w.Header().Set("Upload-Expires", time.Now().Add(s.cfg.Expiry-rec.Idle).UTC().Format(http.TimeFormat))
	}
}
