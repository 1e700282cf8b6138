package pool_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptrace"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"preau/cache/block"
	"preau/cache/parent"
	"preau/cache/pool"
	"preau/cache/upstream"
	"preau/cache/vouch"
)

// authority vouches for data, and has it.
type authority struct {
	data []byte
	slow time.Duration // until it vouches

	mu    sync.Mutex
	plain int // how often it was asked for the bytes
}

func (a *authority) Fetch(req *http.Request) (*http.Response, error) {
	h := http.Header{"Etag": {`"v1"`}, "Cache-Status": {"preau; hit"}}
	if !vouch.Asked(req.Header) {
		a.mu.Lock()
		a.plain++
		a.mu.Unlock()
		return &http.Response{StatusCode: http.StatusOK, Header: h, ContentLength: int64(len(a.data)), Body: io.NopCloser(bytes.NewReader(a.data))}, nil
	}
	<-time.After(a.slow)
	h.Set(vouch.Body, vouch.Digests)
	h.Set(vouch.Length, strconv.Itoa(len(a.data)))
	var list bytes.Buffer
	w := vouch.NewWriter(&list, func() {})
	for p := a.data; len(p) > 0; p = p[min(len(p), block.Size):] {
		if err := w.Block(min(len(p), block.Size), block.Sum(p[:min(len(p), block.Size)])); err != nil {
			return nil, err
		}
	}
	return &http.Response{StatusCode: http.StatusOK, Header: h, ContentLength: -1, Body: io.NopCloser(&list)}, nil
}

func (a *authority) RoundTrip(*http.Request) (*http.Response, error) {
	return nil, errors.New("not asked for")
}

func (a *authority) URL(path, query string) *url.URL {
	return &url.URL{Scheme: "http", Host: "site", Path: path, RawQuery: query}
}
func (a *authority) State() upstream.State { return upstream.State{Up: true} }
func (a *authority) Up() <-chan struct{}   { return nil }
func (a *authority) Down() <-chan struct{} { return nil }

// neighbour answers as its function does; say sends one 102.
type neighbour func(ctx context.Context, say func(), req *http.Request) (*http.Response, error)

func (n neighbour) RoundTrip(req *http.Request) (*http.Response, error) {
	trace := httptrace.ContextClientTrace(req.Context())
	return n(req.Context(), func() { _ = trace.Got1xxResponse(http.StatusProcessing, nil) }, req)
}

// sends answers with data, of which more comes by read.
func sends(data []byte, body io.ReadCloser) *http.Response {
	return &http.Response{StatusCode: http.StatusOK, Header: http.Header{"Etag": {`"v1"`}}, ContentLength: int64(len(data)), Body: body}
}

func whole(data []byte) neighbour {
	return func(context.Context, func(), *http.Request) (*http.Response, error) {
		return sends(data, io.NopCloser(bytes.NewReader(data))), nil
	}
}

// silent says nothing.
func silent(ctx context.Context, _ func(), _ *http.Request) (*http.Response, error) {
	<-ctx.Done()
	return nil, context.Cause(ctx)
}

// slow says for so long that it is working on it, and then has it.
func slow(data []byte, d time.Duration) neighbour {
	return func(ctx context.Context, say func(), _ *http.Request) (*http.Response, error) {
		for end := time.Now().Add(d); time.Now().Before(end); {
			say()
			select {
			case <-ctx.Done():
				return nil, context.Cause(ctx)
			case <-time.After(250 * time.Millisecond):
			}
		}
		return sends(data, io.NopCloser(bytes.NewReader(data))), nil
	}
}

// absent has nothing that it may give.
func absent(context.Context, func(), *http.Request) (*http.Response, error) {
	return &http.Response{StatusCode: http.StatusGatewayTimeout, Header: http.Header{}, Body: http.NoBody}, nil
}

// trickles is a body that brings a little now and then.
type trickles struct {
	ctx   context.Context
	data  io.Reader
	every time.Duration
	most  int
}

func (b *trickles) Read(p []byte) (int, error) {
	select {
	case <-time.After(b.every):
	case <-b.ctx.Done():
		return 0, b.ctx.Err()
	}
	return b.data.Read(p[:min(len(p), b.most)])
}

func (b *trickles) Close() error { return nil }

// school is a pool in a bubble.
type school struct {
	t        *testing.T
	a        *authority
	o        *pool.Origin
	reg      *prometheus.Registry
	mu       sync.Mutex
	lost     []string
	reported []string
}

func (s *school) Report(name, _ string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.reported = append(s.reported, name)
}

func (s *school) Lost(name string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.lost = append(s.lost, name)
}

