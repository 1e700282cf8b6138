//go:build system && linux

package s3store_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"runtime"
	"sync"
	"testing"
	"time"

	"preau/replication/central/cephtest"
	"preau/replication/central/s3store"
	"preau/replication/central/store"
	"preau/replication/central/storetest"
)

func cephConfig(c *cephtest.Cluster) s3store.Config {
	cfg := s3store.DefaultConfig()
	cfg.Endpoint, cfg.Region = c.Endpoint, c.Region
	cfg.Keys = func(context.Context) (s3store.Key, error) {
		return s3store.Key{ID: c.AccessKey, Secret: c.SecretKey}, nil
	}
	return cfg
}

func wait(t *testing.T, d time.Duration) {
	t.Helper()
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-t.Context().Done():
	}
}

func TestCeph(t *testing.T) {
	c := cephtest.Start(t, 1)
	storetest.Run(t, func(t *testing.T) store.Store {
		t.Helper()
		return open(t, cephConfig(c))
	})

	t.Run("wrong keys", func(t *testing.T) {
		cfg := cephConfig(c)
		cfg.Keys = func(context.Context) (s3store.Key, error) { return s3store.Key{ID: "nobody", Secret: "x"}, nil }
		if err := open(t, cfg).MakeBucket(t.Context(), bucket); !errors.Is(err, store.ErrDenied) {
			t.Errorf("an unknown key: %v, want ErrDenied", err)
		}
		cfg.Keys = func(context.Context) (s3store.Key, error) { return s3store.Key{ID: c.AccessKey, Secret: "x"}, nil }
		s := open(t, cfg)
		if err := s.MakeBucket(t.Context(), bucket); !errors.Is(err, store.ErrDenied) {
			t.Errorf("a wrong secret: %v, want ErrDenied", err)
		}
		if err := put(t.Context(), s, "k", storetest.Bytes(1, 8<<20), store.Condition{}); !errors.Is(err, store.ErrDenied) {
			t.Errorf("a wrong secret, with a large body: %v, want ErrDenied", err)
		}
	})
	t.Run("a full quota", func(t *testing.T) { quota(t, c) })
	t.Run("a radosgw that is killed", func(t *testing.T) { killed(t, c) })
	t.Run("a radosgw that blocks", func(t *testing.T) { paused(t, c) })
}

func quota(t *testing.T, c *cephtest.Cluster) {
	t.Helper()
	s := open(t, cephConfig(c))
	if err := s.MakeBucket(t.Context(), bucket); err != nil {
		t.Fatal(err)
	}
	if err := c.SetQuota(t.Context(), bucket, 4<<20); err != nil {
		t.Fatal(err)
	}
	if err := put(t.Context(), s, "fits", storetest.Bytes(1, 1<<20), store.Condition{}); err != nil {
		t.Errorf("Put below the quota: %v", err)
	}
	for _, n := range []int{5 << 20, 20 << 20} {
		if err := put(t.Context(), s, "big", storetest.Bytes(2, n), store.Condition{}); !errors.Is(err, store.ErrFull) {
			t.Errorf("Put of %d bytes over the quota: %v, want ErrFull", n, err)
		}
		if _, err := s.Head(t.Context(), bucket, "big"); !errors.Is(err, store.ErrNotFound) {
			t.Errorf("after it was refused: %v, want ErrNotFound", err)
		}
	}
	id, err := s.Begin(t.Context(), bucket, "parts", store.Options{})
	if err != nil {
		t.Fatal(err)
	}
	p := storetest.Bytes(3, store.MinPart)
	if _, err := s.PutPart(t.Context(), bucket, "parts", id, 1, bytes.NewReader(p), int64(len(p))); !errors.Is(err, store.ErrFull) {
		t.Errorf("PutPart over the quota: %v, want ErrFull", err)
	}
	if err := c.SetQuota(t.Context(), bucket, -1); err != nil {
		t.Fatal(err)
	}
	// It goes on by itself once there is room.
	deadline := time.Now().Add(time.Minute)
	for {
		_, err := s.PutPart(t.Context(), bucket, "parts", id, 1, bytes.NewReader(p), int64(len(p)))
		if err == nil {
			break
		}
		if !errors.Is(err, store.ErrFull) || time.Now().After(deadline) {
			t.Fatalf("PutPart after the quota was taken away: %v", err)
		}
		wait(t, 100*time.Millisecond)
	}
}

// writers puts objects until stop is closed, and returns those that were
// acknowledged and the slowest answer.
type writers struct {
	stop chan struct{}
	all  sync.WaitGroup

	mu      sync.Mutex
	kept    map[string][]byte
	failed  int
	slowest time.Duration
}

