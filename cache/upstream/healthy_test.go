package upstream

import (
	"errors"
	"io"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

func TestAHealthyOriginSeesNoProbe(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := newOrigin(t, func(w http.ResponseWriter, r *http.Request) {
			time.Sleep(300 * time.Millisecond)
			hello(w, r)
		})
		u := start(t, o)
		for range 20 {
			if _, body, err := get(t, u, "/a"); err != nil || body != "hello" {
				t.Fatalf("body = %q, err = %v", body, err)
			}
		}
		time.Sleep(time.Hour) // idle
		if n := o.probes.Load(); n != 0 {
			t.Errorf("probes = %d, want none", n)
		}
		wantUp(t, u)
	})
}

func TestASlowAnswerIsNotCut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := newOrigin(t, func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path == "/slow" {
				time.Sleep(3 * time.Second)
			}
			hello(w, r)
		})
		u := start(t, o)
		if _, body, err := get(t, u, "/slow"); err != nil || body != "hello" {
			t.Fatalf("body = %q, err = %v", body, err)
		}
		if n := o.probes.Load(); n < 1 || n > 3 {
			t.Errorf("probes = %d, want one for each second of silence", n)
		}
		wantUp(t, u)
	})
}

// A satellite line: 600 ms for the handshake, 800 more for the answer.
func TestALongLineIsNotADeadOne(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := newOrigin(t, func(w http.ResponseWriter, r *http.Request) {
			time.Sleep(800 * time.Millisecond)
			hello(w, r)
		})
		o.delay.Store(int64(600 * time.Millisecond))
		u := start(t, o)
		for range 3 {
			if _, _, err := get(t, u, "/a"); err != nil {
				t.Fatal(err)
			}
			u.closeIdle()
		}
		wantUp(t, u)
		if o.probes.Load() == 0 {
			t.Error("no probe, so this test shows nothing")
		}
	})
}

// The probe's own answer is late behind a class's download, whose bytes show
// that the line lives.
func TestAFullLineIsNotADeadOne(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := newOrigin(t, func(w http.ResponseWriter, r *http.Request) {
			switch r.URL.Path {
			case "/film":
				for range 100 {
					_, _ = io.WriteString(w, "x")
					_ = http.NewResponseController(w).Flush()
					time.Sleep(100 * time.Millisecond)
				}
			default:
				time.Sleep(2 * time.Second)
			}
		})
		u := start(t, o)
		film, err := u.Fetch(request(t, u, "/film"))
		if err != nil {
			t.Fatal(err)
		}
		defer film.Body.Close()
		var wg sync.WaitGroup
		wg.Go(func() {
			if b, err := io.ReadAll(film.Body); err != nil || len(b) != 100 {
				t.Errorf("the film: %d bytes, %v", len(b), err)
			}
		})
		if _, _, err := get(t, u, "/page"); err != nil {
			t.Errorf("the page: %v", err)
		}
		wg.Wait()
		wantUp(t, u)
		if o.probes.Load() == 0 {
			t.Error("no probe, so this test shows nothing")
		}
	})
}

func TestCutRequestsDoNotTakeTheLineDown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := newOrigin(t, func(w http.ResponseWriter, r *http.Request) {
			switch r.URL.Path {
			case "/head":
				panic(http.ErrAbortHandler)
			case "/body":
				w.Header().Set("Content-Length", "10")
				_, _ = io.WriteString(w, "half")
				_ = http.NewResponseController(w).Flush()
				panic(http.ErrAbortHandler)
			}
		})
		u := start(t, o)
		for range 100 {
			for _, path := range []string{"/head", "/body"} {
				_, _, err := get(t, u, path)
				if err == nil || errors.Is(err, ErrLineDown) || errors.Is(err, ErrStalled) {
					t.Fatalf("%s: err = %v, want one about this request alone", path, err)
				}
			}
			time.Sleep(20 * time.Millisecond)
			wantUp(t, u)
		}
		if n := o.probes.Load(); n < 2 || n > 8 {
			t.Errorf("probes = %d in 2 s of cuts, want about 4", n)
		}
	})
}

func TestAProbeThatIsCutIsTriedAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var cuts atomic.Int64
		o := newOrigin(t, func(_ http.ResponseWriter, r *http.Request) {
			if r.URL.Path != "/" || cuts.Add(1) < probeTries {
				panic(http.ErrAbortHandler)
			}
		})
		u := start(t, o)
		_, _, _ = get(t, u, "/a")
		time.Sleep(100 * time.Millisecond)
		wantUp(t, u)
		if n := o.probes.Load(); n != probeTries {
			t.Errorf("tries = %d, want %d", n, probeTries)
		}
	})
}

func TestALineThatCutsEverythingIsDown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := newOrigin(t, hello)
		o.set(modeCut)
		u := start(t, o)
		_, _, _ = get(t, u, "/a")
		synctest.Wait()
		wantDown(t, u, CauseReset)
	})
}

func TestAFetchThatStallsOnAGoodLineIsBrokenOff(t *testing.T) {
	tests := map[string]struct {
		path string
		want time.Duration
	}{
		"no header":    {"/header", 60 * time.Second},
		"no body byte": {"/body", 30 * time.Second},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				o := newOrigin(t, func(w http.ResponseWriter, r *http.Request) {
					if r.URL.Path == "/body" {
						_, _ = io.WriteString(w, "first")
						_ = http.NewResponseController(w).Flush()
					}
					hangs(w, r)
				})
				u := start(t, o)
				begin := time.Now()
				_, _, err := get(t, u, tt.path)
				if !errors.Is(err, ErrStalled) || errors.Is(err, ErrLineDown) {
					t.Fatalf("err = %v, want ErrStalled", err)
				}
				if d := time.Since(begin); d < tt.want || d > tt.want+time.Second {
					t.Errorf("took %v, want %v", d, tt.want)
				}
				wantUp(t, u)
			})
		})
	}
}

func TestAReaderThatPausesIsNotAStall(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := newOrigin(t, func(w http.ResponseWriter, _ *http.Request) {
			_, _ = io.WriteString(w, "first")
			_ = http.NewResponseController(w).Flush()
			_, _ = io.WriteString(w, "second")
		})
		u := start(t, o)
		resp, err := u.Fetch(request(t, u, "/film"))
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		time.Sleep(10 * time.Minute)
		b, err := io.ReadAll(resp.Body)
		if err != nil || string(b) != "firstsecond" {
			t.Errorf("read %q, err = %v", b, err)
		}
		if n := o.probes.Load(); n != 0 {
			t.Errorf("probes = %d, want none", n)
		}
	})
}

// Nobody waits for this body, so an outage takes nothing from it: what has
// arrived can still be read.
func TestAReaderThatPausesOutlivesAnOutage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		film := strings.Repeat("f", 64<<10) // more than any buffer on the way
		o := newOrigin(t, func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, film) })
		u := start(t, o)
		resp, err := u.Fetch(request(t, u, "/film"))
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		time.Sleep(10 * time.Second)
		o.set(modeRefused)
		_, _ = u.dialObserved(t.Context(), "tcp", "library.example:80") // its error is the point
		wantDown(t, u, CauseRefused)
		time.Sleep(time.Minute)
		if b, err := io.ReadAll(resp.Body); err != nil || string(b) != film {
			t.Errorf("read %d bytes, err = %v", len(b), err)
		}
	})
}
