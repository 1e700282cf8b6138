package whole_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"preau/node/box"
	"preau/node/config"
	"preau/node/control"
	"preau/node/follow"
	"preau/node/front"
	"preau/node/listen"
	enrolment "preau/replication/enrol"
	"preau/replication/wire"
)

// device is how all that is not a node asks.
var device = &http.Client{Timeout: time.Minute}

// school is a box of a region in this process, and how devices reach it.
type school struct {
	name string
	cfg  box.Config
	url  string
	box  *box.Box // while it runs
	stop context.CancelFunc
	done chan error
}

// enrol makes a box of the region in a folder of its own.
func enrol(t *testing.T, operator *control.Client, name, code string, sites ...front.Site) *school {
	t.Helper()
	cfg := box.DefaultConfig()
	cfg.Data, cfg.Budget, cfg.Admin.Listen = filepath.Join(t.TempDir(), name), 64*config.MiB, "127.0.0.1:0"
	cfg.Listen = []listen.Config{{Address: freeAddress(t)}}
	cfg.Site = sites
	var token control.Token
	eventually(t, func() (err error) {
		token, err = operator.Token(t.Context(), control.TokenRequest{Role: "box", School: code})
		return err
	})
	_, err := control.Enrol(t.Context(), control.Enrolment{Token: token.Token, Dir: follow.IdentityDir(cfg.Data), Role: "box", Name: name})
	if err != nil {
		t.Fatal(err)
	}
	return &school{name: name, cfg: cfg, url: "http://" + cfg.Listen[0].Address}
}

func (s *school) run(t *testing.T) {
	t.Helper()
	b, err := box.New(t.Context(), s.cfg, logTo(t).With("box", s.name))
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.WithoutCancel(t.Context()))
	s.box, s.stop, s.done = b, stop, make(chan error, 1)
	go func() { s.done <- b.Run(ctx) }()
	t.Cleanup(func() { s.end(t) })
}

func (s *school) end(t *testing.T) {
	t.Helper()
	s.stop()
	select {
	case err := <-s.done:
		if err != nil {
			t.Errorf("box %s: %v", s.name, err)
		}
		s.done <- nil
	case <-time.After(time.Minute):
		t.Fatalf("box %s does not stop", s.name)
	}
}

// get asks the box for a path.
func (s *school) get(t *testing.T, path string) (status int, body []byte, header http.Header) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, s.url+path, http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := device.Do(req)
	if err != nil {
		return 0, []byte(err.Error()), nil
	}
	defer resp.Body.Close()
	body, err = io.ReadAll(resp.Body)
	if err != nil {
		return 0, []byte(err.Error()), nil
	}
	return resp.StatusCode, body, resp.Header
}

func (s *school) serves(t *testing.T, path string, want []byte) error {
	t.Helper()
	status, body, _ := s.get(t, path)
	if status != http.StatusOK || !bytes.Equal(body, want) {
		return fmt.Errorf("%s serves %s with %d and %d bytes: %.100s", s.name, path, status, len(body), body)
	}
	return nil
}

// leader stops the server that leads now.
func stopLeader(t *testing.T, servers []*server, operator *control.Client) {
	t.Helper()
	eventually(t, func() error {
		st, err := operator.Status(t.Context())
		if err != nil {
			return err
		}
		for _, s := range servers {
			if s.name == st.Leader {
				s.end(t)
				return nil
			}
		}
		return errors.New("no leader")
	})
}

func noise(t *testing.T, n int) []byte {
	t.Helper()
	p := make([]byte, n)
	if _, err := rand.Read(p); err != nil {
		t.Fatal(err)
	}
	return p
}

func publish(t *testing.T, operator *control.Client, name string, content []byte, more ...func(*control.Publication)) control.Done {
	t.Helper()
	p := control.Publication{Collection: "lessons", Title: name, Filename: name, ContentType: "application/pdf", Subscribe: true, Modified: time.Now()}
	for _, fn := range more {
		fn(&p)
	}
	var done control.Done
	eventually(t, func() (err error) {
		done, err = operator.Publish(t.Context(), bytes.NewReader(content), int64(len(content)), p, nil)
		return err
	})
	return done
}

// most is n bytes, or a quarter of that where there is little time.
func most(n int) int {
	if testing.Short() {
		return n / 4
	}
	return n
}

// long is for tests that make test has no time for; make test-system runs them.
func long(t *testing.T) {
	t.Helper()
	if testing.Short() {
		t.Skip("a longer one: make test-system runs it")
	}
	t.Parallel()
}

// quick is for tests that make test runs whole, and with the race detector: what
// make test-system would do again is left out there.
func quick(t *testing.T) {
	t.Helper()
	if system && !testing.Short() {
		t.Skip("make test runs it")
	}
}