func write(t *testing.T, s store.Store, name string) *writers {
	t.Helper()
	w := &writers{stop: make(chan struct{}), kept: map[string][]byte{}}
	for n := range 8 {
		w.all.Go(func() {
			for i := 0; ; i++ {
				select {
				case <-w.stop:
					return
				default:
				}
				key := fmt.Sprintf("%s/%d/%d", name, n, i)
				p := storetest.Bytes(uint64(n*1_000_000+i), 1000+(i%3)*(1<<20))
				began := time.Now()
				err := put(t.Context(), s, key, p, store.Condition{})
				took := time.Since(began)
				w.mu.Lock()
				w.slowest = max(w.slowest, took)
				switch {
				case err == nil:
					w.kept[key] = p
				case errors.Is(err, store.ErrUnavailable):
					w.failed++
				default:
					t.Errorf("Put %q: %v, want nothing or ErrUnavailable", key, err)
				}
				w.mu.Unlock()
				// Often enough that there are always some under way.
				pause := 20 * time.Millisecond
				if err != nil {
					pause = 100 * time.Millisecond
				}
				wait(t, pause)
			}
		})
	}
	return w
}

// check ends the writers and reads back all that was acknowledged.
func (w *writers) check(t *testing.T, s store.Store) {
	t.Helper()
	close(w.stop)
	w.all.Wait()
	t.Logf("%d kept, %d failed, the slowest took %v", len(w.kept), w.failed, w.slowest)
	if len(w.kept) == 0 {
		t.Error("nothing was kept: the test has tested nothing")
	}
	for key, p := range w.kept {
		body, info, err := s.Get(t.Context(), bucket, key, 0, -1, "")
		if err != nil {
			t.Errorf("acknowledged and lost: %q: %v", key, err)
			continue
		}
		var got bytes.Buffer
		if _, err := got.ReadFrom(body); err != nil || !bytes.Equal(got.Bytes(), p) || info.ETag != storetest.ETag(p) {
			t.Errorf("acknowledged and altered: %q: %d bytes, %v, want %d", key, got.Len(), err, len(p))
		}
		if err := body.Close(); err != nil {
			t.Error(err)
		}
	}
}

func killed(t *testing.T, c *cephtest.Cluster) {
	t.Helper()
	s := open(t, cephConfig(c))
	w := write(t, s, "killed")
	for range 3 {
		wait(t, time.Second)
		if err := c.KillRGW(); err != nil {
			t.Fatal(err)
		}
		wait(t, time.Second)
		if err := c.StartRGW(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	wait(t, time.Second)
	w.check(t, s)
	if w.failed == 0 {
		t.Error("no Put failed while radosgw was killed")
	}
}

func paused(t *testing.T, c *cephtest.Cluster) {
	t.Helper()
	cfg := cephConfig(c)
	cfg.Timeouts.Answer, cfg.Timeouts.Stall = 4*time.Second, 4*time.Second
	cfg.Connections = 16
	cfg.Tries = 2
	s := open(t, cfg)
	w := write(t, s, "paused")
	wait(t, time.Second)
	before := runtime.NumGoroutine()
	if err := c.PauseRGW(); err != nil {
		t.Fatal(err)
	}
	// Sixteen seconds, looked at every one: nothing piles up. A connection has two
	// goroutines, a dial one.
	most := 0
	for range 16 {
		wait(t, time.Second)
		most = max(most, runtime.NumGoroutine())
	}
	began := time.Now()
	err := s.Ready(t.Context(), bucket)
	if took := time.Since(began); !errors.Is(err, store.ErrUnavailable) || took > 30*time.Second {
		t.Errorf("Ready of a radosgw that blocks: %v after %v, want ErrUnavailable", err, took)
	}
	if err := c.ResumeRGW(); err != nil {
		t.Fatal(err)
	}
	t.Logf("goroutines: %d before, %d at most", before, most)
	if most > before+3*cfg.Connections {
		t.Errorf("%d goroutines, %d before: they pile up", most, before)
	}
	wait(t, 2*time.Second)
	w.check(t, s)
	if w.failed == 0 {
		t.Error("no Put failed while radosgw blocked")
	}
	// Two tries of 4 s, and what a busy machine adds.
	if w.slowest > 25*time.Second {
		t.Errorf("the slowest Put took %v: a deadline does not hold", w.slowest)
	}
}

func TestCephLosesAnOSD(t *testing.T) {
	c := cephtest.Start(t, 3)
	s := open(t, cephConfig(c))
	if err := s.MakeBucket(t.Context(), bucket); err != nil {
		t.Fatal(err)
	}
	w := write(t, s, "osd")
	for n := range 3 {
		wait(t, time.Second)
		if err := c.KillOSD(n); err != nil {
			t.Fatal(err)
		}
		wait(t, 3*time.Second)
		if err := c.StartOSD(n); err != nil {
			t.Fatal(err)
		}
		wait(t, 5*time.Second)
	}
	w.check(t, s)
}
