package edge

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"time"

	"preau/cache/memo"
	"preau/cache/object"
	"preau/cache/profile"
	"preau/cache/rfc9111"
	"preau/cache/vouch"
)

const (
	// sumsWait is how long the sums of a film may take to come.
	sumsWait = 30 * time.Second
	// mostAbout and mostList bound the answers that are read for them.
	mostAbout, mostList = 1 << 20, 8 << 20
	// sumsFor is how long sums are remembered, noSumsFor that there are none, and
	// unknownSumsFor that the site could not say.
	sumsFor, noSumsFor, unknownSumsFor = 24 * time.Hour, 5 * time.Minute, 15 * time.Second
	// newFileAfter is how old sums may be that do not speak of a file: the
	// platform may have made it since.
	newFileAfter = time.Minute
	// askAgainAfter is how long what was asked for past all caches is as good.
	askAgainAfter = 10 * time.Second
)

// sums are what a site says of the fragments of the files in one folder.
type sums struct {
	files map[string][]profile.Fragment // nil: it says nothing
	again bool                          // past all caches
	at    time.Time
	last  time.Duration
}

func (s *sums) size() uint32 {
	n := 200
	for name, list := range s.files {
		n += len(name) + 100 + 48*len(list)
	}
	return uint32(min(n, mostSums))
}

// sumLoad is one look at what a site says. Its result is set before done is closed.
type sumLoad struct {
	done chan struct{}
	sums *sums
}

// sumCache remembers sums by the folder that they are of.
type sumCache struct {
	c *memo.Cache[*sums]
}

func newSumCache() (*sumCache, error) {
	c, err := memo.New(memo.Options[*sums]{Most: mostSums, Weigh: (*sums).size, For: sumsFor})
	if err != nil {
		return nil, err
	}
	return &sumCache{c}, nil
}

func (c *sumCache) set(key object.Key, s *sums) {
	c.c.SetFor(key, s, s.last)
}

func (t *task) sumsKey(f profile.Fragmented) object.Key {
	return t.h.keys.Key("fragments", t.site.Name, f.Folder)
}

// fragmentsOf returns the fragments of the file that t asks for, by one look at
// what the site says for all who want to know. Nil means that nothing is said of
// it: it is served as any other file.
func (t *task) fragmentsOf(ctx context.Context) []profile.Fragment {
	f, ok := t.fragmented()
	if !ok {
		return nil
	}
	key := t.sumsKey(f)
	if s, ok := t.h.fragments.sums.c.Get(key); ok {
		if list, has := s.files[f.Name]; has || time.Since(s.at) < min(s.last, newFileAfter) {
			return list
		}
	}
	return t.lookUpSums(ctx, f, false).files[f.Name]
}

// lookUpSums asks the site, or waits for who does. With again nothing that is
// stored on the way is believed, unless somebody has just asked.
func (t *task) lookUpSums(ctx context.Context, f profile.Fragmented, again bool) *sums {
	key, all := t.sumsKey(f), t.h.fragments
	if s, ok := all.sums.c.Get(key); ok && again && s.again && time.Since(s.at) < askAgainAfter {
		return s
	}
	all.mu.Lock()
	load := all.loading[key]
	first := load == nil
	if first {
		load = &sumLoad{done: make(chan struct{})}
		all.loading[key] = load
	}
	all.mu.Unlock()
	if first {
		end := func(s *sums) {
			load.sums = s
			all.sums.set(key, s)
			all.mu.Lock()
			delete(all.loading, key)
			all.mu.Unlock()
			close(load.done)
		}
		if t.h.starts() {
			// It goes on should this fetch be given up: others may wait for it.
			go func() {
				defer t.h.work.Done()
				end(t.loadSums(f, again))
			}()
		} else {
			end(&sums{last: unknownSumsFor})
		}
	}
	select {
	case <-load.done:
		return load.sums
	case <-ctx.Done():
		return &sums{}
	}
}

// loadSums asks the site for the sums of a folder's files.
func (t *task) loadSums(f profile.Fragmented, again bool) *sums {
	ctx, cancel := context.WithTimeout(t.h.ctx, sumsWait)
	defer cancel()
	s := &sums{at: time.Now(), last: noSumsFor, again: again}
	status, about, err := t.read(ctx, f.Asks, fragmentHeader(again))
	switch {
	case err != nil, t.failure(status), status == http.StatusTooManyRequests:
		s.last = unknownSumsFor
		return s
	case status != http.StatusOK:
		return s
	}
	at, ok := f.SumsAt(about)
	if !ok {
		return s
	}
	status, list, err := t.inner(ctx, at, fragmentHeader(again))
	if err != nil || status >= http.StatusInternalServerError {
		s.last = unknownSumsFor
		return s
	}
	if status != http.StatusOK {
		return s
	}
	if s.files, err = profile.ParseSums(list); err != nil {
		t.h.log.WarnContext(ctx, "the sums of a film's fragments can't be read: it is served without", "site", t.site.Name, "err", err)
		return s
	}
	s.last = sumsFor
	return s
}

// read asks the site for something of its own that nobody is to be sent.
func (t *task) read(ctx context.Context, target profile.Target, header http.Header) (status int, body []byte, err error) {
	rfc9111.Via(header, 1, 1, Name)
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	ctx = vouch.With(ctx, vouch.Fetch{Neighbour: t.near, Waiting: func(bool) {}})
	resp, err := t.fetch(ctx, t.site.Upstream.URL(target.Path, target.Query), header)
	if err != nil {
		return 0, nil, err
	}
	defer func() { _ = resp.Body.Close() }() // read as far as is wanted
	body, err = io.ReadAll(io.LimitReader(resp.Body, mostAbout))
	return resp.StatusCode, body, err
}

var errNotShared = errors.New("it is not for everybody")

// inner asks within the box, as if somebody had who is nobody: what comes is kept,
// and shared, as any answer is.
func (t *task) inner(ctx context.Context, target profile.Target, header http.Header) (status int, body []byte, err error) {
	plain, err := url.PathUnescape(target.Path)
	if err != nil {
		return 0, nil, err
	}
	r := &http.Request{
		Method: http.MethodGet, URL: &url.URL{Path: plain, RawPath: target.Path, RawQuery: target.Query}, Host: t.host,
		Header: header, Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
	}
	w := &boundedWriter{header: http.Header{}}
	x := &exchange{h: t.h, w: w, r: r.WithContext(ctx), store: t.store, site: t.site, path: target.Path, query: target.Query, start: time.Now()}
	x.planRequest()
	if x.plan == nil || x.plan.Do != profile.Share {
		return 0, nil, errNotShared
	}
	x.share()
	if err := x.answerInner(); err != nil {
		return 0, nil, fmt.Errorf("read %d bytes: %w", w.body.Len(), err)
	}
	return w.status, w.body.Bytes(), w.err
}

// boundedWriter is the http.ResponseWriter of an answer that is read whole within
// the box.
type boundedWriter struct {
	header http.Header
	status int
	body   bytes.Buffer
	err    error
}

var errTooLong = errors.New("the answer is too long")

func (w *boundedWriter) Header() http.Header { return w.header }

func (w *boundedWriter) WriteHeader(status int) {
	if w.status == 0 && status >= 200 {
		w.status = status
	}
}

func (w *boundedWriter) Write(p []byte) (int, error) {
	w.WriteHeader(http.StatusOK)
	if w.body.Len()+len(p) > mostList {
		w.err = errTooLong
		return 0, w.err
	}
	return w.body.Write(p)
}
