package provision_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"preau/node/control"
	"preau/node/control/controltest"
	"preau/node/provision"
	"preau/node/update"
)

// passing has the bench pass sites through a server that stands for the box beside
// it. What begins with good: is signed.
func (b *bench) passing(t *testing.T) *httptest.Server {
	t.Helper()
	beside := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Via", "1.1 box")
		if r.URL.Path == "/slow" {
			fmt.Fprint(w, "first")
			w.(http.Flusher).Flush()
			<-r.Context().Done()
			return
		}
		fmt.Fprintf(w, "%s %s%s %s", r.Method, r.Host, r.URL.RequestURI(), r.Header.Get("X-Forwarded-For"))
	}))
	efi := filepath.Dir(b.cfg.Note)
	b.cfg.Plan, b.cfg.Pass = filepath.Join(efi, "preau-box.plan"), filepath.Join(efi, "..", "run", "pass", "settings.toml")
	verify := func(_ context.Context, signed []byte) ([]byte, error) {
		if text, ok := bytes.CutPrefix(signed, []byte("good:")); ok {
			return text, nil
		}
		return nil, errors.New("it is not signed by the key")
	}
	b.parts.Sites = func(ctx context.Context, signed []byte, had control.Place) (string, error) {
		return update.SettingsIn(ctx, verify, signed, update.Who{Region: had.Region, School: had.School, Box: had.Name})
	}
	b.parts.Open = func(file string) (provision.Passing, error) {
		text := b.read(file)
		if strings.Contains(text, "wrong") {
			return provision.Passing{}, errors.New("settings.toml:1: wrong: unknown key")
		}
		to := provision.Passing{Address: beside.Listener.Addr().String()}
		if text != "" {
			to.Names, to.Hosts = []string{"cloud", "any"}, strings.Fields(text)
		}
		return to, nil
	}
	t.Cleanup(beside.Close)
	return beside
}

func (b *bench) plan(text string) {
	b.t.Helper()
	if err := os.WriteFile(b.cfg.Plan, []byte(text), 0o644); err != nil {
		b.t.Fatal(err)
	}
}

// asked is what a request of a device is answered.
func (b *bench) asked(method, url string) (status int, body string) {
	w := httptest.NewRecorder()
	b.box.Page().ServeHTTP(w, httptest.NewRequestWithContext(b.t.Context(), method, url, nil))
	return w.Code, w.Body.String()
}

const forTheSchool = "good:serial = 1\n[[settings]]\nschools = [\"0690001A\"]\ntext = '''\ncloud.example.org *.films.example *\n'''\n[[settings]]\nboxes = [\"other\"]\ntext = \"wrong\"\n"

func TestWebSitesPassWhileABoxWaitsWithoutItsDisk(t *testing.T) {
	region := controltest.Start(t, 1)
	b := newBench(t)
	b.passing(t).Start()
	b.plan(forTheSchool)
	b.was(region, "tpm")
	if _, err := os.Stat(b.cfg.Pass); err == nil {
		t.Error("sites are passed by a box that has its disk")
	}
	b.power()
	q := b.asks(region)
	if text := b.read(b.cfg.Pass); text != "cloud.example.org *.films.example *\n" {
		t.Errorf("what passes sites has the settings %q", text)
	}
	if s := b.box.State(); s.Pass == nil || !slices.Equal(s.Pass.Sites, []string{"cloud", "any"}) {
		t.Errorf("its state is %+v", s.Pass)
	}
	b.sees("En attendant, les sites web de l’école passent")
	for url, want := range map[string]string{
		"http://cloud.example.org/a%2Fb?x=1;y&z": "GET cloud.example.org/a%2Fb?x=1;y&z ",
		"http://CLOUD.example.org.:80/":          "GET CLOUD.example.org.:80/ ",
		"http://a.films.example/":                "GET a.films.example/ ",
		"http://192.0.2.7/o/cloud/page":          "GET 192.0.2.7/o/cloud/page ",
		"http://elsewhere.example/":              "GET elsewhere.example/ ",
		"http://192.0.2.7/":                      "",
		"http://[2001:db8::1]/":                  "",
		"http://preau.local/":                    "",
		"http://preau/claim":                     "",
		"http://192.0.2.7/o/none/":               "",
	} {
		status, body := b.asked(http.MethodGet, url)
		if page := strings.Contains(body, "reprendre sa place"); want == "" && (!page || status != http.StatusServiceUnavailable) || want != "" && (body != want || status != http.StatusOK) {
			t.Errorf("%s: %d %.200q", url, status, body)
		}
	}
	b.streams(t)

	// Once it is taken back nothing passes sites beside it.
	region.Accept(q)
	b.enrolled()
	if _, err := os.Stat(b.cfg.Pass); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("what passes sites would start again: %v", err)
	}
	if status, _ := b.asked(http.MethodGet, "http://cloud.example.org/"); status != http.StatusServiceUnavailable {
		t.Errorf("a site is answered with %d by a program that has ended", status)
	}
}

