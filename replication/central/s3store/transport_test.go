package s3store

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptrace"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// line is a connection and a server whose every step takes as long as the test
// says. It gives up when its request's context ends, as http.Transport does.
type line struct {
	queue, answer time.Duration
	take          []time.Duration // before each byte that is taken of the request
	give          []time.Duration // before each byte of the answer
}

func pause(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (l *line) RoundTrip(req *http.Request) (*http.Response, error) {
	ctx := req.Context()
	if err := pause(ctx, l.queue); err != nil {
		return nil, err
	}
	httptrace.ContextClientTrace(ctx).GotConn(httptrace.GotConnInfo{})
	for _, d := range l.take {
		if _, err := req.Body.Read(make([]byte, 1)); err != nil {
			break
		}
		if err := pause(ctx, d); err != nil {
			return nil, err
		}
	}
	if req.Body != nil {
		if _, err := io.Copy(io.Discard, req.Body); err != nil {
			return nil, err
		}
		if err := req.Body.Close(); err != nil {
			return nil, err
		}
	}
	if err := pause(ctx, l.answer); err != nil {
		return nil, err
	}
	return &http.Response{StatusCode: 200, Header: http.Header{}, Body: &slowly{ctx: ctx, before: l.give}}, nil
}

// slowly is a body of as many bytes as there are pauses before them.
type slowly struct {
	ctx    context.Context
	before []time.Duration
}

func (s *slowly) Read(p []byte) (int, error) {
	if len(s.before) == 0 {
		return 0, io.EOF
	}
	if err := pause(s.ctx, s.before[0]); err != nil {
		return 0, err
	}
	s.before = s.before[1:]
	p[0] = 'x'
	return 1, nil
}

func (s *slowly) Close() error { return nil }

func TestDeadlines(t *testing.T) {
	const s = time.Second
	limits := Timeouts{Connect: 5 * s, Queue: 30 * s, Answer: 15 * s, Complete: 60 * s, Stall: 20 * s}
	body := func(pauses ...time.Duration) *slowly { return &slowly{before: pauses} }
	tests := map[string]struct {
		line  line
		body  *slowly // of the request
		url   string
		until time.Duration // when it ends, with an error if late
		late  string
	}{
		"all goes well":                    {line{queue: s, answer: 2 * s, give: []time.Duration{s, s}}, nil, "/b/k", 5 * s, ""},
		"just in time":                     {line{queue: 39 * s, answer: 14 * s, give: []time.Duration{19 * s, 19 * s}}, nil, "/b/k", 91 * s, ""},
		"no connection":                    {line{queue: 41 * s}, nil, "/b/k", 40 * s, "connection"},
		"no answer":                        {line{queue: s, answer: 16 * s}, nil, "/b/k", 16 * s, "answer"},
		"no answer to a body":              {line{answer: 16 * s}, body(), "/b/k", 15 * s, "answer"},
		"bytes taken slowly":               {line{take: []time.Duration{19 * s, 19 * s, 19 * s}}, body(0, 0, 0, 0), "/b/k", 57 * s, ""},
		"bytes not taken":                  {line{take: []time.Duration{19 * s, 21 * s}}, body(0, 0, 0, 0), "/b/k", 39 * s, "take a byte"},
		"a body that is itself slow":       {line{answer: s}, body(100*s, 100*s), "/b/k", 201 * s, ""},
		"an answer that stops":             {line{give: []time.Duration{s, 21 * s}}, nil, "/b/k", 21 * s, "send a byte"},
		"completing takes longer":          {line{answer: 59 * s}, body(), "/b/k?uploadId=1", 59 * s, ""},
		"completing does not take forever": {line{answer: 61 * s}, body(), "/b/k?uploadId=1", 60 * s, "answer"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				web := &transport{base: &tt.line, t: limits}
				method := http.MethodGet
				var r io.Reader
				if tt.body != nil {
					tt.body.ctx = t.Context()
					method, r = http.MethodPost, tt.body
				}
				req, err := http.NewRequestWithContext(t.Context(), method, "http://x"+tt.url, r)
				if err != nil {
					t.Fatal(err)
				}
				began := time.Now()
				resp, err := web.RoundTrip(req)
				if err == nil {
					_, err = io.Copy(io.Discard, resp.Body)
					if closeErr := resp.Body.Close(); closeErr != nil {
						t.Error(closeErr)
					}
				}
				if took := time.Since(began); took != tt.until {
					t.Errorf("ended after %v, want %v", took, tt.until)
				}
				switch {
				case tt.late == "" && err != nil:
					t.Errorf("%v, want no error", err)
				case tt.late != "" && (!errors.Is(err, errLate) || !strings.Contains(err.Error(), tt.late)):
					t.Errorf("%v, want %v for not being able to %s", err, errLate, tt.late)
				}
			})
		})
	}
}

// A reader that takes its time is no server that hangs.
func TestReadersMayPause(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		web := &transport{base: &line{give: []time.Duration{0, 0}}, t: DefaultConfig().Timeouts}
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://x/b/k", nil)
		if err != nil {
			t.Fatal(err)
		}
		resp, err := web.RoundTrip(req)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		if _, err := io.ReadFull(resp.Body, make([]byte, 1)); err != nil {
			t.Fatal(err)
		}
		if err := pause(t.Context(), time.Hour); err != nil {
			t.Fatal(err)
		}
		if _, err := io.ReadFull(resp.Body, make([]byte, 1)); err != nil {
			t.Errorf("after an hour's pause: %v", err)
		}
	})
}