func newSchool(t *testing.T, data []byte, place int, boxes ...neighbour) *school {
	t.Helper()
	s := &school{t: t, a: &authority{data: data}, reg: prometheus.NewRegistry()}
	var others []parent.Parent
	for i, b := range boxes {
		others = append(others, parent.Parent{Name: string(rune('a' + i)), RoundTripper: b, Base: &url.URL{Scheme: "https", Host: "box", Path: "/o/site"}})
	}
	var err error
	s.o, err = pool.New(pool.DefaultConfig(), "site", s.a, func(string) ([]parent.Parent, int) { return others, place }, s, quiet, s.reg)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// get fetches and returns the body, how long the answer took, and what it is
// from.
func (s *school) get() (body []byte, took time.Duration, source string, err error) {
	s.t.Helper()
	ctx, cancel := context.WithCancel(s.t.Context())
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://site/a", http.NoBody)
	if err != nil {
		s.t.Fatal(err)
	}
	req.Body = nil
	began := time.Now()
	resp, err := s.o.Fetch(req)
	took = time.Since(began)
	if err != nil {
		return nil, took, "", err
	}
	defer func() { _ = resp.Body.Close() }()
	if b, ok := resp.Body.(interface{ Source() string }); ok {
		source = b.Source()
	}
	body, err = io.ReadAll(resp.Body)
	return body, took, source, err
}

func (s *school) told() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return strings.Join(s.lost, "")
}

func TestWhoIsAskedAndForHowLong(t *testing.T) {
	data := noise(5000)
	tests := map[string]struct {
		place       int
		boxes       []neighbour
		source      string
		least, most time.Duration
		lost        string
		hedged      float64
	}{
		"the owner":                     {1, []neighbour{whole(data), silent}, "neighbour", 0, 0, "", 0},
		"a silent owner":                {1, []neighbour{silent, whole(data)}, "neighbour", 100 * time.Millisecond, time.Second, "a", 1},
		"only silent boxes":             {2, []neighbour{silent, silent}, "", 200 * time.Millisecond, 2 * time.Second, "ab", 1},
		"a slow owner is waited for":    {1, []neighbour{slow(data, 700*time.Millisecond), whole(data)}, "neighbour", 700 * time.Millisecond, 800 * time.Millisecond, "", 0},
		"but not for ever":              {1, []neighbour{slow(data, time.Hour), absent}, "", time.Second, 1500 * time.Millisecond, "", 1},
		"and another may have it":       {1, []neighbour{slow(data, time.Hour), whole(data)}, "neighbour", time.Second, 1500 * time.Millisecond, "", 1},
		"or be slow too":                {2, []neighbour{slow(data, time.Hour), slow(data, time.Hour), absent}, "", 2 * time.Second, 2500 * time.Millisecond, "", 2},
		"an owner that has nothing":     {1, []neighbour{absent, whole(data)}, "neighbour", 0, 0, "", 0},
		"nobody has it":                 {1, []neighbour{absent, absent}, "", 0, 0, "", 0},
		"my turn, and another has it":   {0, []neighbour{absent, whole(data)}, "neighbour", 0, 0, "", 0},
		"my turn, and nobody has it":    {0, []neighbour{absent, absent}, "", 0, 0, "", 0},
		"my turn, and one is silent":    {0, []neighbour{silent, absent}, "", time.Second, time.Second, "", 0},
		"my turn, and one works on it":  {0, []neighbour{slow(data, time.Hour)}, "", time.Second, time.Second, "", 0},
		"my turn, one silent, one fast": {0, []neighbour{silent, whole(data)}, "neighbour", 0, 0, "", 0},
		"alone":                         {0, nil, "", 0, 0, "", 0},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newSchool(t, data, tt.place, tt.boxes...)
				body, took, source, err := s.get()
				if err != nil || !bytes.Equal(body, data) || source != tt.source {
					t.Errorf("%d bytes from %q, %v; want %q", len(body), source, err, tt.source)
				}
				if took < tt.least || took > tt.most {
					t.Errorf("it took %v, want %v to %v", took, tt.least, tt.most)
				}
				if lost := s.told(); lost != tt.lost {
					t.Errorf("lost: %q, want %q", lost, tt.lost)
				}
				if want := 0; tt.source == "" {
					want = 1
					if s.a.plain != want {
						t.Errorf("the authority was asked %d times for the bytes", s.a.plain)
					}
				} else if s.a.plain != want {
					t.Errorf("the authority was asked %d times for the bytes too", s.a.plain)
				}
				if got := counter(t, s.reg, "preau_pool_hedged_total"); got != tt.hedged {
					t.Errorf("hedged %v times, want %v", got, tt.hedged)
				}
			})
		})
	}
}

