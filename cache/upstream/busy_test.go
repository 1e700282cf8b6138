package upstream

import (
	"errors"
	"io"
	"net/http"
	"strconv"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

func TestRetryAfterIsReadByTheSitesOwnClock(t *testing.T) {
	const (
		date  = "Sun, 06 Nov 1994 08:49:37 GMT"
		later = "Sun, 06 Nov 1994 08:51:37 GMT"
	)
	clocks := map[string]time.Time{
		"right": time.Date(1994, 11, 6, 8, 49, 38, 0, time.UTC),
		"1970":  time.Unix(0, 0),
		"ahead": time.Date(2040, 1, 1, 0, 0, 0, 0, time.UTC),
	}
	tests := map[string]struct {
		field, date string
		want        time.Duration
		ok          bool
	}{
		"none":                    {"", date, 0, false},
		"seconds":                 {"120", date, 2 * time.Minute, true},
		"seconds without a date":  {"120", "", 2 * time.Minute, true},
		"nothing to wait for":     {"0", date, 0, true},
		"leading zeros":           {"007", date, 7 * time.Second, true},
		"blanks":                  {" 7\t", date, 7 * time.Second, true},
		"more than we wait":       {"86400", date, quietMost, true},
		"more than fits":          {"99999999999999999999999999999999", date, quietMost, true},
		"a date":                  {later, date, 2 * time.Minute, true},
		"a date of RFC 850":       {"Sunday, 06-Nov-94 08:51:37 GMT", date, 2 * time.Minute, true},
		"a date that is over":     {date, later, 0, true},
		"a date in another year":  {"Mon, 06 Nov 1995 08:51:37 GMT", date, quietMost, true},
		"negative":                {"-1", date, 0, false},
		"a sign":                  {"+1", date, 0, false},
		"a fraction":              {"1.5", date, 0, false},
		"words":                   {"soon", date, 0, false},
		"a list":                  {"1, 2", date, 0, false},
		"no such date":            {"Sun, 31 Nov 1994 08:51:37 GMT", date, 0, false},
		"digits that are not 0-9": {"١٢", date, 0, false},
	}
	for name, tt := range tests {
		for clock, now := range clocks {
			if clock == "ahead" && name == "a date of RFC 850" {
				continue // two digits of a year mean another one then
			}
			h := http.Header{"Retry-After": {tt.field}, "Date": {tt.date}}
			if got, ok := retryAfter(h, now); got != tt.want || ok != tt.ok {
				t.Errorf("%s, clock %s: %v, %v; want %v, %v", name, clock, got, ok, tt.want, tt.ok)
			}
		}
	}
	// Without the site's Date there is only our clock.
	h := http.Header{"Retry-After": {later}}
	if got, ok := retryAfter(h, clocks["right"]); got != 119*time.Second || !ok {
		t.Errorf("without Date: %v, %v", got, ok)
	}
}

func FuzzRetryAfter(f *testing.F) {
	f.Add("120", "Sun, 06 Nov 1994 08:49:37 GMT", int64(0))
	f.Add("Sun, 06 Nov 1994 08:51:37 GMT", "Sun, 06 Nov 1994 08:49:37 GMT", int64(1<<40))
	f.Add("99999999999999999999", "", int64(-1))
	f.Add("Sunday, 06-Nov-94 08:49:37 GMT", "x", int64(784111777))
	f.Fuzz(func(t *testing.T, field, date string, now int64) {
		d, ok := retryAfter(http.Header{"Retry-After": {field}, "Date": {date}}, time.Unix(now, 0))
		if d < 0 || d > quietMost || !ok && d != 0 {
			t.Errorf("%v, %v", d, ok)
		}
		if n, err := strconv.ParseUint(field, 10, 64); err == nil {
			if want := time.Duration(min(n, uint64(quietMost/time.Second))) * time.Second; !ok || d != want {
				t.Errorf("%q is %v, want %v", field, d, want)
			}
		}
	})
}

// limiter is a site that answers each path by a status and a Retry-After.
type limiter struct {
	status atomic.Int64
	after  atomic.Pointer[string]
	seen   atomic.Int64
}

func (l *limiter) set(status int, after string) {
	l.status.Store(int64(status))
	l.after.Store(&after)
}

func (l *limiter) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	l.seen.Add(1)
	if after := l.after.Load(); after != nil && *after != "" {
		w.Header().Set("Retry-After", *after)
	}
	if status := int(l.status.Load()); status != 0 {
		w.WriteHeader(status)
		return
	}
	hello(w, r)
}

func TestALongPauseIsKeptAndToldOf(t *testing.T) {
	for _, status := range []int{http.StatusTooManyRequests, http.StatusServiceUnavailable} {
		t.Run(strconv.Itoa(status), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				site := &limiter{}
				u := start(t, newOrigin(t, func(w http.ResponseWriter, r *http.Request) {
					if r.Method == http.MethodHead { // the line itself is good
						hello(w, r)
						return
					}
					site.ServeHTTP(w, r)
				}))
				time.Sleep(time.Second)
				site.set(status, "120")
				if code, _, err := get(t, u, "/a"); code != status || err != nil {
					t.Fatalf("%d, %v: the site's own answer is whose it is", code, err)
				}
				begin := time.Now()
				if until := u.State().BusyUntil; until.Sub(begin) != 2*time.Minute {
					t.Errorf("busy until %v", until.Sub(begin))
				}
				site.set(0, "")
				for range 5 {
					_, _, err := get(t, u, "/b")
					busy, ok := errors.AsType[*BusyError](err)
					if !ok || !busy.Asked || busy.Wait <= 0 || busy.Wait > 2*time.Minute {
						t.Errorf("err = %v, want ErrBusy as asked", err)
					}
				}
				if n := site.seen.Load(); n != 1 {
					t.Errorf("the site was asked %d times in its pause", n-1)
				}
				time.Sleep(2*time.Minute - time.Since(begin))
				if _, body, err := get(t, u, "/b"); err != nil || body != "hello" {
					t.Errorf("after the pause: %q, %v", body, err)
				}
				if st := u.State(); !st.BusyUntil.IsZero() || !st.Up || u.busySeconds() != 0 {
					t.Errorf("after the pause: %+v", st)
				}
			})
		})
	}
}