// The story that the whole is for.
func TestWhatIsPublishedReachesBoxesAndIsGoneAfterAPurge(t *testing.T) {
	t.Parallel()
	servers, operator := threeServers(t)
	a, b := enrol(t, operator, "box-a", "0690001A"), enrol(t, operator, "box-b", "0690002B")
	a.run(t)
	b.run(t)

	short, long := noise(t, 300<<10), noise(t, most(9<<20)+77)
	first := publish(t, operator, "atlas.pdf", short)
	stopLeader(t, servers, operator)
	second := publish(t, operator, "film.pdf", long)
	for _, s := range []*school{a, b} {
		eventually(t, func() error { return s.serves(t, first.URL, short) })
		eventually(t, func() error { return s.serves(t, second.URL, long) })
	}

	var purged control.Done
	eventually(t, func() (err error) {
		purged, err = operator.Purge(t.Context(), control.PurgeRequest{Collection: "lessons"})
		return err
	})
	eventually(t, func() error {
		p, err := operator.Progress(t.Context(), purged.Index)
		if err == nil && (p.Connected != 2 || p.Confirmed != 2) {
			err = fmt.Errorf("%+v", p)
		}
		return err
	})
	for _, s := range []*school{a, b} { // confirmed is gone: not a moment later
		for _, path := range []string{first.URL, second.URL} {
			if status, body, _ := s.get(t, path); status != http.StatusGone && status != http.StatusNotFound {
				t.Errorf("%s after the purge: %d %.50q", path, status, body)
			}
		}
	}
}

func TestOnlyTheSchoolsThatMaySeeADocument(t *testing.T) {
	long(t)
	_, operator := threeServers(t)
	a, b := enrol(t, operator, "box-a", "0690001A"), enrol(t, operator, "box-b", "0690002B")
	a.run(t)
	b.run(t)
	content := noise(t, 5000)
	secret := publish(t, operator, "exam.pdf", content, func(p *control.Publication) { p.Schools = []string{"0690001A"} })
	open := publish(t, operator, "open.pdf", content)
	eventually(t, func() error { return a.serves(t, secret.URL, content) })
	eventually(t, func() error { return b.serves(t, open.URL, content) })
	if status, _, _ := b.get(t, secret.URL); status != http.StatusNotFound {
		t.Errorf("the other school's box answers %d", status)
	}
}

func TestABoxGoesOnWithoutItsRegionAndCatchesUp(t *testing.T) {
	long(t)
	servers, operator := threeServers(t)
	a := enrol(t, operator, "box-a", "0690001A")
	a.run(t)
	content := noise(t, 2<<20)
	kept := publish(t, operator, "kept.pdf", content)
	recalled := publish(t, operator, "recalled.pdf", content[:1<<20])
	eventually(t, func() error { return a.serves(t, kept.URL, content) })
	eventually(t, func() error { return a.serves(t, recalled.URL, content[:1<<20]) })

	a.end(t)
	eventually(t, func() error { _, err := operator.Unpublish(t.Context(), recalled.ID); return err })
	news := publish(t, operator, "news.pdf", content[:1000])
	for _, s := range servers {
		s.end(t)
	}
	a.run(t) // with no region at all
	eventually(t, func() error { return a.serves(t, kept.URL, content) })
	if err := a.serves(t, recalled.URL, content[:1<<20]); err != nil {
		t.Errorf("what a box can't know is recalled it serves on: %v", err)
	}
	for _, s := range servers {
		run(t, s.cfg, s.name)
	}
	eventually(t, func() error { return a.serves(t, news.URL, content[:1000]) })
	if status, _, _ := a.get(t, recalled.URL); status == http.StatusOK {
		t.Error("what was recalled meanwhile is served after catching up")
	}
}

func TestARevokedBoxIsRefusedByEveryServerAtOnce(t *testing.T) {
	long(t)
	_, operator := threeServers(t)
	a := enrol(t, operator, "box-a", "0690001A")
	a.run(t)
	connected := func() (int, error) {
		p, err := operator.Progress(t.Context(), 1)
		return p.Connected, err
	}
	eventually(t, func() error {
		n, err := connected()
		if err == nil && n != 1 {
			err = fmt.Errorf("%d boxes are connected", n)
		}
		return err
	})
	if _, err := operator.Revoke(t.Context(), control.Revocation{Role: "box", Name: "box-a", Reason: "stolen"}); err != nil {
		t.Fatal(err)
	}
	eventually(t, func() error {
		boxes, err := operator.Boxes(t.Context())
		if err != nil {
			return err
		}
		if len(boxes) != 1 || boxes[0].State != "revoked" || boxes[0].Connected {
			return fmt.Errorf("%+v", boxes)
		}
		return nil
	})
	content := noise(t, 1000)
	after := publish(t, operator, "after.pdf", content)
	time.Sleep(time.Second) // it must not arrive, so there is nothing to wait for
	if status, _, _ := a.get(t, after.URL); status == http.StatusOK {
		t.Error("a revoked box still follows")
	}
}

