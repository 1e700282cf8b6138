package shelf

import (
	"context"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"preau/cache/block"
	"preau/cache/fill"
	"preau/cache/object"
	"preau/cache/rfc9111"
	"preau/cache/storage"
)

// ServeHTTP implements http.Handler for the paths under Prefix.
func (s *Shelf) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	h := w.Header()
	h.Set("X-Content-Type-Options", "nosniff")
	// An item may be taken back at any time, so each use is checked; it costs a
	// request to the box and no byte of the item.
	h.Set("Cache-Control", "no-cache")
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		h.Set("Allow", "GET, HEAD")
		s.refuse(w, r, http.StatusMethodNotAllowed)
		return
	}
	rest, below := strings.CutPrefix(r.URL.Path, Prefix)
	if !below || rest == "" {
		if !below {
			http.Redirect(w, r, Prefix, http.StatusPermanentRedirect)
			return
		}
		s.serveList(w, r)
		return
	}
	id, name, _ := strings.Cut(rest, "/")
	it, err := s.find(id)
	switch {
	case err == nil:
	case errors.Is(err, ErrUnknown):
		s.refuse(w, r, s.missing(id, err))
		return
	default:
		s.log.WarnContext(r.Context(), "what is published can't be looked up", "item", id, "err", err)
		s.refuse(w, r, http.StatusServiceUnavailable)
		return
	}
	if name != it.Filename {
		http.Redirect(w, r, it.Path(), http.StatusFound)
		return
	}
	s.serveItem(w, r, it)
}

// missing tells people what became of an item, as far as that is remembered.
func (s *Shelf) missing(id string, err error) int {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if _, was := s.gone[id]; was || errors.Is(err, ErrGone) {
		return http.StatusGone
	}
	return http.StatusNotFound
}

// refuse answers that there is nothing.
func (s *Shelf) refuse(w http.ResponseWriter, r *http.Request, status int) {
	result := resultNotFound
	if status >= 500 {
		result = resultError
		w.Header().Set("Retry-After", "30")
	}
	s.metrics.requests.WithLabelValues(result).Inc()
	writeTrouble(w, r, status)
}

func (s *Shelf) serveItem(w http.ResponseWriter, r *http.Request, it Item) {
	it, was := s.choose(r, it)
	h := w.Header()
	h.Set("Etag", it.etag())
	h.Set("Accept-Ranges", "bytes")
	if !it.ModTime.IsZero() {
		h.Set("Last-Modified", it.ModTime.UTC().Format(http.TimeFormat))
	}
	if it.Language != "" {
		h.Set("Content-Language", it.Language)
	}
	stored := rfc9111.Response{Status: http.StatusOK, Header: h}
	switch {
	case failedMatch(r.Header, it.etag()):
		s.metrics.requests.WithLabelValues(resultNotModified).Inc()
		w.WriteHeader(http.StatusPreconditionFailed)
		return
	case rfc9111.Preconditions(r.Method, r.Header, stored) == http.StatusNotModified:
		s.metrics.requests.WithLabelValues(resultNotModified).Inc()
		s.say(h, it.ID, true, false)
		w.WriteHeader(http.StatusNotModified)
		return
	}
	kind := it.ContentType
	h.Set("Content-Type", kind)
	h.Set("Content-Disposition", disposition(it.Filename, r.URL.Query().Has("download")))
	if active(kind) {
		// Others' pages must not act in the name of the box's own.
		h.Set("Content-Security-Policy", "sandbox allow-scripts allow-popups allow-forms")
	}
	from, to, status := int64(0), it.Length, http.StatusOK
	if rng := r.Header.Get("Range"); rng != "" && r.Method == http.MethodGet && rfc9111.IfRange(r.Header, stored) {
		spans, err := rfc9111.ParseRange(rng, it.Length)
		switch {
		case errors.Is(err, rfc9111.ErrUnsatisfiable):
			h.Set("Content-Range", fmt.Sprintf("bytes */%d", it.Length))
			h.Del("Content-Disposition")
			s.refuse(w, r, http.StatusRequestedRangeNotSatisfiable)
			return
		case err == nil && len(spans) == 1: // of several the whole is a right answer too (RFC 9110 §14.2)
			from, to, status = spans[0].Off, spans[0].End(), http.StatusPartialContent
			h.Set("Content-Range", fmt.Sprintf("bytes %d-%d/%d", from, to-1, it.Length))
		}
	}
	h.Set("Content-Length", strconv.FormatInt(to-from, 10))
	if r.Method == http.MethodHead {
		s.metrics.requests.WithLabelValues(resultHit).Inc()
		s.say(h, it.ID, true, false)
		w.WriteHeader(status)
		return
	}
	s.send(w, r, it, was, from, to, status)
}

