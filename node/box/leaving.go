package box

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"preau/cache/pool"
	"preau/cache/popular"
	"preau/node/near"
)

// leavingPath is where a box that is to be taken away tells the school's others
// what people ask it for.
const leavingPath = "/n/leaving"

const (
	// leavingLeast is how often somebody must have asked for a page.
	leavingLeast = 2
	// leavingMost bounds the pages that are told of, and mostLeaving what is read of
	// the answer, in bytes.
	leavingMost, mostLeaving = 1000, 2 << 20
	// takeWithin bounds one question to the box that leaves, and one page.
	takeWithin, pageWithin = 10 * time.Second, 10 * time.Minute
	// takeRate is how fast pages are taken, in bytes a second: nobody waits for them.
	takeRate = 16 << 20
	// takePart is which part of this box's disk they may take at most.
	takePart = 4
	// takeAgain is when a box that leaves is asked again, if it did not answer.
	takeAgain = 20 * time.Second
)

// leavingPage is a page that everybody may have and see listed.
type leavingPage struct {
	Site string `json:"site"`
	Path string `json:"path"`
}

// leaving is a box's part in taking another one away: each of the others takes,
// before that one is gone, what would be its own turn to fetch then, as far as
// people ask for it. That comes over the LAN, with the region's word for what it is
// as always; what has gone from there meanwhile is left to who asks for it.
//
// What is asked for is counted in memory, without by whom, and only what may be
// listed for everybody. Nobody but the school's other boxes is told.
type leaving struct {
	counts *popular.Counter
	poked  chan struct{}
}

func newLeaving() (*leaving, error) {
	counts, err := popular.New(popular.DefaultConfig())
	if err != nil {
		return nil, err
	}
	return &leaving{counts: counts, poked: make(chan struct{}, 1)}, nil
}

// served counts a response.
func (l *leaving) served(site, path string, listed bool) {
	if listed {
		l.counts.Add(site+path, time.Now()) // a site's name has no slash
	}
}

// pages is what people ask for, the most popular first.
func (l *leaving) pages(now time.Time) ([]leavingPage, error) {
	// Of a copy: what a Counter has told once, it tells until that is acknowledged.
	b, err := l.counts.MarshalBinary()
	if err != nil {
		return nil, err
	}
	copied, err := popular.New(popular.DefaultConfig())
	if err == nil {
		err = copied.UnmarshalBinary(b)
	}
	if err != nil {
		return nil, err
	}
	pages := []leavingPage{}
	told, _ := copied.Digest(now, leavingLeast)
	for _, e := range told.Entries {
		if at := strings.IndexByte(e.Key, '/'); at > 0 && len(pages) < leavingMost {
			pages = append(pages, leavingPage{Site: e.Key[:at], Path: e.Key[at:]})
		}
	}
	return pages, nil
}

// tellLeaving tells a neighbour what people ask for here, if this box leaves.
func (b *Box) tellLeaving(w http.ResponseWriter, r *http.Request) {
	boxes := b.near.boxes.Load()
	if boxes == nil || !boxes.Draining() {
		http.Error(w, "This box stays.", http.StatusNotFound)
		return
	}
	pages, err := b.leaving.pages(time.Now())
	if err != nil {
		b.log.WarnContext(r.Context(), "what people ask for can't be told", "err", err)
		http.Error(w, "It can't be told.", http.StatusInternalServerError)
		return
	}
	writeJSON(w, r, http.StatusOK, pages)
}

// poke has it looked at now who leaves.
func (l *leaving) poke() {
	select {
	case l.poked <- struct{}{}:
	default: // it is about to be looked at
	}
}

// takeOver takes pages from boxes that leave, until ctx ends.
func (b *Box) takeOver(ctx context.Context, boxes *near.Boxes) {
	again := time.NewTimer(0)
	defer again.Stop()
	done := map[string]bool{}
	for {
		select {
		case <-ctx.Done():
			return
		case <-b.leaving.poked:
		case <-again.C:
		}
		gone := boxes.Leaving()
		here := map[string]bool{}
		for _, box := range gone {
			here[box.Name] = done[box.Name]
			if done[box.Name] || boxes.Draining() {
				continue
			}
			n, bytes, err := b.takeFrom(ctx, boxes, box)
			if err != nil && ctx.Err() == nil {
				b.log.DebugContext(ctx, "what people ask a box for that leaves is not taken over yet", "box", box.Name, "err", err)
				again.Reset(takeAgain)
				continue
			}
			here[box.Name] = true
			b.log.InfoContext(ctx, "took over what people ask a box for that leaves", "box", box.Name, "pages", n, "bytes", bytes)
		}
		done = here // who stays after all may leave another time
	}
}

