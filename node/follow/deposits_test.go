package follow

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"preau/cache/block"
	"preau/node/control/controltest"
	"preau/replication/catalogue"
	"preau/replication/outbox"
)

func newOutbox(t *testing.T) *outbox.Outbox {
	t.Helper()
	box, err := outbox.Open(outbox.Config{Dir: t.TempDir()}, slog.New(slog.DiscardHandler), prometheus.NewRegistry())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := box.Close(); err != nil {
			t.Error(err)
		}
	})
	return box
}

func addTo(t *testing.T, box *outbox.Outbox, name, content string) outbox.Deposit {
	t.Helper()
	d, err := box.Add(t.Context(), bytes.NewReader([]byte(content)), int64(len(content)), outbox.Words{Filename: name})
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func agreed(d outbox.Deposit) catalogue.Deposit {
	return catalogue.Deposit{
		ID: d.ID, School: school, Box: "box-a", Filename: d.Filename, ContentType: d.ContentType, At: d.At,
		Length: d.Length, SHA256: d.SHA256, Manifest: d.List, Listed: d.Length > 0,
	}
}

// What the region says of a deposit reaches it by the feed and, if it was said
// before there was an outbox, by the copy. What it says of others' does not.
func TestDepositsLearnWhatBecameOfThem(t *testing.T) {
	f, c := opened(t)
	f.added = newBringing()
	box := newOutbox(t)
	early, late, foreign, other := addTo(t, box, "early", "a"), addTo(t, box, "late", "b"), addTo(t, box, "foreign", "c"), addTo(t, box, "other", "d")
	kept := agreed(early)
	kept.Kept, kept.Bucket, kept.Key = true, "bucket", "school/early"
	c.apply(t, record(t, kept))
	f.Bring(box)
	if err := f.learnDeposits(box); err != nil {
		t.Fatal(err)
	}
	waiting := agreed(late)
	waiting.Waiting = "the centre is full"
	others := agreed(foreign)
	others.Box = "box-b"
	swapped := agreed(other)
	swapped.SHA256 = block.Sum([]byte("something else"))
	swapped.Kept, swapped.Bucket, swapped.Key = true, "bucket", "k"
	c.apply(t, record(t, waiting), record(t, others), record(t, swapped))
	for _, want := range []struct {
		id      string
		state   outbox.State
		waiting string
	}{
		{early.ID, outbox.InCentral, ""}, {late.ID, outbox.InRegion, "the centre is full"},
		{foreign.ID, outbox.OnBox, ""}, {other.ID, outbox.OnBox, ""},
	} {
		d, err := box.Get(want.id)
		if err != nil || d.State != want.state || d.Waiting != want.waiting {
			t.Errorf("%s: %s %q %v, want %s %q", d.Filename, d.State, d.Waiting, err, want.state, want.waiting)
		}
	}
}

// fakeServers are servers of a region that keep blocks apart from one another,
// as their shelves do.
type fakeServers struct {
	mu      sync.Mutex
	blocks  map[string]map[block.Digest]bool
	commits []string
	answer  func(server, what string) (status int, body string) // 0: go on
}

func (s *fakeServers) serve(server string) http.Handler {
	say := func(w http.ResponseWriter, what string) bool {
		s.mu.Lock()
		defer s.mu.Unlock()
		if s.answer == nil {
			return false
		}
		status, body := s.answer(server, what)
		if status == -1 {
			panic(http.ErrAbortHandler)
		}
		if status != 0 {
			w.WriteHeader(status)
			_, _ = fmt.Fprint(w, body)
		}
		return status != 0
	}
	mux := http.NewServeMux()
	mux.HandleFunc("POST /v1/deposits/missing", func(w http.ResponseWriter, r *http.Request) {
		var b bytes.Buffer
		_, _ = b.ReadFrom(r.Body)
		if say(w, "missing") {
			return
		}
		s.mu.Lock()
		defer s.mu.Unlock()
		for p := b.Bytes(); len(p) >= 32; p = p[32:] {
			if !s.blocks[server][block.Digest(p[:32])] {
				_, _ = w.Write(p[:32])
			}
		}
	})
	mux.HandleFunc("PUT /v1/deposits/blocks/{digest}", func(w http.ResponseWriter, r *http.Request) {
		var b bytes.Buffer
		_, _ = b.ReadFrom(r.Body)
		d, err := block.ParseDigest(r.PathValue("digest"))
		if err != nil || block.Sum(b.Bytes()) != d {
			w.WriteHeader(http.StatusUnprocessableEntity)
			return
		}
		if say(w, "put") {
			return
		}
		s.mu.Lock()
		defer s.mu.Unlock()
		if s.blocks[server] == nil {
			s.blocks[server] = map[block.Digest]bool{}
		}
		s.blocks[server][d] = true
		w.WriteHeader(http.StatusNoContent)
	})
	mux.HandleFunc("POST /v1/deposits", func(w http.ResponseWriter, _ *http.Request) {
		if say(w, "commit") {
			return
		}
		s.mu.Lock()
		defer s.mu.Unlock()
		s.commits = append(s.commits, server)
	})
	return mux
}

// taking runs fn with an outbox that brings its deposits to three servers.
func taking(t *testing.T, s *fakeServers, fn func(box *outbox.Outbox, connected *atomic.Bool)) {
	t.Helper()
	box := newOutbox(t)
	synctest.Test(t, func(t *testing.T) {
		p := newParents(nil)
		var servers []catalogue.Server
		for i := range 3 {
			name := fmt.Sprintf("s%d", i+1)
			servers = append(servers, catalogue.Server{Name: name})
			p.open[name] = &way{rt: inProcess(s.serve(name))}
		}
		p.servers = servers
		var connected atomic.Bool
		connected.Store(true)
		taker := newDepositTaker(p, "box-a", connected.Load, func() bool { return true })
		ctx, stop := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- box.Run(ctx, taker) }()
		fn(box, &connected)
		stop()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}