// send sends bytes from..to of an item. was is the object of one that is not the
// version of now.
func (s *Shelf) send(w http.ResponseWriter, r *http.Request, it Item, was *object.Object, from, to int64, status int) {
	listed, cancel := context.WithTimeout(r.Context(), s.cfg.FirstByte)
	it, err := s.whole(listed, it)
	cancel()
	if err != nil {
		s.log.DebugContext(r.Context(), "a published item's list of blocks can't be had", "item", it.ID, "err", err)
		s.begunNothing(w, r, troubleOf(err))
		return
	}
	st, o := s.store(), was
	if was == nil && s.passes(st, it) {
		s.passThrough(w, r, st, it, from, to, status)
		return
	}
	if was == nil {
		o, err = s.object(r.Context(), st, it)
	} else if st == nil {
		err = ErrNoStorage
	}
	var body *fill.Body
	if err == nil && !it.Listed {
		body, err = st.Body(o, &source{s, st, it, o.Ring})
	}
	switch {
	case errors.Is(err, ErrUnknown):
		s.begunNothing(w, r, http.StatusGone)
		return
	case errors.Is(err, object.ErrFull), errors.Is(err, block.ErrNoSpace):
		s.passThrough(w, r, st, it, from, to, status)
		return
	case err != nil:
		s.log.WarnContext(r.Context(), "a published item can't be opened", "item", it.ID, "err", err)
		s.begunNothing(w, r, http.StatusServiceUnavailable)
		return
	}
	st.Touch(o.Key)
	if it.Listed {
		s.sendPieces(w, r, st, o, it, from, to, status)
		return
	}
	defer body.Release() //nolint:contextcheck // a fill is not of one request
	result := resultHit
	if !body.Holds(from, to) {
		result = resultMiss
	}
	reader := body.NewReader(from, to) //nolint:contextcheck // see above
	defer reader.Close()               //nolint:contextcheck // see above
	if from < to {
		ctx, cancel := context.WithTimeout(r.Context(), s.cfg.FirstByte)
		err := reader.Wait(ctx)
		cancel()
		if err != nil {
			s.log.DebugContext(r.Context(), "a published item can't be had", "item", it.ID, "err", err)
			s.begunNothing(w, r, troubleOf(err))
			return
		}
	}
	s.metrics.requests.WithLabelValues(result).Inc()
	s.say(w.Header(), it.ID, result == resultHit, true)
	w.WriteHeader(status)
	n, err := reader.CopyTo(r.Context(), w)
	s.sent(n, to-from, err)
}

