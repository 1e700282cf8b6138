package hold_test

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"preau/cache/block"
	"preau/replication/hold"
	"preau/replication/identity"
)

func ensure(t *testing.T, ctx context.Context, servers []*server, digests []block.Digest, need int) error { //nolint:revive // t comes first in helpers
	t.Helper()
	r, err := hold.NewReplicator(servers[0].shelf, peersOf(t, servers[1:]...))
	if err != nil {
		t.Fatal(err)
	}
	return r.Ensure(ctx, digests, need)
}

func TestEveryBlockReachesAMajority(t *testing.T) {
	digests, bodies := blocks(40, 50)
	twice := append(digests, digests[7], digests[3])
	tests := map[string]struct {
		servers, need int
		fault         func(s []*server)
	}{
		"three":                   {3, 2, func([]*server) {}},
		"three, one down":         {3, 2, func(s []*server) { s[1].down.Store(true) }},
		"three, one silent":       {3, 2, func(s []*server) { s[2].silent.Store(true) }},
		"three, one full":         {3, 2, func(s []*server) { s[1].disk.set(func(d *disk) { d.putErr = block.ErrNoSpace }) }},
		"three, one in pieces":    {3, 2, func(s []*server) { s[2].mute.Store(true) }},
		"five":                    {5, 3, func([]*server) {}},
		"five, two gone":          {5, 3, func(s []*server) { s[1].down.Store(true); s[4].silent.Store(true) }},
		"everywhere":              {3, 3, func([]*server) {}},
		"alone":                   {1, 1, func([]*server) {}},
		"here only, others dead":  {3, 1, func(s []*server) { s[1].silent.Store(true); s[2].silent.Store(true) }},
		"some there already":      {3, 2, func(s []*server) { place(t, s[1].disk, bodies[:20]...) }},
		"one of ours was damaged": {3, 2, func(s []*server) { place(t, s[2].disk, bodies[4]); s[0].disk.Damage(digests[4]) }},
		"one of theirs was damaged": {3, 2, func(s []*server) {
			place(t, s[2].disk, bodies[4])
			place(t, s[1].disk, bodies[4])
			s[1].disk.Damage(digests[4])
			s[2].disk.Damage(digests[4])
		}},
		"one of ours was lost": {3, 2, func(s []*server) { place(t, s[2].disk, bodies[4]); s[0].disk.Drop(digests[4]) }},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				servers := region(t, tt.servers)
				place(t, servers[0].disk, bodies...)
				tt.fault(servers)
				began := time.Now()
				if err := ensure(t, t.Context(), servers, twice, tt.need); err != nil {
					t.Fatal(err)
				}
				if took := time.Since(began); took > 5*time.Second {
					t.Errorf("took %s", took)
				}
				for i, d := range digests {
					if _, err := servers[0].shelf.Read(d, nil); err != nil {
						t.Errorf("block %d: %v", i, err)
					}
					for _, s := range servers {
						_, _ = s.shelf.Read(d, nil) // a damaged copy is none
					}
					if n := copiesOf(d, servers); n < tt.need {
						t.Errorf("block %d is on %d servers, want %d", i, n, tt.need)
					}
				}
			})
		})
	}
}

func TestNoMoreIsSentThanIsNeeded(t *testing.T) {
	servers := region(t, 5)
	digests, bodies := blocks(41, 40)
	put(t, servers[0], bodies...)
	if err := ensure(t, t.Context(), servers, digests, 3); err != nil {
		t.Fatal(err)
	}
	sent := 0
	for _, s := range servers[1:] {
		sent += s.disk.Puts()
		if s.disk.Puts() == 0 {
			t.Errorf("server %s got nothing: the load is not shared", s.name)
		}
	}
	if sent != 2*len(digests) {
		t.Errorf("%d blocks sent, want %d", sent, 2*len(digests))
	}
	for _, s := range servers {
		s.asked.Store(0)
	}
	if err := ensure(t, t.Context(), servers, digests, 1); err != nil {
		t.Fatal(err)
	}
	if err := ensure(t, t.Context(), servers, nil, 3); err != nil {
		t.Fatal(err)
	}
	for _, s := range servers {
		if n := s.asked.Load(); n != 0 {
			t.Errorf("server %s was asked %d times for nothing", s.name, n)
		}
	}
}

