package upstream

import (
	"context"
	"errors"
	"io"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"
)

// idle checks that nothing of a gate is taken any more.
func idle(t *testing.T, u *Upstream) {
	t.Helper()
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.gate.short != 0 || u.gate.long != 0 || len(u.gate.queue) != 0 {
		t.Errorf("%d short and %d long fetches, %d waiting; want none", u.gate.short, u.gate.long, len(u.gate.queue))
	}
}

func TestNoMoreThanSoManyFetchesGoAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var now, most atomic.Int64
		o := newOrigin(t, func(w http.ResponseWriter, r *http.Request) {
			n := now.Add(1)
			for seen := most.Load(); n > seen && !most.CompareAndSwap(seen, n); seen = most.Load() {
			}
			time.Sleep(100 * time.Millisecond)
			now.Add(-1)
			hello(w, r)
		})
		u := start(t, o, func(c *Config) { c.MaxFetches = 3 })
		var wg sync.WaitGroup
		for range 20 {
			wg.Go(func() {
				if _, body, err := get(t, u, "/a"); err != nil || body != "hello" {
					t.Errorf("body = %q, err = %v", body, err)
				}
			})
		}
		wg.Wait()
		if n := most.Load(); n != 3 {
			t.Errorf("%d at once, want 3", n)
		}
		idle(t, u)
	})
}

func TestABodyThatIsBeingReadIsAFetchUnderWay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		u := start(t, newOrigin(t, hello), func(c *Config) { c.MaxFetches = 1 })
		first, err := u.Fetch(request(t, u, "/a"))
		if err != nil {
			t.Fatal(err)
		}
		second := make(chan error, 1)
		go func() {
			_, _, err := get(t, u, "/b")
			second <- err
		}()
		synctest.Wait()
		if n := u.waitingTurn(); n != 1 {
			t.Fatalf("%d wait, want the second", n)
		}
		_ = first.Body.Close()
		_ = first.Body.Close() // once more takes nothing more off
		if err := <-second; err != nil {
			t.Error(err)
		}
		idle(t, u)
	})
}

func TestWhatWaitsTooLongIsTurnedAway(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		u := start(t, newOrigin(t, hello), func(c *Config) { c.MaxFetches, c.MaxWait = 1, 2*time.Second })
		first, err := u.Fetch(request(t, u, "/a"))
		if err != nil {
			t.Fatal(err)
		}
		defer first.Body.Close()
		begin := time.Now()
		_, _, err = get(t, u, "/b")
		busy, ok := errors.AsType[*BusyError](err)
		if !ok || !errors.Is(err, ErrBusy) || busy.Asked || busy.Wait != 2*time.Second {
			t.Errorf("err = %v, want ErrBusy", err)
		}
		if d := time.Since(begin); d != 2*time.Second {
			t.Errorf("after %v, want 2s", d)
		}
		wantUp(t, u)
	})
}

// Four polls that hang take every place there is, but not for long.
func TestLongPollsKeepNobodyWaiting(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := newOrigin(t, func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path == "/poll" {
				time.Sleep(30 * time.Second)
			}
			hello(w, r)
		})
		u := start(t, o, func(c *Config) { c.MaxFetches = 2 })
		var wg sync.WaitGroup
		for range 4 {
			wg.Go(func() {
				if _, _, err := get(t, u, "/poll"); err != nil {
					t.Error(err)
				}
			})
		}
		time.Sleep(2*longAfter + time.Second)
		begin := time.Now()
		if _, _, err := get(t, u, "/a"); err != nil {
			t.Error(err)
		}
		if d := time.Since(begin); d != 0 {
			t.Errorf("waited %v for those who poll", d)
		}
		wg.Wait()
		idle(t, u)
	})
}

func TestLongFetchesAreBoundedToo(t *testing.T) {
	g := gate{most: 2}
	for range longShare * 2 {
		if !g.enter(0) || !g.lengthen() {
			t.Fatal("too few let in")
		}
	}
	if !g.enter(0) || g.lengthen() {
		t.Error("more long fetches than four for each short one")
	}
}