func TestAShortPauseIsWaitedFor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		site := &limiter{}
		u := start(t, newOrigin(t, site.ServeHTTP))
		time.Sleep(time.Second)
		site.set(http.StatusTooManyRequests, "7")
		if _, _, err := get(t, u, "/a"); err != nil {
			t.Fatal(err)
		}
		site.set(0, "")
		begin := time.Now()
		if _, body, err := get(t, u, "/b"); err != nil || body != "hello" {
			t.Errorf("%q, %v", body, err)
		}
		if d := time.Since(begin); d != 7*time.Second {
			t.Errorf("waited %v, want 7s", d)
		}
	})
}

// What people are told counts for what the box asks by itself.
func TestAPassThatIsLimitedGivesThePause(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		site := &limiter{}
		u := start(t, newOrigin(t, site.ServeHTTP))
		site.set(http.StatusTooManyRequests, "60")
		for range 3 { // they still go
			resp, err := u.RoundTrip(request(t, u, "/a"))
			if err != nil {
				t.Fatal(err)
			}
			_, _ = io.Copy(io.Discard, resp.Body)
			_ = resp.Body.Close()
			if resp.StatusCode != http.StatusTooManyRequests {
				t.Errorf("status = %d", resp.StatusCode)
			}
		}
		if _, _, err := get(t, u, "/b"); !errors.Is(err, ErrBusy) {
			t.Errorf("err = %v, want ErrBusy", err)
		}
		if n := site.seen.Load(); n != 3 {
			t.Errorf("the site was asked %d times, want 3", n)
		}
	})
}

func TestAPauseEndsTheWaitOfWhoWaitsForATurn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		site := &limiter{}
		u := start(t, newOrigin(t, site.ServeHTTP), func(c *Config) { c.MaxFetches = 1 })
		held, err := u.Fetch(request(t, u, "/a"))
		if err != nil {
			t.Fatal(err)
		}
		defer held.Body.Close()
		begin := time.Now()
		waits := make(chan error, 1)
		go func() {
			_, _, err := get(t, u, "/b")
			waits <- err
		}()
		synctest.Wait()
		site.set(http.StatusTooManyRequests, "60")
		resp, err := u.RoundTrip(request(t, u, "/c"))
		if err != nil {
			t.Fatal(err)
		}
		_ = resp.Body.Close()
		if err := <-waits; !errors.Is(err, ErrBusy) || time.Since(begin) != 0 {
			t.Errorf("err = %v after %v, want ErrBusy at once", err, time.Since(begin))
		}
	})
}

// A site in maintenance is down, and probed when it said that it would be back.
func TestMaintenanceIsNotProbedBeforeItsTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		site := &limiter{}
		o := newOrigin(t, site.ServeHTTP)
		u := start(t, o)
		site.set(http.StatusServiceUnavailable, "300")
		begin := time.Now()
		if _, _, err := get(t, u, "/a"); err != nil {
			t.Fatal(err)
		}
		<-u.Down()
		wantDown(t, u, CauseServerError)
		if _, _, err := get(t, u, "/b"); !errors.Is(err, ErrLineDown) {
			t.Errorf("err = %v, want ErrLineDown", err)
		}
		site.set(0, "")
		time.Sleep(299 * time.Second)
		if n := o.probes.Load(); n != 1 {
			t.Errorf("%d probes in the pause, want the one that found the line down", n)
		}
		<-u.Up()
		if d := time.Since(begin); d < 300*time.Second || d > 306*time.Second {
			t.Errorf("up after %v", d)
		}
		if _, body, err := get(t, u, "/b"); err != nil || body != "hello" {
			t.Errorf("%q, %v", body, err)
		}
	})
}

func TestAPauseOfADayIsCutToTenMinutes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		site := &limiter{}
		u := start(t, newOrigin(t, site.ServeHTTP))
		site.set(http.StatusTooManyRequests, "86400")
		if _, _, err := get(t, u, "/a"); err != nil {
			t.Fatal(err)
		}
		site.set(0, "")
		time.Sleep(10 * time.Minute)
		if _, _, err := get(t, u, "/a"); err != nil {
			t.Error(err)
		}
	})
}

// TestTooManyRequestsIsAPauseEvenIfNoneIsAskedFor, a short one; a server in
// trouble that asks for none gets none.
func TestTooManyRequestsIsAPauseEvenIfNoneIsAskedFor(t *testing.T) {
	for status, want := range map[int]time.Duration{http.StatusTooManyRequests: 10 * time.Second, http.StatusServiceUnavailable: 0} {
		t.Run(strconv.Itoa(status), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				site := &limiter{}
				u := start(t, newOrigin(t, func(w http.ResponseWriter, r *http.Request) {
					if r.Method == http.MethodHead { // the line itself is good
						hello(w, r)
						return
					}
					site.ServeHTTP(w, r)
				}))
				time.Sleep(time.Second)
				site.set(status, "")
				begin := time.Now()
				if code, _, err := get(t, u, "/a"); code != status || err != nil {
					t.Fatalf("%d, %v", code, err)
				}
				until := u.State().BusyUntil
				if want == 0 && !until.IsZero() || want > 0 && until.Sub(begin) != want {
					t.Errorf("busy until %v, want %v", until, want)
				}
			})
		})
	}
}
