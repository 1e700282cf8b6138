package hold_test

import (
	"bytes"
	"context"
	"errors"
	"net/http"
	"slices"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"preau/cache/block"
	"preau/replication/hold"
	"preau/replication/identity"
)

func TestClientPutsAsksAndGets(t *testing.T) {
	s := newServer(t, "a", newDisk(0))
	base, rt := s.listen(t)
	c := clientOf(t, "a", base+"/", asRole{identity.Server, rt})
	digests, bodies := blocks(10, 2)
	if err := c.Put(t.Context(), digests[0], bodies[0]); err != nil {
		t.Fatal(err)
	}
	missing, err := c.Missing(t.Context(), digests)
	if err != nil || !slices.Equal(missing, digests[1:]) {
		t.Errorf("Missing = %v, %v", missing, err)
	}
	if p, err := c.Get(t.Context(), digests[0], nil); err != nil || !bytes.Equal(p, bodies[0]) {
		t.Errorf("Get = %d bytes, %v", len(p), err)
	}
	if _, err := c.Get(t.Context(), digests[1], nil); !errors.Is(err, block.ErrNotFound) {
		t.Errorf("Get of a missing block: %v", err)
	}
	box := clientOf(t, "a", base, asRole{identity.Box, rt})
	if err := box.Put(t.Context(), digests[1], bodies[1]); !errors.Is(err, hold.ErrRefused) {
		t.Errorf("Put by a box: %v, want ErrRefused", err)
	}
}

func TestClientTrustsNoAnswer(t *testing.T) {
	digests, bodies := blocks(11, 2)
	d := digests[0]
	status := func(code int) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(code) }
	}
	body := func(p []byte, mediaType string) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", mediaType)
			w.Write(p)
		}
	}
	get := func(ctx context.Context, c *hold.Client) error { _, err := c.Get(ctx, d, nil); return err }
	puts := func(ctx context.Context, c *hold.Client) error { return c.Put(ctx, d, bodies[0]) }
	missing := func(ctx context.Context, c *hold.Client) error { _, err := c.Missing(ctx, digests[:1]); return err }
	tests := map[string]struct {
		answer http.HandlerFunc
		do     func(context.Context, *hold.Client) error
		want   error
		asked  int64
	}{
		"another block":            {body(bodies[1], ""), get, hold.ErrWrongBytes, 3},
		"a cut block":              {body(bodies[0][:100], ""), get, hold.ErrWrongBytes, 3},
		"no end of a block":        {body(make([]byte, 3*block.Size), ""), get, nil, 3},
		"a block in other words":   {status(204), get, hold.ErrRefused, 1},
		"kept, by a portal":        {status(200), puts, hold.ErrRefused, 1},
		"moved":                    {status(302), puts, hold.ErrRefused, 1},
		"no room":                  {status(507), puts, block.ErrNoSpace, 1},
		"hurt on the way":          {status(422), puts, hold.ErrWrongBytes, 3},
		"busy":                     {status(503), puts, nil, 3},
		"nothing missing, no list": {status(204), missing, hold.ErrRefused, 1},
		"nothing missing, a page":  {body(nil, "text/html"), missing, hold.ErrRefused, 1},
		"missing what none asked":  {body(digests[1][:], listType), missing, nil, 3},
		"half a digest":            {body(d[:16], listType), missing, nil, 3},
		"missing more than asked":  {body(append(d[:], d[:]...), listType), missing, nil, 3},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newServer(t, "a", newDisk(0))
				s.answers(tt.answer)
				err := tt.do(t.Context(), s.client(t))
				if err == nil || tt.want != nil && !errors.Is(err, tt.want) {
					t.Errorf("error = %v, want %v", err, tt.want)
				}
				if n := s.asked.Load(); n != tt.asked {
					t.Errorf("asked %d times, want %d", n, tt.asked)
				}
			})
		})
	}
}

func TestClientTriesAgainAndThenGivesUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t, "a", newDisk(0))
		digests, bodies := blocks(12, 1)
		put(t, s, bodies[0])
		var n atomic.Int64
		s.answers(func(w http.ResponseWriter, r *http.Request) {
			if n.Add(1) < 3 {
				w.WriteHeader(http.StatusServiceUnavailable)
				return
			}
			s.mux.ServeHTTP(w, r)
		})
		if _, err := s.client(t).Get(t.Context(), digests[0], nil); err != nil {
			t.Errorf("third time: %v", err)
		}
		s.silent.Store(true)
		began := time.Now()
		if _, err := s.client(t).Get(t.Context(), digests[0], nil); err == nil {
			t.Error("a silent server answered")
		}
		if took := time.Since(began); took < time.Minute || took > 2*time.Minute {
			t.Errorf("gave up after %s, want about 90 s", took)
		}
		ctx, stop := context.WithTimeout(t.Context(), time.Second)
		defer stop()
		began = time.Now()
		if _, err := s.client(t).Get(ctx, digests[0], nil); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("error = %v, want the caller's deadline", err)
		}
		if took := time.Since(began); took != time.Second {
			t.Errorf("returned after %s, want 1s", took)
		}
	})
}

// A server that answers before it has read the request leaves the transport
// reading: the bytes must be the caller's again all the same. The race detector
// is the judge.
func TestBytesAreTheCallersAgainAfterPut(t *testing.T) {
	s := newServer(t, "a", newDisk(0))
	s.answers(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusInsufficientStorage) })
	base, rt := s.listen(t)
	c := clientOf(t, "a", base, asRole{identity.Server, rt})
	p := make([]byte, block.Size)
	for i := range 20 {
		clear(p)
		p[0] = byte(i)
		if err := c.Put(t.Context(), block.Sum(p), p); err == nil {
			t.Fatal("put on a full disk")
		}
	}
}

func TestClientRefusesWhatIsNoServer(t *testing.T) {
	for _, base := range []string{"", "ftp://a", "https://", "https://a?x=1", "https://u:p@a", "://"} {
		if _, err := hold.NewClient("a", base, http.NewFileTransport(http.Dir("."))); err == nil {
			t.Errorf("base %q was taken", base)
		}
	}
}