func TestPassesWaitForNobody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := newOrigin(t, func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path == "/limit" {
				w.Header().Set("Retry-After", "300")
				w.WriteHeader(http.StatusTooManyRequests)
				return
			}
			hello(w, r)
		})
		u := start(t, o, func(c *Config) { c.MaxFetches, c.FetchesPerMinute = 1, 1 })
		held, err := u.Fetch(request(t, u, "/a"))
		if err != nil {
			t.Fatal(err)
		}
		defer held.Body.Close()
		begin := time.Now()
		for _, path := range []string{"/limit", "/a", "/b", "/c"} {
			resp, err := u.RoundTrip(request(t, u, path))
			if err != nil {
				t.Fatal(err)
			}
			_, _ = io.Copy(io.Discard, resp.Body)
			_ = resp.Body.Close()
		}
		if d := time.Since(begin); d != 0 {
			t.Errorf("passes waited %v", d)
		}
	})
}

func TestWhoLeavesTheQueueLeavesNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		u := start(t, newOrigin(t, hello), func(c *Config) { c.MaxFetches = 1 })
		held, err := u.Fetch(request(t, u, "/a"))
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		resp, err := u.Fetch(request(t, u, "/b").WithContext(ctx))
		if err == nil {
			_ = resp.Body.Close()
		}
		if !errors.Is(err, context.DeadlineExceeded) || errors.Is(err, ErrBusy) {
			t.Errorf("err = %v, want the caller's deadline", err)
		}
		// One that is let out at the very moment in which its caller leaves.
		gone, leave := context.WithCancel(t.Context())
		left := make(chan error, 1)
		late := request(t, u, "/c").WithContext(gone)
		go func() {
			resp, err := u.Fetch(late)
			if err == nil {
				_ = resp.Body.Close()
			}
			left <- err
		}()
		synctest.Wait()
		leave()
		_ = held.Body.Close()
		if err := <-left; err == nil {
			t.Error("a fetch went out for a caller who had left")
		}
		if _, _, err := get(t, u, "/d"); err != nil {
			t.Error(err)
		}
		idle(t, u)
	})
}

func TestAnOutageFreesWhoWaitsForATurn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := newOrigin(t, hello)
		u := start(t, o, func(c *Config) { c.MaxFetches = 1 })
		held, err := u.Fetch(request(t, u, "/a"))
		if err != nil {
			t.Fatal(err)
		}
		defer held.Body.Close()
		waits := make(chan error, 1)
		go func() {
			_, _, err := get(t, u, "/b")
			waits <- err
		}()
		synctest.Wait()
		o.set(modeRefused)
		resp, err := u.RoundTrip(request(t, u, "/c"))
		if err == nil {
			_ = resp.Body.Close()
			t.Fatal("the pass went through")
		}
		if err := <-waits; !errors.Is(err, ErrLineDown) {
			t.Errorf("err = %v, want ErrLineDown", err)
		}
	})
}

func TestFetchesAreSpreadOverTheMinute(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var mu sync.Mutex
		var at []time.Time
		o := newOrigin(t, func(w http.ResponseWriter, r *http.Request) {
			mu.Lock()
			at = append(at, time.Now())
			mu.Unlock()
			hello(w, r)
		})
		u := start(t, o, func(c *Config) { c.FetchesPerMinute, c.MaxWait = 10, time.Hour })
		var wg sync.WaitGroup
		for range 40 {
			wg.Go(func() {
				if _, _, err := get(t, u, "/a"); err != nil {
					t.Error(err)
				}
			})
		}
		wg.Wait()
		for i := 10; i < len(at); i++ {
			if d := at[i].Sub(at[i-10]); d < time.Minute {
				t.Fatalf("fetches %d to %d within %v", i-10, i, d)
			}
		}
		if len(at) != 40 || at[39].Sub(at[0]) > 6*time.Minute {
			t.Errorf("%d fetches took %v", len(at), at[len(at)-1].Sub(at[0]))
		}
		idle(t, u)
	})
}

