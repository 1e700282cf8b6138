package edge

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"time"

	"preau/cache/fill"
	"preau/cache/object"
	"preau/cache/profile"
	"preau/cache/rfc9111"
	"preau/cache/vouch"
)

// Open implements fill.Source. Of a file whose fragments have sums it brings
// whole fragments, and gives none that is not right.
func (s *source) Open(ctx context.Context, from, to int64) (*fill.Stream, error) {
	list := s.t.fragmentsOf(ctx)
	if len(list) == 0 {
		st, _, err := s.open(ctx, from, to)
		return st, err
	}
	if refused, _ := s.t.h.fragments.refuses(s.o.ID, from, from+1); refused {
		return nil, errFragment
	}
	f, in := fragmentAt(list, from)
	if !s.Ranges() || !in || f.To-f.From > mostFragment {
		st, by, err := s.open(ctx, from, wholeFragment(list, to))
		if err != nil || by == sourceNeighbour {
			return st, err
		}
		return s.checked(st, list), nil
	}
	return s.openFragment(ctx, list, f, from, to)
}

// openFragment opens a stream that begins with the fragment f, of which it gives
// what is wanted: from its byte at from on.
func (s *source) openFragment(ctx context.Context, list []profile.Fragment, f profile.Fragment, from, to int64) (*fill.Stream, error) {
	id, all := fragmentID{s.o.ID, f.From}, s.t.h.fragments
	over, mine := all.take(id)
	if !mine {
		select {
		case <-over:
			return nil, errMet // it is there, or is asked for anew
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	had := all.kept(id)
	if int64(len(had)) == f.To-f.From {
		all.give(id)
		return &fill.Stream{Body: io.NopCloser(bytes.NewReader(had[from-f.From:])), From: from, To: f.To, Total: s.o.Length, Proven: true}, nil
	}
	ask := f.From + int64(len(had))
	st, by, err := s.open(ctx, ask, wholeFragment(list, to))
	switch {
	case err != nil:
		all.give(id)
		return nil, err
	case st.From != ask: // it is all of the file, or something else
		all.give(id)
		return s.checked(st, list), nil
	case by == sourceNeighbour && ask == from:
		// Compared with what the region vouches for, which has checked it.
		all.give(id)
		return st, nil
	}
	for !all.reserve(f.To - f.From) {
		if err := pause(ctx); err != nil {
			all.give(id)
			_ = st.Body.Close() // never read
			return nil, err
		}
	}
	c := s.check(st.Body, list, ask, from)
	c.start(f, had)
	st.Body, st.From = c, from
	s.trim(st, list)
	return st, nil
}

// checked has the fragments of a stream checked that begins anywhere.
func (s *source) checked(st *fill.Stream, list []profile.Fragment) *fill.Stream {
	if st == nil || len(list) == 0 {
		return st
	}
	pos := st.From
	if f, in := fragmentAt(list, pos); in && f.From < pos && f.To-f.From <= mostFragment {
		st.From = f.To // of what comes before, nobody can say whether it is right
	}
	st.Body = s.check(st.Body, list, pos, st.From)
	s.trim(st, list)
	return st
}

// trim has a stream end before a fragment that it does not bring whole.
func (s *source) trim(st *fill.Stream, list []profile.Fragment) {
	if st.To < 0 || st.To == st.Total {
		return
	}
	if f, in := fragmentAt(list, st.To); in && f.From < st.To && f.To-f.From <= mostFragment {
		st.To = max(st.From, f.From)
	}
}

// checkRelayed has the fragments checked of a file that can't be kept, and gives of
// it what the client asked for.
func (x *exchange) checkRelayed(resp *http.Response) {
	if !x.fragmented() || resp.StatusCode != http.StatusOK && resp.StatusCode != http.StatusPartialContent {
		return
	}
	t := x.task(nil)
	list := t.fragmentsOf(x.r.Context())
	if len(list) == 0 {
		return
	}
	span := rfc9111.Span{Len: resp.ContentLength}
	pos, total := int64(0), resp.ContentLength
	if resp.StatusCode == http.StatusPartialContent {
		off, last, size, err := rfc9111.ParseContentRange(resp.Header.Get("Content-Range"))
		if err != nil || size < 0 {
			resp.Body = &endingBody{ReadCloser: http.NoBody, end: func() { _ = resp.Body.Close() }} // nothing of it can be believed
			return
		}
		pos, total, span = off, size, rfc9111.Span{Off: off, Len: last + 1 - off}
		asked, err := rfc9111.ParseRange(x.r.Header.Get("Range"), size)
		if err == nil && len(asked) == 1 && asked[0].Off >= off && asked[0].End() <= last+1 {
			span = asked[0]
		}
		resp.ContentLength = span.Len
		resp.Header.Set("Content-Range", fmt.Sprintf("bytes %d-%d/%d", span.Off, span.End()-1, size))
		resp.Header.Del("Content-Length")
	}
	s := t.source(&object.Object{ID: object.NewID(), Key: x.key, Status: http.StatusOK, Header: resp.Header, Length: total})
	c := s.check(resp.Body, list, pos, span.Off)
	end := func() { _ = c.Close() } //nolint:errcheck // read as far as is wanted
	resp.Body = &endingBody{ReadCloser: io.NopCloser(c), end: end}
	if span.Len >= 0 {
		resp.Body = &endingBody{ReadCloser: io.NopCloser(io.LimitReader(c, span.Len)), end: end}
	}
}

// again fetches a fragment past every cache on the way to the site.
func (s *source) again(ctx context.Context, f profile.Fragment) ([]byte, error) {
	if !s.Ranges() {
		return nil, fmt.Errorf("the site does not send parts of it")
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	header := s.t.header.Clone()
	for _, name := range []string{"If-None-Match", "If-Modified-Since"} {
		header.Del(name)
	}
	header.Set("Range", "bytes="+contentLength(f.From)+"-"+contentLength(f.To-1))
	header.Set("If-Range", s.ifRange)
	header.Set("Cache-Control", "no-cache")
	resp, ruling, err := s.t.ask(vouch.With(ctx, vouch.Fetch{Neighbour: s.t.near, Waiting: func(bool) {}}), header)
	if err != nil {
		return nil, err
	}
	defer func() { _ = resp.Body.Close() }() // read as far as is wanted
	off, last, _, err := rfc9111.ParseContentRange(resp.Header.Get("Content-Range"))
	if ruling.Effect != profile.Keep || resp.StatusCode != http.StatusPartialContent || err != nil || off != f.From || last != f.To-1 {
		return nil, fmt.Errorf("the site answers %d", resp.StatusCode)
	}
	b := make([]byte, f.To-f.From)
	if _, err := io.ReadFull(resp.Body, b); err != nil {
		return nil, err
	}
	return b, nil
}

// wholeFragment is to, or the end of the fragment that it lies in.
func wholeFragment(list []profile.Fragment, to int64) int64 {
	if to <= 0 {
		return to
	}
	if f, in := fragmentAt(list, to-1); in {
		return f.To
	}
	return to
}

// wholeFragments widens a single range to begin and end with fragments.
func wholeFragments(list []profile.Fragment, value string) string {
	specs, err := rfc9111.ParseRangeSpecs(value)
	if err != nil || len(specs) != 1 {
		return value
	}
	from, last := specs[0].First, specs[0].Last
	if n := specs[0].Suffix; n >= 0 {
		// How long the file is nobody knows yet, but it has all its fragments.
		from, last = max(0, list[len(list)-1].To-n), -1
	}
	if f, in := fragmentAt(list, from); in {
		from = f.From
	}
	if last < 0 {
		return "bytes=" + contentLength(from) + "-"
	}
	return "bytes=" + contentLength(from) + "-" + contentLength(wholeFragment(list, last+1)-1)
}

// pause is a short wait for memory.
func pause(ctx context.Context) error {
	rest := time.NewTimer(20 * time.Millisecond)
	defer rest.Stop()
	select {
	case <-rest.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