// TestAnOwnerMayTakeAsLongAsTheLine: where the authority itself takes its time to
// vouch, the owner, who asks over the same line, is given more.
func TestAnOwnerMayTakeAsLongAsTheLine(t *testing.T) {
	data := noise(5000)
	for name, tt := range map[string]struct {
		line, works time.Duration
		source      string
	}{
		"a slow line, and an owner that has it in the end": {3 * time.Second, 20 * time.Second, "neighbour"},
		"a slow line, and an owner that never has it":      {3 * time.Second, time.Hour, ""},
		"a quick line, and an owner that is no quicker":    {50 * time.Millisecond, 20 * time.Second, ""},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newSchool(t, data, 1, slow(data, tt.works))
				s.a.slow = tt.line
				body, took, source, err := s.get()
				if err != nil || !bytes.Equal(body, data) || source != tt.source {
					t.Errorf("%d bytes from %q, %v; want %q", len(body), source, err, tt.source)
				}
				if most := max(9*tt.line, tt.line+1100*time.Millisecond); took > most {
					t.Errorf("it took %v, want at most %v", took, most)
				}
			})
		})
	}
}

// TestABoxThatWorksForEverIsLeftAlone: who says so for ever is asked once, and
// then less and less often; once it answers, as before.
func TestABoxThatWorksForEverIsLeftAlone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		data := noise(5000)
		asked, mended := 0, false
		s := newSchool(t, data, 1, func(ctx context.Context, say func(), req *http.Request) (*http.Response, error) {
			asked++
			if mended {
				return whole(data)(ctx, say, req)
			}
			return slow(data, time.Hour)(ctx, say, req)
		})
		waited := time.Duration(0)
		for began := time.Now(); time.Since(began) < 2*time.Minute; <-time.After(100 * time.Millisecond) {
			_, took, source, err := s.get()
			if err != nil || source != "" || took > 1500*time.Millisecond {
				t.Fatalf("from %q after %v, %v", source, took, err)
			}
			waited += took
		}
		if asked < 4 || asked > 9 || waited > 10*time.Second {
			t.Errorf("asked %d times in two minutes, for %v", asked, waited)
		}
		if got := counter(t, s.reg, "preau_pool_answers_total"); got != float64(asked) || s.told() != "" {
			t.Errorf("%v answers were counted of %d; lost %q", got, asked, s.told())
		}
		mended = true
		<-time.After(pool.DefaultConfig().RetryMax)
		for range 3 {
			if _, took, source, err := s.get(); err != nil || source != "neighbour" || took != 0 {
				t.Errorf("once it is mended, from %q after %v, %v", source, took, err)
			}
		}
	})
}

func counter(t *testing.T, reg *prometheus.Registry, name string) (sum float64) {
	t.Helper()
	families, err := reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		for _, m := range f.GetMetric() {
			if f.GetName() == name {
				sum += m.GetCounter().GetValue()
			}
		}
	}
	return sum
}

// TestABusyBoxIsNotGivenUp: others are asked beside it sooner than usual, but
// the authority is not.
func TestABusyBoxIsNotGivenUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		data := noise(5000)
		busy := time.Duration(0)
		s := newSchool(t, data, 1, func(ctx context.Context, say func(), req *http.Request) (*http.Response, error) {
			<-time.After(busy)
			return whole(data)(ctx, say, req)
		}, absent)
		for i, d := range []time.Duration{time.Millisecond, time.Millisecond, 600 * time.Millisecond} {
			busy = d
			if _, took, source, err := s.get(); err != nil || source != "neighbour" || took != d {
				t.Errorf("%d: from %q after %v, %v", i, source, took, err)
			}
		}
		if got := counter(t, s.reg, "preau_pool_hedged_total"); got != 1 || s.told() != "" {
			t.Errorf("hedged %v times, lost %q", got, s.told())
		}
	})
}

func TestASilentBoxIsLeftAloneForAWhile(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		data := noise(5000)
		asked := 0
		s := newSchool(t, data, 1, func(ctx context.Context, say func(), req *http.Request) (*http.Response, error) {
			asked++
			if asked == 1 {
				return silent(ctx, say, req)
			}
			return whole(data)(ctx, say, req)
		})
		for i, want := range []string{"", "", "neighbour", "neighbour"} {
			if i == 2 {
				<-time.After(pool.DefaultConfig().RetryAfter)
			}
			if body, _, source, err := s.get(); err != nil || !bytes.Equal(body, data) || source != want {
				t.Errorf("%d: %d bytes from %q, %v", i, len(body), source, err)
			}
		}
	})
}