// streams checks that what has come is sent on at once.
func (b *bench) streams(t *testing.T) {
	t.Helper()
	door := httptest.NewServer(b.box.Page())
	defer door.Close()
	ctx, stop := context.WithTimeout(t.Context(), time.Minute)
	defer stop()
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, door.URL+"/slow", nil)
	if err != nil {
		t.Fatal(err)
	}
	r.Host = "cloud.example.org"
	resp, err := door.Client().Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	first := make([]byte, 5)
	if _, err := io.ReadFull(resp.Body, first); err != nil || string(first) != "first" {
		t.Errorf("of a slow answer comes %q, %v", first, err)
	}
}

// While nothing passes sites, whoever asks sees the page.
func TestSitesThatDoNotPassYetAreWaitedForInWords(t *testing.T) {
	region := controltest.Start(t, 1)
	b := newBench(t)
	if err := b.passing(t).Listener.Close(); err != nil {
		t.Fatal(err)
	}
	b.plan(forTheSchool)
	b.was(region, "tpm")
	b.power()
	b.asks(region)
	if s := b.box.State(); s.Pass == nil || s.Pass.Up || strings.Contains(b.screen.shows(), "les sites web") {
		t.Errorf("its state is %+v, and its screen\n%s", s.Pass, b.screen.shows())
	}
	if status, body := b.asked(http.MethodGet, "http://cloud.example.org/"); status != http.StatusServiceUnavailable || !strings.Contains(body, "reprendre sa place") {
		t.Errorf("%d %.200q", status, body)
	}
	// A box that has its disk again wants none.
	if err := os.Remove(b.cfg.Degraded); err != nil {
		t.Fatal(err)
	}
	b.stop()
	<-b.ended //nolint:errcheck // what it says of its end is another test's
	b.screen = &screen{news: make(chan struct{}, 1)}
	b.parts.Console = b.screen
	b.power()
	b.asks(region)
	if _, err := os.Stat(b.cfg.Pass); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("sites would pass: %v", err)
	}
}

// What is not the region's, or not for the box, leads nobody anywhere; the box
// waits all the same.
func TestOnlyTheRegionsPlanHasSitesPass(t *testing.T) {
	region := controltest.Start(t, 1)
	for name, tt := range map[string]struct{ plan, why string }{
		"a stranger's":     {"bad:serial = 1\n", "not signed by the key"},
		"another region's": {"good:region = \"elsewhere\"\n" + strings.TrimPrefix(forTheSchool, "good:"), "is for region elsewhere"},
		"a wrong one":      {strings.Replace(forTheSchool, "cloud.example.org", "wrong", 1), "unknown key"},
		"another school's": {strings.Replace(forTheSchool, "0690001A", "0690002B", 1), ""},
		"none":             {"", ""},
	} {
		t.Run(name, func(t *testing.T) {
			b := newBench(t)
			b.passing(t).Start()
			if tt.plan != "" {
				b.plan(tt.plan)
			}
			b.was(region, "disk")
			b.power()
			b.asks(region)
			if _, err := os.Stat(b.cfg.Pass); !errors.Is(err, os.ErrNotExist) {
				t.Errorf("sites would pass: %v", err)
			}
			if s := b.box.State(); tt.why == "" && s.Pass != nil || tt.why != "" && (s.Pass == nil || !strings.Contains(s.Pass.Why, tt.why)) {
				t.Errorf("its state says %+v", s.Pass)
			}
			if status, body := b.asked(http.MethodGet, "http://cloud.example.org/"); status != http.StatusServiceUnavailable {
				t.Errorf("%d %.200q", status, body)
			}
		})
	}
}