// takeFrom takes one box's pages, as far as they are this one's turn from now on.
func (b *Box) takeFrom(ctx context.Context, boxes *near.Boxes, from near.Box) (n int, bytes int64, err error) {
	pages, err := askLeaving(ctx, from)
	if err != nil {
		return 0, 0, err
	}
	sites := map[string]bool{}
	for _, s := range b.cfg.Site {
		sites[s.Name] = true
	}
	face := b.front.Handler().Neighbours() // which fetches for others, and counts nothing as asked for
	room := int64(b.cfg.Budget) / takePart
	for _, p := range pages {
		if ctx.Err() != nil {
			return n, bytes, ctx.Err()
		}
		others, place := boxes.Order(p.Site + p.Path)
		asked := slices.ContainsFunc(others[:min(len(others), pool.DefaultConfig().Most)], func(o near.Box) bool { return o.Name == from.Name })
		if place > 0 || !asked || !sites[p.Site] {
			continue // another's turn, or it would come over the line
		}
		length, held := b.heldBy(ctx, from, p)
		if !held || bytes+length > room {
			continue
		}
		got, err := take(ctx, face, p)
		if err != nil {
			b.log.DebugContext(ctx, "a page is not taken over", "site", p.Site, "err", err)
			continue
		}
		n, bytes = n+1, bytes+got
		select {
		case <-ctx.Done():
		case <-time.After(time.Duration(got) * time.Second / takeRate):
		}
	}
	return n, bytes, ctx.Err()
}

// askLeaving asks a box that leaves what people ask it for.
func askLeaving(ctx context.Context, from near.Box) (pages []leavingPage, err error) {
	ctx, cancel := context.WithTimeout(ctx, takeWithin)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "https://"+from.Name+leavingPath, http.NoBody)
	if err != nil {
		return nil, err
	}
	resp, err := from.RoundTripper.RoundTrip(req)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, resp.Body.Close()) }()
	if resp.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("box %s answers %d", from.Name, resp.StatusCode)
	}
	if err := json.NewDecoder(io.LimitReader(resp.Body, mostLeaving)).Decode(&pages); err != nil {
		return nil, fmt.Errorf("what box %s says makes no sense: %w", from.Name, err)
	}
	return pages[:min(len(pages), leavingMost)], nil
}

// ask is a request for a page, of a neighbours' face.
func (p leavingPage) ask(ctx context.Context, method, host string) (*http.Request, error) {
	if !strings.HasPrefix(p.Path, "/") || strings.ContainsAny(p.Path, "?#") {
		return nil, fmt.Errorf("%.60q is no path", p.Path)
	}
	return http.NewRequestWithContext(ctx, method, "https://"+host+"/o/"+p.Site+p.Path, http.NoBody)
}

// heldBy reports whether the box that leaves has a page, and how long that is.
func (b *Box) heldBy(ctx context.Context, from near.Box, p leavingPage) (length int64, held bool) {
	ctx, cancel := context.WithTimeout(ctx, takeWithin)
	defer cancel()
	req, err := p.ask(ctx, http.MethodHead, from.Name)
	if err != nil {
		return 0, false
	}
	req.Header.Set("Cache-Control", "only-if-cached") // RFC 9111 §5.2.1.7
	resp, err := from.RoundTripper.RoundTrip(req)
	if err != nil {
		return 0, false
	}
	_ = resp.Body.Close() // there is none
	return resp.ContentLength, resp.StatusCode == http.StatusOK && resp.ContentLength >= 0
}

// take has this box fetch a page, as if another had asked for it.
func take(ctx context.Context, face http.Handler, p leavingPage) (int64, error) {
	ctx, cancel := context.WithTimeout(ctx, pageWithin)
	defer cancel()
	req, err := p.ask(ctx, http.MethodGet, "box")
	if err != nil {
		return 0, err
	}
	req.RequestURI, req.RemoteAddr = req.URL.RequestURI(), "127.0.0.1:0"
	w := &discard{header: http.Header{}}
	if err := w.serve(face, req); err != nil {
		return w.n, err
	}
	if w.status != http.StatusOK {
		return w.n, fmt.Errorf("status %d", w.status)
	}
	if want := w.header.Get("Content-Length"); want != "" && want != strconv.FormatInt(w.n, 10) {
		return w.n, fmt.Errorf("%d bytes of %s", w.n, want)
	}
	return w.n, nil
}

// discard is a response that nobody reads.
type discard struct {
	mu     sync.Mutex // 102 comes from another goroutine
	header http.Header
	status int
	n      int64
}

// serve answers, and makes an error of a response that is broken off.
func (w *discard) serve(h http.Handler, r *http.Request) (err error) {
	defer func() {
		if p := recover(); p != nil {
			if p != http.ErrAbortHandler { //nolint:errorlint // as net/http compares it
				panic(p) //nolint:forbidigo // not ours
			}
			err = http.ErrAbortHandler
		}
	}()
	h.ServeHTTP(w, r)
	return nil
}

// Header implements http.ResponseWriter.
func (w *discard) Header() http.Header { return w.header }

// WriteHeader implements http.ResponseWriter.
func (w *discard) WriteHeader(status int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if status >= 200 && w.status == 0 {
		w.status = status
	}
}

// Write implements http.ResponseWriter.
func (w *discard) Write(p []byte) (int, error) {
	w.WriteHeader(http.StatusOK)
	w.n += int64(len(p))
	return len(p), nil
}
