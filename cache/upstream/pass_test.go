package upstream

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

func TestALongPollIsNeitherCutNorProbed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := newOrigin(t, func(w http.ResponseWriter, r *http.Request) {
			time.Sleep(10 * time.Minute)
			hello(w, r)
		})
		u := start(t, o)
		resp, err := u.RoundTrip(request(t, u, "/poll"))
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		if b, err := io.ReadAll(resp.Body); err != nil || string(b) != "hello" {
			t.Errorf("read %q, err = %v", b, err)
		}
		if n := o.probes.Load(); n != 0 {
			t.Errorf("probes = %d, want none", n)
		}
	})
}

func TestAnEventStreamOutlivesAnOutage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := newOrigin(t, func(w http.ResponseWriter, _ *http.Request) {
			for range 3 {
				_, _ = io.WriteString(w, "data: x\n\n")
				_ = http.NewResponseController(w).Flush()
				time.Sleep(time.Minute)
			}
		})
		u := start(t, o)
		resp, err := u.RoundTrip(request(t, u, "/events"))
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		time.AfterFunc(10*time.Second, func() {
			o.set(modeRefused)
			_, _, _ = get(t, u, "/other")
			wantDown(t, u, CauseRefused)
		})
		if b, err := io.ReadAll(resp.Body); err != nil || strings.Count(string(b), "data") != 3 {
			t.Errorf("read %q, err = %v", b, err)
		}
	})
}

func TestAnUpgradePassesBothWays(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := newOrigin(t, func(w http.ResponseWriter, _ *http.Request) {
			c, rw, err := http.NewResponseController(w).Hijack()
			if err != nil {
				t.Error(err)
				return
			}
			defer c.Close()
			_, _ = io.WriteString(c, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n")
			line, _ := rw.ReadString('\n')
			_, _ = io.WriteString(c, "echo "+line)
		})
		u := start(t, o)
		req := request(t, u, "/ws")
		req.Header.Set("Connection", "Upgrade")
		req.Header.Set("Upgrade", "echo")
		resp, err := u.RoundTrip(req)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		rwc, ok := resp.Body.(io.ReadWriteCloser)
		if !ok || resp.StatusCode != http.StatusSwitchingProtocols {
			t.Fatalf("status %d, body %T", resp.StatusCode, resp.Body)
		}
		time.Sleep(time.Hour)
		if _, err := io.WriteString(rwc, "hello\n"); err != nil {
			t.Fatal(err)
		}
		if got, err := bufio.NewReader(rwc).ReadString('\n'); err != nil || got != "echo hello\n" {
			t.Errorf("got %q, err = %v", got, err)
		}
	})
}

func TestPassedRequestsFindAnOutage(t *testing.T) {
	tests := map[string]struct {
		mode mode
		want Cause
	}{
		"refused":  {modeRefused, CauseRefused},
		"vanishes": {modeBlackhole, CauseTimeout},
		"cuts":     {modeCut, CauseReset},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				o := newOrigin(t, hello)
				u := start(t, o)
				o.set(tt.mode)
				resp, err := u.RoundTrip(request(t, u, "/a"))
				if err == nil {
					_ = resp.Body.Close()
					t.Fatal("the request went through")
				}
				synctest.Wait()
				wantDown(t, u, tt.want)
			})
		})
	}
}

func TestACallerWhoLeavesSaysNothingAboutTheLine(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := newOrigin(t, func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() })
		u := start(t, o)
		for name, do := range map[string]func(*http.Request) (*http.Response, error){
			"fetch": u.Fetch, "pass": u.RoundTrip,
		} {
			ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
			resp, err := do(request(t, u, "/a").WithContext(ctx))
			if err == nil {
				_ = resp.Body.Close()
			}
			if !errors.Is(err, context.DeadlineExceeded) || errors.Is(err, ErrLineDown) {
				t.Errorf("%s: err = %v, want the caller's deadline", name, err)
			}
			cancel()
		}
		time.Sleep(time.Second)
		if n := o.probes.Load(); n != 0 {
			t.Errorf("probes = %d, want none", n)
		}
		wantUp(t, u)
		if n := len(u.watches); n != 0 {
			t.Errorf("%d watches left", n)
		}
	})
}

func TestRunIsOwnedOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		u := start(t, newOrigin(t, hello))
		synctest.Wait()
		if err := u.Run(t.Context()); err == nil {
			t.Error("a second Run was let in")
		}
	})
}

// Run may end while a probe is under way and begin again later.
func TestRunBeginsAgainAfterAnInterruptedProbe(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := newOrigin(t, hangs)
		cfg := DefaultConfig()
		cfg.Name, cfg.URL = "library", mustURL(t, "http://library.example")
		u := mustNew(t, cfg, o.dial)
		ctx, stop := context.WithTimeout(t.Context(), 1500*time.Millisecond)
		defer stop()
		o.set(modeSilent)
		fetched := make(chan error, 1)
		go func() {
			_, _, err := get(t, u, "/a")
			fetched <- err
		}()
		if err := u.Run(ctx); err != nil {
			t.Fatal(err)
		}
		wantUp(t, u)
		run(t, u)
		if err := <-fetched; !errors.Is(err, ErrLineDown) {
			t.Errorf("err = %v, want ErrLineDown", err)
		}
		wantDown(t, u, CauseSilent)
	})
}