// sendPieces sends bytes from..to of a listed item, and keeps what is fetched for
// it in o, if that is not nil.
func (s *Shelf) sendPieces(w http.ResponseWriter, r *http.Request, st *storage.Storage, o *object.Object, it Item, from, to int64, status int) {
	in := s.readPieces(r.Context(), st, o, it, from, to)
	defer in.close(from)
	result := resultHit
	if !in.holds() {
		result = resultMiss
	}
	ctx, cancel := context.WithTimeout(r.Context(), s.cfg.FirstByte)
	err := in.ready(ctx)
	cancel()
	if err != nil {
		s.log.DebugContext(r.Context(), "a published item can't be had", "item", it.ID, "err", err)
		if !errors.Is(err, context.DeadlineExceeded) || r.Context().Err() != nil {
			s.begunNothing(w, r, troubleOf(err))
			return
		}
		w.Header().Set("Connection", "close") // what comes next on it would wait
		s.begunNothing(w, r, troubleOf(err))
		flush(w)
		in.linger()
		return
	}
	s.metrics.requests.WithLabelValues(result).Inc()
	s.say(w.Header(), it.ID, result == resultHit, o != nil)
	w.WriteHeader(status)
	n, err := in.copyTo(r.Context(), w)
	s.sent(n, to-from, err)
}

// passThrough sends what nothing is kept of.
func (s *Shelf) passThrough(w http.ResponseWriter, r *http.Request, st *storage.Storage, it Item, from, to int64, status int) {
	if it.Listed {
		s.sendPieces(w, r, st, nil, it, from, to, status)
		return
	}
	in := (&source{s, st, it, 0}).read(r.Context(), from, to)
	defer func() { _ = in.Close() }() //nolint:errcheck // never fails
	if from < to {
		// The first block decides whether there is a response to begin.
		if _, err := in.Read(nil); err != nil {
			s.begunNothing(w, r, troubleOf(err))
			return
		}
	}
	s.metrics.requests.WithLabelValues(resultMiss).Inc()
	s.say(w.Header(), it.ID, false, false)
	w.WriteHeader(status)
	n, err := io.Copy(w, in)
	s.sent(n, to-from, err)
}

// sent counts what a device got. An answer that is short is broken off, so that
// nobody takes it for the whole.
func (s *Shelf) sent(n, want int64, err error) {
	s.metrics.sent.Add(float64(n))
	if err != nil || n != want {
		panic(http.ErrAbortHandler)
	}
}

// begunNothing takes back the fields of a response that was not begun.
func (s *Shelf) begunNothing(w http.ResponseWriter, r *http.Request, status int) {
	h := w.Header()
	for _, name := range []string{"Etag", "Last-Modified", "Content-Length", "Content-Range", "Content-Disposition", "Content-Language", "Accept-Ranges", "Content-Security-Policy"} {
		h.Del(name)
	}
	s.refuse(w, r, status)
}

func troubleOf(err error) int {
	if errors.Is(err, fill.ErrChanged) || errors.Is(err, ErrUnknown) {
		return http.StatusGone
	}
	return http.StatusGatewayTimeout
}

// failedMatch evaluates If-Match by the strong comparison (RFC 9110 §13.1.1).
func failedMatch(h http.Header, etag string) bool {
	lines := h.Values("If-Match")
	if len(lines) == 0 {
		return false
	}
	for t := range strings.SplitSeq(strings.Join(lines, ","), ",") {
		if t = strings.TrimSpace(t); t == "*" || t == etag {
			return false
		}
	}
	return true
}

// disposition names the file for those who save it (RFC 6266): in letters that
// every client understands, and as it is.
func disposition(name string, save bool) string {
	how := "inline"
	if save {
		how = "attachment"
	}
	plain := strings.Map(func(c rune) rune {
		if c < ' ' || c > '~' || c == '"' || c == '\\' || c == '%' || c == ';' {
			return '_'
		}
		return c
	}, name)
	out := how + `; filename="` + plain + `"`
	if plain != name {
		out += "; filename*=UTF-8''" + strings.ReplaceAll(url.QueryEscape(name), "+", "%20")
	}
	return out
}

// active reports media types that run code in who opens them.
func active(kind string) bool {
	t, _, err := mime.ParseMediaType(kind)
	return err != nil || t == "text/html" || strings.HasSuffix(t, "xml") || strings.HasPrefix(t, "multipart/")
}
