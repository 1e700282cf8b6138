package lesson

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"time"

	"preau/cache/upstream"
)

// Bounds of what is read of answers.
const (
	maxDocument = 4 << 20 // of a page or playlist that is looked into
	maxEndless  = 1 << 30 // of an answer that does not say how long it is
)

var (
	errTooBig  = errors.New("it is larger than what may be kept")
	errEndless = errors.New("it does not end")
	errYield   = errors.New("the line is wanted for something else")
	errBurst   = errors.New("as much came as may come at once")
)

// answer is what the box answered itself.
type answer struct {
	status   int
	header   http.Header
	length   int64 // of all of it; −1 if not known
	n        int64 // bytes that came now
	line     int64 // those of them that came over the line, as far as is known
	took     time.Duration
	document []byte // its beginning, if it was wanted
	broke    bool
}

// held reports whether what was answered is stored here now, whole: this cache
// answered from what it has, or has stored what came (RFC 9211 section 2).
func (a *answer) held() bool {
	if a.broke || a.status != http.StatusOK && a.status != http.StatusPartialContent {
		return false
	}
	st := a.cacheStatus()
	return st["hit"] != "" || st["stored"] != "" || st["fwd-status"] == "304" || st["collapsed"] != "" || st["fwd"] == "partial" ||
		a.header.Get("Content-Type") == "application/zip" && st["fwd-status"] == "" && strings.HasSuffix(st["detail"], "-folder") // made here
}

// local reports whether nothing of it came over the line.
func (a *answer) local() bool {
	st := a.cacheStatus()
	return st["hit"] != "" || st["fwd-status"] == "304"
}

// cacheStatus reads this cache's own member of Cache-Status, which is the last.
func (a *answer) cacheStatus() map[string]string {
	out := map[string]string{}
	lines := a.header.Values("Cache-Status")
	if len(lines) == 0 {
		return out
	}
	members := strings.Split(lines[len(lines)-1], ",")
	parts := strings.Split(members[len(members)-1], ";")
	if strings.TrimSpace(parts[0]) != "preau" {
		return out
	}
	for _, p := range parts[1:] {
		k, v, ok := strings.Cut(strings.TrimSpace(p), "=")
		if !ok {
			v = "1"
		}
		out[k] = strings.Trim(v, `"`)
	}
	return out
}

// question is what the box is asked for.
type question struct {
	place    Place
	from     int64 // the first byte that is wanted
	tag      string
	most     int64 // after so many bytes from the line, other than at pace, it ends; 0: never
	pace     *upstream.Pace
	before   int64 // what had come at that pace
	every    bool  // most counts what comes at pace too
	room     int64 // it may not be larger
	document bool  // its beginning is wanted
	came     func(n int64)
}

// ask asks the box, as a device does but within the process.
func ask(ctx context.Context, box http.Handler, q question) (a *answer, err error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	ctx = upstream.WithPace(ctx, q.pace)
	u := &url.URL{Scheme: "http", Host: q.place.Host, RawQuery: q.place.Query}
	if u.Path, err = url.PathUnescape(q.place.Path); err != nil {
		return nil, fmt.Errorf("ask for a link: %w", err)
	}
	u.RawPath = q.place.Path
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, u.String(), http.NoBody)
	if err != nil {
		return nil, fmt.Errorf("ask for a link: %w", err)
	}
	r.RequestURI, r.RemoteAddr = u.RequestURI(), "127.0.0.1:0"
	r.Header.Set("Accept", "*/*")
	r.Header.Set("Accept-Encoding", "identity")
	if q.from > 0 {
		r.Header.Set("Range", "bytes="+strconv.FormatInt(q.from, 10)+"-")
		r.Header.Set("If-Range", q.tag)
	}
	w := &sink{q: q, cancel: cancel, a: &answer{header: http.Header{}, length: -1}}
	began := time.Now()
	w.run(box, r)
	w.mu.Lock()
	defer w.mu.Unlock()
	w.a.took = time.Since(began)
	if cause := context.Cause(ctx); cause != nil {
		w.a.broke = true
		return w.a, cause
	}
	if w.a.broke {
		return w.a, errors.New("the answer broke off")
	}
	return w.a, nil
}

// sink is who reads the box's answer.
type sink struct {
	q      question
	cancel context.CancelCauseFunc

	mu    sync.Mutex
	a     *answer
	local bool
}

// run has the box answer. A handler breaks an answer off with a panic.
func (s *sink) run(box http.Handler, r *http.Request) {
	defer func() {
		switch v := recover(); v {
		case nil:
		case http.ErrAbortHandler:
			s.mu.Lock()
			s.a.broke = true
			s.mu.Unlock()
		default:
			panic(v) //nolint:forbidigo // it is not ours
		}
	}()
	box.ServeHTTP(s, r)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.a.status == 0 {
		s.head(http.StatusOK)
	}
	if s.a.length >= 0 && s.q.from+s.a.n != s.a.length && (s.a.status == http.StatusOK || s.a.status == http.StatusPartialContent) {
		s.a.broke = true
	}
	if s.a.length < 0 {
		s.a.length = s.q.from + s.a.n
	}
}

// Header implements http.ResponseWriter.
func (s *sink) Header() http.Header { return s.a.header }

// Flush implements http.Flusher.
func (s *sink) Flush() {}

// WriteHeader implements http.ResponseWriter.
func (s *sink) WriteHeader(status int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if status >= 200 && s.a.status == 0 {
		s.head(status)
	}
}

func (s *sink) head(status int) {
	s.a.status = status
	s.a.header = s.a.header.Clone()
	s.local = s.a.local()
	if status != http.StatusPartialContent {
		s.q.from = 0 // all of it comes
	}
	if n, err := strconv.ParseInt(s.a.header.Get("Content-Length"), 10, 64); err == nil {
		s.a.length = s.q.from + n
	}
	if s.a.length > s.q.room && (status == http.StatusOK || status == http.StatusPartialContent) {
		s.cancel(errTooBig)
	}
}

// Write implements http.ResponseWriter.
func (s *sink) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.a.status == 0 {
		s.head(http.StatusOK)
	}
	s.a.n += int64(len(p))
	if !s.local {
		s.a.line += int64(len(p))
	}
	if room := maxDocument - len(s.a.document); s.q.document && room > 0 {
		s.a.document = append(s.a.document, p[:min(len(p), room)]...)
	}
	if s.q.came != nil {
		s.q.came(int64(len(p)))
	}
	switch {
	case s.q.from+s.a.n > s.q.room:
		s.cancel(errTooBig)
		return 0, errTooBig
	case s.a.length < 0 && s.a.n > maxEndless:
		s.cancel(errEndless)
		return 0, errEndless
	case s.q.most > 0 && s.unpaced() >= s.q.most && s.q.from+s.a.n != s.a.length:
		s.cancel(errBurst)
		return 0, errBurst
	}
	return len(p), nil
}

// unpaced is how much came over the line, as far as is known, that no pace held
// back: another box fetched it, or people were there first.
func (s *sink) unpaced() int64 {
	if s.q.every {
		return s.a.line
	}
	return s.a.line - (s.q.pace.Taken() - s.q.before)
}