// TestASlowBodyGoesOn: whoever reads sees within seconds that something comes,
// however long a block takes.
func TestASlowBodyGoesOn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		data := noise(block.Size + 1)
		s := newSchool(t, data, 1, func(ctx context.Context, _ func(), _ *http.Request) (*http.Response, error) {
			return sends(data, &trickles{ctx, bytes.NewReader(data), time.Second, 8 << 10}), nil // 64 kbit/s
		})
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://site/a", http.NoBody)
		if err != nil {
			t.Fatal(err)
		}
		resp, err := s.o.Fetch(req)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = resp.Body.Close() }()
		var body []byte
		buf := make([]byte, 32<<10)
		for err == nil {
			began := time.Now()
			var n int
			n, err = resp.Body.Read(buf)
			body = append(body, buf[:n]...)
			if took := time.Since(began); took > 10*time.Second {
				t.Fatalf("one read took %v", took)
			}
		}
		if !errors.Is(err, io.EOF) || !bytes.Equal(body, data) {
			t.Errorf("%d bytes, %v", len(body), err)
		}
	})
}

func TestABodyThatStallsIsBrokenOff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		data := noise(2*block.Size + 1)
		s := newSchool(t, data, 1, func(ctx context.Context, _ func(), _ *http.Request) (*http.Response, error) {
			body := io.MultiReader(bytes.NewReader(data[:block.Size+5]), &trickles{ctx, nil, time.Hour, 0})
			return sends(data, io.NopCloser(body)), nil
		})
		began := time.Now()
		body, _, _, err := s.get()
		if took := time.Since(began); err == nil || took != pool.DefaultConfig().BodyStall || !bytes.Equal(body, data[:block.Size]) {
			t.Errorf("%d bytes after %v, %v", len(body), took, err)
		}
		if body, _, source, err := s.get(); err != nil || !bytes.Equal(body, data) || source != "" {
			t.Errorf("then %d bytes from %q, %v", len(body), source, err)
		}
	})
}

// TestWhoLeavesBlamesNobody: a body that is closed while it is read, or whose
// request has ended, is not the neighbour's fault.
func TestWhoLeavesBlamesNobody(t *testing.T) {
	for name, leave := range map[string]func(cancel func(), body io.Closer){
		"by closing":    func(_ func(), body io.Closer) { _ = body.Close() },
		"by cancelling": func(cancel func(), _ io.Closer) { cancel() },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				data := noise(block.Size)
				s := newSchool(t, data, 1, func(ctx context.Context, _ func(), _ *http.Request) (*http.Response, error) {
					return sends(data, &trickles{ctx, bytes.NewReader(data), time.Second, 100}), nil
				})
				ctx, cancel := context.WithCancel(t.Context())
				defer cancel()
				req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://site/a", http.NoBody)
				if err != nil {
					t.Fatal(err)
				}
				resp, err := s.o.Fetch(req)
				if err != nil {
					t.Fatal(err)
				}
				time.AfterFunc(1500*time.Millisecond, func() { leave(cancel, resp.Body) })
				if n, err := io.Copy(io.Discard, resp.Body); n != 0 || err == nil {
					t.Errorf("%d bytes, %v", n, err)
				}
				_ = resp.Body.Close()
				if got := counter(t, s.reg, "preau_pool_broken_bodies_total"); got != 0 {
					t.Errorf("%v broken bodies", got)
				}
				resp, err = s.o.Fetch(req.WithContext(t.Context()))
				if err != nil {
					t.Fatal(err)
				}
				_ = resp.Body.Close()
				if _, near := resp.Body.(interface{ Source() string }); !near {
					t.Error("the neighbour is left alone")
				}
			})
		})
	}
}

// TestMemoryIsBounded: with no more of it bodies come from the authority.
func TestMemoryIsBounded(t *testing.T) {
	data := noise(block.Size)
	s := newSchool(t, data, 1, whole(data))
	var open []io.Closer
	near := 0
	for range 40 {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://site/a", http.NoBody)
		if err != nil {
			t.Fatal(err)
		}
		resp, err := s.o.Fetch(req)
		if err != nil {
			t.Fatal(err)
		}
		open = append(open, resp.Body)
		if _, ok := resp.Body.(interface{ Source() string }); ok {
			near++
		}
	}
	if near != 32 {
		t.Errorf("%d bodies from neighbours", near)
	}
	for _, b := range open {
		_ = b.Close()
		_ = b.Close() // twice does no harm
	}
	if _, _, source, err := s.get(); err != nil || source != "neighbour" {
		t.Errorf("afterwards from %q, %v", source, err)
	}
}