func TestTooFewCopiesAreAnErrorThatSaysWho(t *testing.T) {
	digests, bodies := blocks(42, 30)
	tests := map[string]struct {
		fault  func(s []*server)
		copies int
		short  int
		failed []string
		is     error
		local  bool
	}{
		"all down":      {func(s []*server) { s[1].down.Store(true); s[2].down.Store(true) }, 1, 30, []string{"b", "c"}, nil, false},
		"one is left":   {func(s []*server) { s[1].down.Store(true) }, 2, 30, []string{"b"}, nil, false},
		"full":          {func(s []*server) { s[2].disk.set(func(d *disk) { d.putErr = block.ErrNoSpace }) }, 2, 30, []string{"c"}, block.ErrNoSpace, false},
		"nobody has it": {func(s []*server) { s[0].disk.Drop(digests[3]) }, 0, 1, nil, block.ErrNotFound, true},
		"not let in": {func(s []*server) {
			s[1].answers(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(403) })
		}, 2, 30, []string{"b"}, hold.ErrRefused, false},
		"ours is broken": {func(s []*server) { s[0].disk.set(func(d *disk) { d.openErr = errors.New("input/output error") }) }, 0, 30, nil, nil, true},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				servers := region(t, 3)
				put(t, servers[0], bodies...)
				tt.fault(servers)
				err := ensure(t, t.Context(), servers, digests, 3)
				short, ok := errors.AsType[*hold.ShortError](err)
				if !ok {
					t.Fatalf("error = %v, want a ShortError", err)
				}
				if short.Copies != tt.copies || short.Short != tt.short || short.Of != 30 || short.Need != 3 || (short.Local != nil) != tt.local {
					t.Errorf("error = %+v", short)
				}
				var failed []string
				for _, f := range short.Failed {
					failed = append(failed, f.Server)
				}
				if strings.Join(failed, " ") != strings.Join(tt.failed, " ") {
					t.Errorf("failed = %q, want %q", failed, tt.failed)
				}
				if tt.is != nil && !errors.Is(err, tt.is) {
					t.Errorf("error = %v, want %v in it", err, tt.is)
				}
				for _, name := range tt.failed {
					if !strings.Contains(err.Error(), "server "+name) {
						t.Errorf("error %q does not name server %s", err, name)
					}
				}
			})
		})
	}
}

func TestEnsureEndsWithItsContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		servers := region(t, 3)
		digests, bodies := blocks(43, 3)
		put(t, servers[0], bodies...)
		servers[1].silent.Store(true)
		servers[2].silent.Store(true)
		gone := errors.New("operator gone")
		ctx, stop := context.WithTimeoutCause(t.Context(), time.Second, gone)
		defer stop()
		began := time.Now()
		if err := ensure(t, ctx, servers, digests, 2); !errors.Is(err, gone) {
			t.Errorf("error = %v, want the cause", err)
		}
		if took := time.Since(began); took != time.Second {
			t.Errorf("took %s after its context's second", took)
		}
	})
	for _, need := range []int{0, -1} {
		if err := ensure(t, t.Context(), region(t, 1), []block.Digest{{1}}, need); err == nil {
			t.Errorf("need %d was taken", need)
		}
	}
	if err := ensure(t, t.Context(), region(t, 1), []block.Digest{{}}, 1); err == nil {
		t.Error("a zero digest was taken")
	}
}

func TestFewBlocksAreOnTheWayAtOnce(t *testing.T) {
	servers := region(t, 3)
	var under, most atomic.Int64
	together := make(chan struct{}) // closed once there are two
	var two sync.Once
	for _, s := range servers[1:] {
		s.answers(func(w http.ResponseWriter, r *http.Request) {
			if r.Method == http.MethodPut {
				n := under.Add(1)
				defer under.Add(-1)
				if n > 1 {
					two.Do(func() { close(together) })
				}
				select {
				case <-together:
				case <-r.Context().Done(): // they come one by one
				}
				for m := most.Load(); n > m && !most.CompareAndSwap(m, n); m = most.Load() {
				}
			}
			s.mux.ServeHTTP(w, r)
		})
	}
	var clients []*hold.Client
	for _, s := range servers[1:] {
		base, rt := s.listen(t)
		clients = append(clients, clientOf(t, s.name, base, asRole{identity.Server, rt}))
	}
	digests, bodies := blocks(44, 200)
	put(t, servers[0], bodies...)
	r, err := hold.NewReplicator(servers[0].shelf, func() []*hold.Client { return clients })
	if err != nil {
		t.Fatal(err)
	}
	if err := r.Ensure(t.Context(), digests, 3); err != nil {
		t.Fatal(err)
	}
	if n := most.Load(); n > 8 || n < 2 {
		t.Errorf("%d blocks on the way at once, want 2 to 8", n)
	}
	for _, d := range digests {
		if n := copiesOf(d, servers); n != 3 {
			t.Fatalf("a block is on %d servers, want 3", n)
		}
	}
}
