package edge

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"preau/cache/fill"
	"preau/cache/object"
	"preau/cache/profile"
	"preau/cache/rfc9111"
	"preau/cache/vouch"
)

// newVersionHold is how long the fill of a version that replaced another in
// the middle of a download goes on before its first reader: those who were cut
// off come back for it.
const newVersionHold = 10 * time.Second

// source fetches the parts of one stored response that are not held.
type source struct {
	t       *task
	o       *object.Object
	ifRange string
	strong  bool
	deaf    atomic.Bool // the site ignores ranges, whatever its validators
	feeds
}

// source returns the source of o's body. It asks as t did.
func (t *task) source(o *object.Object) *source {
	s := &source{t: t, o: o}
	s.ifRange, s.strong = rfc9111.StrongValidator(response(o))
	s.strong = s.strong && o.Ranges
	return s
}

// lazySource is the source of a stored object's body, which is hardly ever
// asked for anything: it becomes a source when it is. Until then it keeps the
// request, whose header nobody changes any more.
type lazySource struct {
	x    *exchange
	o    *object.Object
	once sync.Once
	real atomic.Pointer[source]
}

func (x *exchange) lazySource(o *object.Object) fill.Source {
	if !o.Complete {
		return x.task(o).source(o)
	}
	if x.plan != nil {
		// Of a copy: should x be passed after all, it asks as the client, which
		// the source of what is for everybody must never do.
		c := *x
		x = &c
	}
	return &lazySource{x: x, o: o}
}

func (l *lazySource) source() *source {
	l.once.Do(func() { l.real.Store(l.x.task(l.o).source(l.o)) })
	return l.real.Load()
}

func (l *lazySource) from() string {
	if s := l.real.Load(); s != nil {
		return s.from()
	}
	return ""
}

func (l *lazySource) fed() bool {
	s := l.real.Load()
	return s != nil && s.fed()
}

func (l *lazySource) Open(ctx context.Context, from, to int64) (*fill.Stream, error) {
	return l.source().Open(ctx, from, to)
}

func (l *lazySource) Ranges() bool { return l.source().Ranges() }

func (l *lazySource) Ready() <-chan struct{} { return l.x.h.ready(l.x.site, l.x.neighbour) }

// Ranges implements fill.Source.
func (s *source) Ranges() bool { return s.strong && !s.deaf.Load() }

// Ready implements fill.Source.
func (s *source) Ready() <-chan struct{} { return s.t.h.ready(s.t.site, s.t.near) }

// open asks for the bytes from..to. by is who answers.
func (s *source) open(ctx context.Context, from, to int64) (st *fill.Stream, by string, err error) {
	header := s.t.header.Clone()
	for _, name := range []string{"Range", "If-Range", "If-None-Match", "If-Modified-Since"} {
		header.Del(name)
	}
	if s.Ranges() && (from > 0 || to >= 0) {
		last := ""
		if to >= 0 {
			last = contentLength(to - 1)
		}
		header.Set("Range", "bytes="+contentLength(from)+"-"+last)
		header.Set("If-Range", s.ifRange)
	}
	// The answer may outlive this fetch: if it is another version it is fed to
	// that one's fill. So its context is its own, tied to ctx until then.
	own, cancel := context.WithCancel(s.t.h.ctx)
	untie := context.AfterFunc(ctx, cancel)
	one := &feed{of: &s.feeds}
	end := func() {
		untie()
		cancel()
		one.set(false)
	}
	sent := time.Now()
	resp, ruling, err := s.t.ask(vouch.With(own, vouch.Fetch{Neighbour: s.t.near, Waiting: one.set}), header)
	if err != nil {
		end()
		return nil, "", err
	}
	by = sourceOf(resp)
	one.began(by, lentBy(resp.Body))
	resp.Body = &endingBody{ReadCloser: s.t.paced(resp.Body, by), end: end}
	got := rfc9111.Response{Status: resp.StatusCode, Header: resp.Header, RequestTime: sent, ResponseTime: time.Now()}
	if ruling.Effect != profile.Keep && resp.StatusCode != http.StatusRequestedRangeNotSatisfiable {
		_ = resp.Body.Close() // of no use
		switch {
		case !s.t.asking.shared:
		case ruling.Effect == profile.Gone:
			s.t.isGone(ruling)
		default:
			s.t.isOwn(ruling)
		}
		s.gone()
		return nil, by, fmt.Errorf("%w: it is no more for everybody (%s)", fill.ErrChanged, ruling.Name)
	}
	stream, err := s.stream(resp, got, from, untie)
	if err != nil && resp.Body != nil {
		_ = resp.Body.Close() // of no use
	}
	return stream, by, err
}