func TestATurnThatWouldComeTooLateIsRefusedAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		u := start(t, newOrigin(t, hello), func(c *Config) { c.FetchesPerMinute = 1 })
		if _, _, err := get(t, u, "/a"); err != nil {
			t.Fatal(err)
		}
		begin := time.Now()
		_, _, err := get(t, u, "/b")
		busy, ok := errors.AsType[*BusyError](err)
		if !ok || busy.Wait != time.Minute {
			t.Errorf("err = %v, want to be told of a minute", err)
		}
		if d := time.Since(begin); d != 0 {
			t.Errorf("after %v, want at once", d)
		}
	})
}

// Whatever comes whenever: no minute has more than its number, and who comes
// after a minute of rest goes at once.
func TestNoMinuteHasMoreThanItsNumber(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		perMinute := rapid.IntRange(1, 300).Draw(t, "per minute")
		p := newPace(perMinute)
		var sent []int64
		now := int64(0)
		for range rapid.IntRange(1, 1000).Draw(t, "fetches") {
			now += rapid.Int64Range(0, int64(2*time.Minute)/int64(perMinute)).Draw(t, "pause")
			if p.after(now, 0) > now != (p.next() > now) {
				t.Fatal("after and next disagree")
			}
			if p.next() <= now {
				p.spend(now)
				sent = append(sent, now)
			}
		}
		for i := perMinute; i < len(sent); i++ {
			if sent[i]-sent[i-perMinute] < int64(time.Minute) {
				t.Fatalf("more than %d in a minute", perMinute)
			}
		}
		if p.next() > now+int64(time.Minute) {
			t.Fatalf("the next must wait %v", time.Duration(p.next()-now))
		}
	})
}

// A machine that comes and goes at random: the bounds hold, turns are in order,
// and nobody waits who could go.
func TestTheGateKeepsItsPromises(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		most := rapid.IntRange(1, 4).Draw(t, "most")
		g := gate{most: most, pace: newPace(rapid.SampledFrom([]int{0, 0, 30, 600}).Draw(t, "pace")), wait: int64(time.Hour)}
		now := int64(0)
		var waiting []*turn
		out := 0 // short ones
		long := 0
		settle := func() {
			for len(waiting) > 0 {
				select {
				case <-waiting[0].ready:
					waiting = waiting[1:]
					out++
				default:
					for _, w := range waiting {
						select {
						case <-w.ready:
							t.Fatal("one was let out before another that had come first")
						default:
						}
					}
					return
				}
			}
		}
		t.Repeat(map[string]func(*rapid.T){
			"come": func(*rapid.T) {
				if g.enter(now) {
					out++
					return
				}
				w := &turn{ready: make(chan struct{})}
				g.queue = append(g.queue, w)
				waiting = append(waiting, w)
				g.advance(now)
			},
			"go": func(t *rapid.T) {
				if out == 0 {
					t.Skip("nobody is in")
				}
				out--
				g.leave(false)
				g.advance(now)
			},
			"last": func(*rapid.T) {
				if out > 0 && g.lengthen() {
					out--
					long++
					g.advance(now)
				}
			},
			"end": func(*rapid.T) {
				if long > 0 {
					long--
					g.leave(true)
				}
			},
			"give up": func(t *rapid.T) {
				if len(waiting) == 0 {
					t.Skip("nobody waits")
				}
				i := rapid.IntRange(0, len(waiting)-1).Draw(t, "who")
				if !g.forget(waiting[i]) {
					t.Fatal("who waits was not in the queue")
				}
				waiting = append(waiting[:i:i], waiting[i+1:]...)
				g.advance(now)
			},
			"rest": func(t *rapid.T) {
				g.quiet = max(g.quiet, now+rapid.Int64Range(0, int64(time.Minute)).Draw(t, "quiet"))
			},
			"pass": func(t *rapid.T) {
				now += rapid.Int64Range(0, int64(20*time.Second)).Draw(t, "time")
				g.advance(now)
			},
			"": func(t *rapid.T) {
				settle()
				if g.short != out || g.long != long || out > most || long > longShare*most {
					t.Fatalf("gate has %d short and %d long, there are %d and %d", g.short, g.long, out, long)
				}
				if len(waiting) > 0 && g.room() && g.opens() <= now {
					t.Fatal("somebody waits who could go")
				}
			},
		})
	})
}