// origin is a web site that counts what it is asked.
func origin(t *testing.T) (site front.Site, asked *atomic.Int64, version *atomic.Int64) {
	t.Helper()
	asked, version = new(atomic.Int64), new(atomic.Int64)
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked.Add(1)
		w.Header().Set("Cache-Control", "public, max-age=86400")
		w.Header().Set("Surrogate-Key", "courses geography")
		_, _ = fmt.Fprintf(w, "version %d of %s", version.Load(), r.URL.Path) // whoever asked is gone otherwise
	}))
	t.Cleanup(srv.Close)
	site.SetDefaults()
	site.Name, site.Upstream = "library", srv.URL
	return site, asked, version
}

// asBox asks servers as a box does, without what a box adds after a purge.
func asBox(t *testing.T, s *school) func(*server, string) string {
	t.Helper()
	me, err := enrolment.OpenStore(follow.IdentityDir(s.cfg.Data))
	if err != nil {
		t.Fatal(err)
	}
	dialer, err := wire.NewDialer(me.Credentials(), wire.DefaultDialConfig())
	if err != nil {
		t.Fatal(err)
	}
	return func(to *server, path string) string {
		rt := dialer.Transport(wire.Target{Address: to.cfg.Listen})
		defer rt.Close()
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "https://server"+path, http.NoBody)
		if err != nil {
			t.Fatal(err)
		}
		resp, err := rt.RoundTrip(req)
		if err != nil {
			return err.Error()
		}
		defer resp.Body.Close()
		body, err := io.ReadAll(resp.Body)
		if err != nil {
			return err.Error()
		}
		return string(body)
	}
}

func TestSitesAreFetchedOnceForTheRegionAndPurgedEverywhere(t *testing.T) {
	if testing.Short() {
		t.Skip("a longer one: make test-system runs it")
	}
	// By itself: a box asks a second server beside one that is silent for two
	// seconds, as any may be while all the others' tests run.
	site, asked, version := origin(t)
	servers, operator := threeServers(t, site)
	a, b := enrol(t, operator, "box-a", "0690001A", site), enrol(t, operator, "box-b", "0690002B", site)
	a.run(t)
	b.run(t)
	// Both must know the same servers, and which sites each has: one that they
	// learn of meanwhile is asked for its part.
	eventually(t, func() error {
		ready := 0
		for rec, err := range operator.Records(t.Context(), "servers") {
			if err != nil {
				return err
			}
			if v, ok := rec.Value.(map[string]any); ok && v["sites"] != nil {
				ready++
			}
		}
		if ready != 3 {
			return fmt.Errorf("%d of 3 servers have said which sites they have", ready)
		}
		p, err := operator.Progress(t.Context(), operator.Index())
		if err == nil && p.Confirmed != 2 {
			err = fmt.Errorf("%+v", p)
		}
		return err
	})
	for _, s := range []*school{a, b} {
		if err := s.serves(t, "/o/library/course/1", []byte("version 0 of /course/1")); err != nil {
			t.Error(err)
		}
	}
	if n := asked.Load(); n != 1 {
		t.Errorf("the site was asked %d times for two schools", n)
	}
	for i, q := range []control.PurgeRequest{
		{Site: "library", URL: "/course/1"}, {Site: "library", Prefix: "/course/"}, {Site: "library", Tag: "geography"}, {Site: "library", All: true},
	} {
		version.Add(1)
		var done control.Done
		eventually(t, func() (err error) { done, err = operator.Purge(t.Context(), q); return err })
		eventually(t, func() error {
			p, err := operator.Progress(t.Context(), done.Index)
			if err == nil && p.Confirmed != 2 {
				err = fmt.Errorf("%+v", p)
			}
			return err
		})
		want := fmt.Appendf(nil, "version %d of /course/1", i+1)
		for _, s := range []*school{a, b} {
			if err := s.serves(t, "/o/library/course/1", want); err != nil {
				t.Errorf("after purge %+v: %v", q, err)
			}
		}
	}
	// The servers' own copies are purged too, whoever asks and however.
	ask := asBox(t, a)
	eventually(t, func() error {
		for _, s := range servers {
			if got := ask(s, "/o/library/course/1"); got != "version 4 of /course/1" {
				return fmt.Errorf("%s has %q", s.name, got)
			}
		}
		return nil
	})
	for _, s := range servers { // the whole region is away: straight to the site
		s.end(t)
	}
	if err := a.serves(t, "/o/library/course/2", []byte("version 4 of /course/2")); err != nil {
		t.Error(err)
	}
}