// stream makes a stream of the answer, or says why it is none of ours.
func (s *source) stream(resp *http.Response, got rfc9111.Response, from int64, untie func() bool) (*fill.Stream, error) {
	switch {
	case resp.StatusCode == http.StatusPartialContent && s.Ranges():
		off, last, total, err := rfc9111.ParseContentRange(resp.Header.Get("Content-Range"))
		if err != nil || off > from || total < 0 {
			s.deaf.Store(true)
			return nil, fmt.Errorf("the site's part is not the one asked for: %q", resp.Header.Get("Content-Range"))
		}
		if !s.same(got) || s.o.Length >= 0 && total != s.o.Length {
			s.gone()
			return nil, fmt.Errorf("%w: another validator or length", fill.ErrChanged)
		}
		body := &limitedBody{io.LimitReader(resp.Body, last-off+1), resp.Body}
		return &fill.Stream{Body: body, From: off, To: last + 1, Total: total, Proven: true}, nil
	case resp.StatusCode == s.o.Status && resp.StatusCode != http.StatusPartialContent:
		if !s.same(got) || s.o.Length >= 0 && resp.ContentLength >= 0 && resp.ContentLength != s.o.Length {
			s.replace(resp, got, untie)
			return nil, fmt.Errorf("%w: another version", fill.ErrChanged)
		}
		if from > 0 && s.Ranges() {
			s.deaf.Store(true)
		}
		return &fill.Stream{Body: resp.Body, To: resp.ContentLength, Total: resp.ContentLength, Proven: s.strong}, nil
	case resp.StatusCode == http.StatusRequestedRangeNotSatisfiable && s.o.Length < 0:
		// All there is was held already, and nobody knew that it was all.
		if _, _, total, err := rfc9111.ParseContentRange(resp.Header.Get("Content-Range")); err == nil && total >= 0 && total <= from {
			_ = resp.Body.Close() // it says no more
			return &fill.Stream{Body: http.NoBody, From: total, To: total, Total: total, Proven: true}, nil
		}
	case rfc9111.FailureStatus(resp.StatusCode), resp.StatusCode == http.StatusTooManyRequests, resp.StatusCode == http.StatusRequestTimeout:
		return nil, fmt.Errorf("the site answers %d", resp.StatusCode)
	}
	s.gone()
	return nil, fmt.Errorf("%w: the site answers %d now", fill.ErrChanged, resp.StatusCode)
}

// limitedBody ends where its Content-Range said, whatever the site sends: what
// lies behind was not vouched for.
type limitedBody struct {
	io.Reader
	io.Closer
}

// same reports whether an answer is of the version that is being filled, as
// far as its validators say.
func (s *source) same(got rfc9111.Response) bool {
	if tag := s.o.Header.Get("ETag"); tag != "" {
		other := got.Header.Get("ETag")
		return other == tag || other == "" && got.Status == http.StatusPartialContent
	}
	if lm := s.o.Header.Get("Last-Modified"); lm != "" {
		other := got.Header.Get("Last-Modified")
		return other == lm || other == "" && got.Status == http.StatusPartialContent
	}
	return true // no validators: the bytes are compared
}

// gone forgets a version that the site no longer has.
func (s *source) gone() {
	if err := s.t.store.Objects().Remove(context.Background(), s.o.Key, s.o.ID, "changed"); err != nil {
		s.t.h.log.Warn("an outdated response could not be removed", "site", s.t.site.Name, "err", err)
	}
}

// replace stores the version that came instead, from the answer that told of
// it, so that none of its bytes crosses the line again.
func (s *source) replace(resp *http.Response, got rfc9111.Response, untie func() bool) {
	// Not before its place is taken: whoever comes in between would ask the site
	// for what is on its way.
	defer s.gone()
	verdict := rfc9111.Storable(rfc9111.Request{Method: http.MethodGet, URL: s.t.url, Header: s.t.client}, got, s.t.site.RulesFor(got.Header))
	if !verdict.Store || resp.StatusCode == http.StatusPartialContent {
		return
	}
	got.Header, _ = s.t.withoutCookies(got.Header)
	o, stream := s.t.object(resp, got)
	if o == nil || s.t.store.TooLarge(o.Length) {
		return
	}
	untie()
	next := *s.t
	next.prior = nil
	body, ok := next.open(o, stream, origin{from: s.from(), waits: s.fed()})
	if !ok {
		return
	}
	resp.Body = nil // the fill's now
	if !s.t.h.starts() {
		body.Release()
		return
	}
	go func() {
		defer s.t.h.work.Done()
		defer body.Release()
		select {
		case <-s.t.h.ctx.Done():
		case <-time.After(newVersionHold):
		}
	}()
}
