package follow

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"preau/cache/block"
	"preau/replication/catalogue"
	"preau/replication/identity"
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
	over := addTo(t, box, "over", "e")
	kept := agreed(early)
	kept.Kept, kept.Bucket, kept.Key = true, "bucket", "school/early"
	c.apply(t, record(t, kept))
	f.Bring(box)
	if err := f.learnDeposits(box, false); err != nil {
		t.Fatal(err)
	}
	waiting := agreed(late)
	waiting.Waiting = "the centre is full"
	others := agreed(foreign)
	others.Box, others.Title = "box-b", "it has words of its own"
	taken := agreed(over)
	taken.Box = "box-b"
	swapped := agreed(other)
	swapped.SHA256 = block.Sum([]byte("something else"))
	swapped.Kept, swapped.Bucket, swapped.Key = true, "bucket", "k"
	c.apply(t, record(t, waiting), record(t, others), record(t, swapped), record(t, taken))
	for _, want := range []struct {
		id      string
		state   outbox.State
		waiting string
	}{
		{early.ID, outbox.InCentral, ""}, {late.ID, outbox.InRegion, "the centre is full"},
		{over.ID, outbox.InRegion, ""},
		{foreign.ID, outbox.OnBox, ""}, {other.ID, outbox.OnBox, ""},
	} {
		d, err := box.Get(want.id)
		if err != nil || d.State != want.state || d.Waiting != want.waiting {
			t.Errorf("%s: %s %q %v, want %s %q", d.Filename, d.State, d.Waiting, err, want.state, want.waiting)
		}
	}
}

// A copy that is kept for another box is given up once the region has what it is
// a copy of, and for nothing less.
func TestACopyGoesWhenTheRegionHasTheDeposit(t *testing.T) {
	f, c := opened(t)
	f.added = newBringing()
	theirs, box := newOutbox(t), newOutbox(t)
	early, late, other := addTo(t, theirs, "early", ""), addTo(t, theirs, "late", ""), addTo(t, theirs, "other", "")
	for _, d := range []outbox.Deposit{early, late, other} {
		if _, _, err := box.Offered(t.Context(), "box-b", d, nil); err != nil {
			t.Fatal(err)
		}
		if err := box.KeepGuest(t.Context(), "box-b", d.ID); err != nil {
			t.Fatal(err)
		}
	}
	by := func(d outbox.Deposit, box, title string) catalogue.Record {
		r := agreed(d)
		r.Box, r.Title = box, title
		return record(t, r)
	}
	c.apply(t, by(early, "box-b", ""))
	f.Bring(box)
	if err := f.learnDeposits(box, true); err != nil {
		t.Fatal(err)
	}
	c.apply(t, by(late, "box-c", ""), by(other, "box-c", "forged"))
	if left := box.Guests(); len(left) != 1 || left[0].ID != other.ID {
		t.Errorf("%+v are left", left)
	}
}

func TestABoxThatWasRevokedIsKnown(t *testing.T) {
	f, c := opened(t)
	c.apply(t, record(t, catalogue.Revocation{Role: identity.Box, Name: "box-b", School: school}),
		record(t, catalogue.Revocation{Role: identity.Server, Name: "box-c"}))
	for name, want := range map[string]bool{"box-a": false, "box-b": true, "box-c": false} {
		if f.Revoked(name) != want {
			t.Errorf("%s: %v", name, !want)
		}
	}
	c.apply(t, gone(catalogue.KindRevocation, catalogue.RevocationID(identity.Box, "box-b")))
	if f.Revoked("box-b") {
		t.Error("it stays revoked")
	}
}

// Whoever has taken a deposit's id keeps it from nothing.
func TestADepositWhoseIDIsTakenGetsAnother(t *testing.T) {
	s := &fakeServers{blocks: map[string]map[block.Digest]bool{}}
	commits := 0
	s.answer = func(_, what string) (int, string) {
		if what == "commit" {
			if commits++; commits == 1 {
				return http.StatusConflict, `{"code":"taken","detail":"there is another deposit of that id"}`
			}
		}
		return 0, ""
	}
	taking(t, s, func(t *testing.T, box *outbox.Outbox, _ *atomic.Bool) {
		t.Helper()
		d := addTo(t, box, "f", "content")
		<-time.After(time.Minute)
		if got := has(t, box, d.ID); got.State != outbox.InRegion || got.As == "" || got.As == d.ID || commits != 2 {
			t.Errorf("%+v after %d commits", got, commits)
		}
	})
}

