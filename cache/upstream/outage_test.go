package upstream

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

func hello(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "hello") }

// hangs answers probes' path and lets the rest wait for its client to leave.
func hangs(_ http.ResponseWriter, r *http.Request) {
	if r.URL.Path != "/" {
		<-r.Context().Done()
	}
}

func TestRefusalTakesTheLineDownAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := newOrigin(t, hello)
		u := start(t, o)
		o.set(modeRefused)
		begin := time.Now()
		_, _, err := get(t, u, "/a")
		if !errors.Is(err, ErrLineDown) {
			t.Fatalf("err = %v, want ErrLineDown", err)
		}
		if le, ok := errors.AsType[*LineError](err); !ok || le.Cause != CauseRefused {
			t.Errorf("err = %v, want a LineError with cause refused", err)
		}
		if d := time.Since(begin); d > 100*time.Millisecond {
			t.Errorf("took %v", d)
		}
		if n := o.dials.Load(); n != 2 {
			t.Errorf("dials = %d, want 2: one redial", n)
		}
		wantDown(t, u, CauseRefused)
	})
}

// A line that nobody uses may be gone without anybody's seeing it.
func TestADoubtedLineIsAsked(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := newOrigin(t, hello)
		u := start(t, o)
		u.Doubt()
		time.Sleep(time.Minute)
		synctest.Wait()
		wantUp(t, u)
		if u.State().LastOK.IsZero() {
			t.Error("nobody asked")
		}
		o.set(modeRefused)
		time.Sleep(time.Hour)
		synctest.Wait()
		wantUp(t, u)
		u.Doubt()
		<-u.Down()
		wantDown(t, u, CauseRefused)
	})
}

func TestAListenerThatRestartsIsNotAnOutage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := newOrigin(t, hello)
		u := start(t, o)
		o.set(modeRefused)
		time.AfterFunc(10*time.Millisecond, func() { o.set(modeUp) })
		if _, body, err := get(t, u, "/a"); err != nil || body != "hello" {
			t.Fatalf("body = %q, err = %v", body, err)
		}
		wantUp(t, u)
	})
}

func TestABlackHoleIsFoundInTwoSeconds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := newOrigin(t, hello)
		u := start(t, o)
		o.set(modeBlackhole)
		begin := time.Now()
		_, _, err := get(t, u, "/a")
		if !errors.Is(err, ErrLineDown) {
			t.Fatalf("err = %v, want ErrLineDown", err)
		}
		if d := time.Since(begin); d > 2*time.Second {
			t.Errorf("took %v", d)
		}
		wantDown(t, u, CauseTimeout)
	})
}

func TestSilenceIsFoundInTwoSecondsAndFreesAllWhoWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := newOrigin(t, hangs)
		u := start(t, o)
		if _, _, err := get(t, u, "/"); err != nil {
			t.Fatal(err)
		}
		o.set(modeSilent)
		begin := time.Now()
		var wg sync.WaitGroup
		for i := range 10 {
			wg.Go(func() {
				time.Sleep(time.Duration(i) * 150 * time.Millisecond)
				if _, _, err := get(t, u, fmt.Sprintf("/%d", i)); !errors.Is(err, ErrLineDown) {
					t.Errorf("err = %v, want ErrLineDown", err)
				}
				if d := time.Since(begin); d > 2*time.Second {
					t.Errorf("request %d was freed after %v", i, d)
				}
			})
		}
		wg.Wait()
		wantDown(t, u, CauseSilent)

		// On the dead line a fetch is bounded too.
		time.Sleep(time.Minute)
		begin = time.Now()
		if _, _, err := get(t, u, "/late"); !errors.Is(err, ErrLineDown) {
			t.Errorf("err = %v, want ErrLineDown", err)
		}
		if d := time.Since(begin); d > 2*time.Second {
			t.Errorf("a fetch on a dead line took %v", d)
		}
	})
}

