package names_test

import (
	"context"
	"crypto/tls"
	"errors"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/goleak"

	"preau/node/config"
	"preau/node/locate"
	"preau/node/names"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestSettingsThatCannotBe(t *testing.T) {
	good := names.DefaultConfig()
	good.Name, good.ACME.Listen, good.ACME.Email = "school-1.boxes.example.org", ":443", "it@example.org"
	check := func(c names.Config) error {
		var p config.Problems
		c.Check(&p, "public")
		return p.Err()
	}
	for name, c := range map[string]names.Config{"none": names.DefaultConfig(), "one": good} {
		if err := check(c); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	for key, change := range map[string]func(*names.Config){
		"public.name":           func(c *names.Config) { c.Name = "" },
		"name: \"192":           func(c *names.Config) { c.Name = "192.0.2.1" },
		"name: \"School":        func(c *names.Config) { c.Name = "School.example" },
		"name: \"school\"":      func(c *names.Config) { c.Name = "school" },
		"public.acme.directory": func(c *names.Config) { c.ACME.Directory = "http://ca.example/directory" },
		"public.acme.challenge": func(c *names.Config) { c.ACME.Challenge = "tls-alpn-01" },
		"public.acme.email":     func(c *names.Config) { c.ACME.Email = "it@example.org, x" },
	} {
		c := good
		change(&c)
		if err := check(c); err == nil || !strings.Contains(err.Error(), key) {
			t.Errorf("%s: %v", key, err)
		}
	}
}

func TestASitesNamesBelowTheBoxsAreItsOwn(t *testing.T) {
	got := names.Hosts("a.boxes.example.org", []string{"cloud.example.org", "tubes.a.boxes.example.org", "*.a.boxes.example.org", "*", "xa.boxes.example.org", "a.boxes.example.org"})
	if want := []string{"tubes.a.boxes.example.org"}; !slices.Equal(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
}

// keeper is one of a folder, whose authority nobody answers for.
func keeper(t *testing.T, dir string) *names.Keeper {
	t.Helper()
	cfg := names.DefaultConfig().ACME
	cfg.Listen, cfg.Directory, cfg.Challenge = ":443", "https://127.0.0.1:1/directory", names.HTTP01
	k, err := names.New(cfg, dir, []string{"a.boxes.example.org"}, nil, slog.New(slog.DiscardHandler), prometheus.NewRegistry())
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func TestABoxWithoutALineStartsWithTheCertificateThatItHas(t *testing.T) {
	for name, tt := range map[string]struct {
		kept []byte
		want error
	}{
		"none": {nil, names.ErrNone}, "a damaged one": {[]byte("half a"), names.ErrNone},
		"one that has run out": {pemOf(t, "a.boxes.example.org", time.Now().Add(-90*24*time.Hour), time.Now().Add(-time.Hour)), nil},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			if tt.kept != nil {
				if err := os.WriteFile(filepath.Join(dir, "public.pem"), tt.kept, 0o600); err != nil {
					t.Fatal(err)
				}
			}
			k := keeper(t, dir)
			if _, err := k.Certificate(&tls.ClientHelloInfo{}); !errors.Is(err, tt.want) {
				t.Errorf("at the start: %v, want %v", err, tt.want)
			}
			ctx, stop := context.WithCancel(t.Context())
			done := make(chan error, 1)
			go func() { done <- k.Run(ctx) }()
			for end := time.Now().Add(time.Minute); k.State().Problem == "" && time.Now().Before(end); {
				<-time.After(10 * time.Millisecond)
			}
			if s := k.State(); !strings.Contains(s.Problem, "127.0.0.1") || s.Until.IsZero() != (tt.want != nil) {
				t.Errorf("after a try: %+v", s)
			}
			if _, err := k.Certificate(&tls.ClientHelloInfo{}); !errors.Is(err, tt.want) {
				t.Errorf("after a try: %v, want %v", err, tt.want)
			}
			stop()
			if err := <-done; err != nil {
				t.Error(err)
			}
		})
	}
}

func TestOnlyWhatAnAuthorityAskedForIsAnswered(t *testing.T) {
	k := keeper(t, t.TempDir())
	next := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusTeapot) })
	for _, path := range []string{"/", "/.well-known/acme-challenge/", "/.well-known/acme-challenge/x"} {
		w := httptest.NewRecorder()
		k.Challenges(next).ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), http.MethodGet, path, http.NoBody))
		if w.Code != http.StatusTeapot {
			t.Errorf("%s: %d", path, w.Code)
		}
	}
}

// line is the way to a region that notes what it is told.
type line struct {
	mu     sync.Mutex
	server string
	since  time.Time
	err    error
	answer string
	told   []string
}

func (l *line) Connected() (string, time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.server, l.since
}

func (l *line) Tell(_ context.Context, path string, body []byte) ([]byte, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.told = append(l.told, path+" "+string(body))
	return []byte(l.answer), l.err
}

func (l *line) set(fn func()) {
	l.mu.Lock()
	defer l.mu.Unlock()
	fn()
}

func (l *line) count() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.told)
}

func TestTheRegionIsToldWhenThereIsSomethingToTell(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var mu sync.Mutex
		what := locate.Announcement{}
		say := func() (locate.Announcement, string) {
			mu.Lock()
			defer mu.Unlock()
			return what, "no certificate"
		}
		change := func(a locate.Announcement) {
			mu.Lock()
			defer mu.Unlock()
			what = a
		}
		l := &line{answer: `{"taken":true}`}
		a := names.NewAnnouncer(say, slog.New(slog.DiscardHandler))
		ctx, stop := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- a.Run(ctx, l) }()
		steps := []struct {
			name  string
			do    func()
			after time.Duration
			told  int
			taken bool
			why   string
		}{
			{"nothing to say", func() { l.set(func() { l.server, l.since = "s1", time.Now() }) }, time.Hour, 0, false, "no certificate"},
			{"a certificate", func() { change(locate.Announcement{Host: "a.b.example", Port: 443}) }, 5 * time.Second, 1, true, ""},
			{"nothing new", func() {}, 5 * time.Minute, 1, true, ""},
			{"for long", func() {}, 6 * time.Minute, 2, true, ""},
			{"another server", func() { l.set(func() { l.server = "s2" }) }, 5 * time.Second, 3, true, ""},
			{"no server", func() { l.set(func() { l.server = "" }) }, 5 * time.Second, 3, false, "no server of the region is followed"},
			{"the same again", func() { l.set(func() { l.server = "s2" }) }, 5 * time.Second, 4, true, ""},
			{"a server that fails", func() {
				l.set(func() { l.err = errors.New("broken") })
				change(locate.Announcement{Host: "a.b.example", Port: 444})
			}, 40 * time.Second, 6, false, "broken"},
			{"and is well again", func() { l.set(func() { l.err = nil }) }, 40 * time.Second, 7, true, ""},
			{"one that is too old", func() { l.set(func() { l.server, l.err = "s3", names.ErrUnknown }) }, 5 * time.Minute, 8, false, names.ErrUnknown.Error()},
			{"draining", func() { l.set(func() { l.err, l.answer = nil, `{"taken":false}` }); change(locate.Announcement{}) }, 5 * time.Minute, 9, false, "no certificate"},
		}
		for _, s := range steps {
			s.do()
			<-time.After(s.after)
			synctest.Wait()
			if taken, why := a.Taken(); l.count() != s.told || taken != s.taken || why != s.why {
				t.Errorf("%s: told %d times, taken %v, %q; want %d, %v, %q", s.name, l.count(), taken, why, s.told, s.taken, s.why)
			}
		}
		stop()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}