// A region that was set back may know nothing of deposits that it had agreed
// on. Their boxes have them still, and bring them again.
func TestADepositThatTheRegionHasLostIsBroughtAgain(t *testing.T) {
	f, c := opened(t)
	f.added = newBringing()
	box := newOutbox(t)
	lost, never, stays, safe := addTo(t, box, "gone", "a"), addTo(t, box, "never", "b"), addTo(t, box, "stays", "c"), addTo(t, box, "safe", "d")
	f.Bring(box)
	kept := agreed(safe)
	kept.Kept, kept.Bucket, kept.Key = true, "bucket", "school/safe"
	c.apply(t, record(t, agreed(lost)), record(t, agreed(stays)), record(t, kept))
	if err := box.Learn(never.ID, outbox.InRegion, "", "", "", ""); err != nil {
		t.Fatal(err)
	}
	state := func(of outbox.Deposit, want outbox.State) {
		t.Helper()
		if d, err := box.Get(of.ID); err != nil || d.State != want {
			t.Errorf("%s: %s, %v, want %s", of.Filename, d.State, err, want)
		}
	}
	state(lost, outbox.InRegion)
	// The feed's next snapshot has neither of these two.
	c.apply(t, gone(catalogue.KindDeposit, lost.ID), gone(catalogue.KindDeposit, safe.ID))
	state(lost, outbox.OnBox)
	state(never, outbox.InRegion) // the feed says nothing of what it never had
	state(safe, outbox.InCentral)
	if err := f.learnDeposits(box, true); err != nil { // as at a start
		t.Fatal(err)
	}
	state(never, outbox.OnBox)
	state(stays, outbox.InRegion)
	state(safe, outbox.InCentral)
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
func taking(t *testing.T, s *fakeServers, fn func(t *testing.T, box *outbox.Outbox, connected *atomic.Bool)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		box := newOutbox(t)
		p := newParents(nil)
		var servers []catalogue.Server
		for i := range 3 {
			name := fmt.Sprintf("s%d", i+1)
			servers = append(servers, catalogue.Server{Name: name})
			p.open[name] = &way{}
		}
		p.servers = servers
		var connected atomic.Bool
		connected.Store(true)
		taker := newDepositTaker(p, "box-a", connected.Load, func() bool { return true }, func(string) bool { return false })
		taker.trip = func(to ranked, r *http.Request) (*http.Response, error) { return s.trip(to.name, r) }
		ctx, stop := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- box.Run(ctx, taker) }()
		fn(t, box, &connected)
		stop()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}

var errBroken = errors.New("the connection broke")

// trip is a request without a network.
func (s *fakeServers) trip(server string, r *http.Request) (resp *http.Response, err error) {
	if r.Context().Err() != nil {
		return nil, r.Context().Err()
	}
	defer func() {
		if p := recover(); p != nil {
			resp, err = nil, errBroken
		}
	}()
	w := httptest.NewRecorder()
	s.serve(server).ServeHTTP(w, r)
	return w.Result(), nil
}

func has(t *testing.T, box *outbox.Outbox, id string) outbox.Deposit {
	t.Helper()
	d, err := box.Get(id)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// A deposit whose server breaks in the middle goes to another, whole.
func TestADepositGoesToAnotherServerWhenItsOwnFails(t *testing.T) {
	s := &fakeServers{blocks: map[string]map[block.Digest]bool{}}
	dead, puts := "", 0
	s.answer = func(server, what string) (int, string) {
		if what == "put" {
			if puts++; puts == 2 {
				dead = server
			}
		}
		if server == dead {
			return -1, ""
		}
		return 0, ""
	}
	taking(t, s, func(t *testing.T, box *outbox.Outbox, _ *atomic.Bool) {
		t.Helper()
		d := addTo(t, box, "f", string(bytes.Repeat([]byte("0123456789abcdef"), 300<<10)))
		<-time.After(time.Minute)
		if got := has(t, box, d.ID); got.State != outbox.InRegion {
			t.Errorf("%s %q", got.State, got.Waiting)
		}
		if len(s.commits) != 1 || s.commits[0] == dead || dead == "" || !s.blocks[s.commits[0]][d.List] {
			t.Errorf("agreed on by %v, dead is %q", s.commits, dead)
		}
	})
}

func TestARefusalIsTheReasonThatADepositWaitsFor(t *testing.T) {
	for name, tt := range map[string]struct {
		what   string
		status int
		body   string
		want   string
	}{
		"quota":    {"commit", 507, `{"code":"full","detail":"the school has too much waiting"}`, "the school has too much waiting"},
		"all full": {"put", 507, `{"code":"full","detail":"the disk is full"}`, "the disk is full"},
		"revoked":  {"missing", 403, ``, "403 Forbidden"},
		"down":     {"missing", 500, ``, "the region can't be reached"},
		"gone":     {"commit", 409, `{"code":"missing","detail":"3 blocks are not here"}`, "the region can't be reached"},
	} {
		t.Run(name, func(t *testing.T) {
			s := &fakeServers{blocks: map[string]map[block.Digest]bool{}}
			var well atomic.Bool
			s.answer = func(_, what string) (int, string) {
				if what == tt.what && !well.Load() {
					return tt.status, tt.body
				}
				return 0, ""
			}
			taking(t, s, func(t *testing.T, box *outbox.Outbox, _ *atomic.Bool) {
				t.Helper()
				d := addTo(t, box, "f", "content")
				<-time.After(time.Minute)
				if got := has(t, box, d.ID); got.State != outbox.OnBox || got.Waiting != tt.want {
					t.Errorf("%s %q, want %q", got.State, got.Waiting, tt.want)
				}
				well.Store(true)
				<-time.After(time.Hour) // full servers are asked again
				if got := has(t, box, d.ID); got.State != outbox.InRegion || got.Waiting != "" {
					t.Errorf("it does not go on by itself: %s %q", got.State, got.Waiting)
				}
			})
		})
	}
}

// A long cut is no row of failures: a deposit goes on as soon as there is a line.
func TestADepositGoesOnAsSoonAsThereIsALine(t *testing.T) {
	s := &fakeServers{blocks: map[string]map[block.Digest]bool{}}
	taking(t, s, func(t *testing.T, box *outbox.Outbox, connected *atomic.Bool) {
		t.Helper()
		connected.Store(false)
		d := addTo(t, box, "f", "content")
		<-time.After(24*time.Hour + time.Millisecond)
		if got := has(t, box, d.ID); got.State != outbox.OnBox {
			t.Errorf("without a line: %s", got.State)
		}
		connected.Store(true)
		<-time.After(2 * connectedEvery)
		if got := has(t, box, d.ID); got.State != outbox.InRegion {
			t.Errorf("with a line: %s %q", got.State, got.Waiting)
		}
	})
}