func TestAStarvingBodyIsFreedInTwoSeconds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := newOrigin(t, func(w http.ResponseWriter, r *http.Request) {
			_, _ = io.WriteString(w, "first")
			_ = http.NewResponseController(w).Flush()
			<-r.Context().Done()
		})
		u := start(t, o)
		resp, err := u.Fetch(request(t, u, "/film"))
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		o.set(modeSilent)
		begin := time.Now()
		b, err := io.ReadAll(resp.Body)
		if string(b) != "first" || !errors.Is(err, ErrLineDown) {
			t.Fatalf("read %q, err = %v, want ErrLineDown", b, err)
		}
		if d := time.Since(begin); d < time.Second || d > 2*time.Second {
			t.Errorf("took %v", d)
		}
		if n := len(u.watches); n != 0 {
			t.Errorf("%d watches left", n)
		}
	})
}

func TestABodyThatFlowsOutlivesTheOutage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := newOrigin(t, func(w http.ResponseWriter, _ *http.Request) {
			for range 20 {
				_, _ = io.WriteString(w, "x")
				_ = http.NewResponseController(w).Flush()
				time.Sleep(300 * time.Millisecond)
			}
		})
		u := start(t, o)
		resp, err := u.Fetch(request(t, u, "/drip"))
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		time.AfterFunc(time.Second, func() {
			o.set(modeRefused)
			// A byte may have come while this dial fails; two such dials can't both be so lucky.
			for range 2 {
				_, _, _ = get(t, u, "/other")
			}
			if u.State().Up {
				t.Error("the line is up, so this test shows nothing")
			}
		})
		b, err := io.ReadAll(resp.Body)
		if err != nil || len(b) != 20 {
			t.Errorf("read %d bytes, err = %v; want 20", len(b), err)
		}
	})
}

func TestALineOfGatewayErrorsIsDown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := newOrigin(t, func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusServiceUnavailable) })
		u := start(t, o)
		if code, _, err := get(t, u, "/a"); err != nil || code != 503 {
			t.Fatalf("code = %d, err = %v: the answer itself is handed on", code, err)
		}
		synctest.Wait()
		wantDown(t, u, CauseServerError)
	})
}

func TestAStormOf503WithAHealthyProbeLeavesTheLineUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := newOrigin(t, func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path != "/" {
				w.WriteHeader(http.StatusServiceUnavailable)
			}
		})
		u := start(t, o)
		for range 500 {
			if code, _, err := get(t, u, "/busy"); err != nil || code != 503 {
				t.Fatalf("code = %d, err = %v", code, err)
			}
			time.Sleep(10 * time.Millisecond)
			wantUp(t, u)
		}
		if n := o.probes.Load(); n < 5 || n > 12 {
			t.Errorf("probes = %d in 5 s of doubt, want about 10", n)
		}
	})
}

func TestRecoveryIsFoundInTheBackground(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := newOrigin(t, hello)
		u := start(t, o)
		o.set(modeRefused)
		_, _, _ = get(t, u, "/a")
		wantDown(t, u, CauseRefused)
		since := u.State().Since
		dials := o.dials.Load()
		time.Sleep(10 * time.Minute)
		wantDown(t, u, CauseRefused)
		if !u.State().Since.Equal(since) {
			t.Error("the outage's beginning moved")
		}
		// Two dials a probe, a probe each 3.75 to 5 s.
		if n := (o.dials.Load() - dials) / 2; n < 110 || n > 170 {
			t.Errorf("%d probes in ten minutes of outage", n)
		}
		up := u.Up()
		o.set(modeUp)
		begin := time.Now()
		<-up
		if d := time.Since(begin); d > 6*time.Second {
			t.Errorf("recovery found after %v", d)
		}
		wantUp(t, u)
		if _, body, err := get(t, u, "/a"); err != nil || body != "hello" {
			t.Errorf("body = %q, err = %v", body, err)
		}
	})
}

func TestAnyAnswerEndsAnOutage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := newOrigin(t, func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNotFound) })
		u := start(t, o)
		o.set(modeRefused)
		_, _, _ = get(t, u, "/a")
		wantDown(t, u, CauseRefused)
		o.set(modeUp)
		resp, err := u.RoundTrip(request(t, u, "/a"))
		if err != nil {
			t.Fatal(err)
		}
		_ = resp.Body.Close()
		wantUp(t, u)
		if n := o.probes.Load(); n != 0 {
			t.Errorf("probes = %d, want none: the answer was enough", n)
		}
	})
}
