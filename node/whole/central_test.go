package whole_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"preau/node/central"
	"preau/node/config"
	"preau/node/control"
	"preau/node/region"
)

// gateway is the ministry's gateway in this process, with its buckets in a folder.
type gateway struct {
	cfg  central.Config
	stop context.CancelFunc
	done chan error
}

func (g *gateway) run(t *testing.T) {
	t.Helper()
	c, err := central.New(t.Context(), g.cfg, logTo(t).With("gateway", "central"))
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.WithoutCancel(t.Context()))
	g.stop, g.done = stop, make(chan error, 1)
	go func() { g.done <- c.Run(ctx) }()
	t.Cleanup(func() { g.end(t) })
}

func (g *gateway) end(t *testing.T) {
	t.Helper()
	g.stop()
	select {
	case err := <-g.done:
		if err != nil {
			t.Errorf("gateway: %v", err)
		}
		g.done <- nil
	case <-time.After(time.Minute):
		t.Fatal("the gateway does not stop")
	}
}

// put puts an object into a bucket, as preau central put does.
func (g *gateway) put(t *testing.T, bucket, key string, body []byte) {
	t.Helper()
	eventually(t, func() error {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodPut, "http://"+g.cfg.Admin.Listen+"/store/"+bucket+"/"+key, bytes.NewReader(body))
		if err != nil {
			return err
		}
		req.Header.Set("Content-Type", "video/mp4")
		resp, err := device.Do(req)
		if err != nil {
			return err
		}
		defer resp.Body.Close()
		if resp.StatusCode != http.StatusCreated {
			return fmt.Errorf("put: %s", resp.Status)
		}
		return nil
	})
}

// founded is a region of one server.
func founded(t *testing.T, cfg region.Config) (*server, *control.Client) {
	t.Helper()
	if _, err := region.Found(t.Context(), cfg, region.Founding{Name: "Lyon", Server: "s1"}, logTo(t)); err != nil {
		t.Fatal(err)
	}
	s := run(t, cfg, "s1")
	operator, err := control.Open(region.OperatorDir(cfg.Data), nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = operator.Close() }) // only connections
	return s, operator
}

// withCentre is a region of one server, its gateway and a box.
func withCentre(t *testing.T) (*server, *control.Client, *gateway, *school) {
	t.Helper()
	at, admin := freeAddress(t), freeAddress(t)
	cfg := configOf(t)
	cfg.Central.Address = at
	s, operator := founded(t, cfg)
	var token control.Token
	eventually(t, func() (err error) {
		token, err = operator.Token(t.Context(), control.TokenRequest{Role: "central"})
		return err
	})
	g := &gateway{cfg: central.DefaultConfig()}
	g.cfg.Data, g.cfg.Directory, g.cfg.Listen, g.cfg.Admin.Listen = t.TempDir(), filepath.Join(t.TempDir(), "buckets"), at, admin
	g.cfg.Buckets, g.cfg.MakeThem, g.cfg.Every = []string{"lecons"}, true, config.Duration(2*time.Second)
	id, err := control.RegionOf(token.Token)
	if err != nil {
		t.Fatal(err)
	}
	_, err = control.Enrol(t.Context(), control.Enrolment{Token: token.Token, Role: "central", Name: "central", Dir: central.RegionDir(g.cfg.Data, id)})
	if err != nil {
		t.Fatal(err)
	}
	g.run(t)
	b := enrol(t, operator, "library", "0690001A")
	b.run(t)
	return s, operator, g, b
}

// fetch asks a box for a path and returns the body of a 200.
func fetch(t *testing.T, url string) ([]byte, error) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, http.NoBody)
	if err != nil {
		return nil, err
	}
	resp, err := device.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err == nil && resp.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s: %s", url, resp.Status)
	}
	return body, err
}

func TestAnObjectReachesADevice(t *testing.T) {
	t.Parallel()
	_, operator, g, b := withCentre(t)
	film := noise(t, most(5<<20))
	g.put(t, "lecons", "6e/film.mp4", film)
	var id string
	find := func() error {
		for rec, err := range operator.Records(t.Context(), "resources") {
			if err != nil {
				return err
			}
			id = rec.ID
		}
		if id == "" {
			return errors.New("nothing is published")
		}
		return nil
	}
	eventually(t, find)
	url := b.url + "/r/" + id + "/film.mp4"
	eventually(t, func() error {
		got, err := fetch(t, url)
		if err == nil && !bytes.Equal(got, film) {
			t.Fatal("other bytes")
		}
		return err
	})
	// A new version, then none.
	film[len(film)*3/5] ^= 1
	g.put(t, "lecons", "6e/film.mp4", film)
	eventually(t, func() error {
		got, err := fetch(t, url)
		if err == nil && !bytes.Equal(got, film) {
			err = errors.New("still the old version")
		}
		return err
	})
	req, err := http.NewRequestWithContext(t.Context(), http.MethodDelete, "http://"+g.cfg.Admin.Listen+"/store/lecons/6e/film.mp4", http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := device.Do(req)
	if err != nil || resp.Body.Close() != nil || resp.StatusCode != http.StatusNoContent {
		t.Fatal(resp.Status, err)
	}
	eventually(t, func() error {
		if _, err := fetch(t, url); err == nil {
			return errors.New("still there")
		}
		return nil
	})
}

// deposit adds a file on a box and returns its id.
func deposit(t *testing.T, b *school, name string, body []byte) string {
	t.Helper()
	token, err := os.ReadFile(filepath.Join(b.cfg.Data, "deposits", "token"))
	if err != nil {
		t.Fatal(err)
	}
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPut, b.url+"/d/"+name, bytes.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+strings.TrimSpace(string(token)))
	resp, err := device.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	var d struct{ ID, State string }
	if err := json.NewDecoder(resp.Body).Decode(&d); err != nil || resp.StatusCode != http.StatusCreated || d.ID == "" {
		t.Fatal(resp.Status, d, err)
	}
	return d.ID
}

func TestADepositReachesTheCentre(t *testing.T) {
	t.Parallel()
	deposited(t, func(*server) {}, func(*server) {})
}

// A box that lost all servers of its region comes back within a minute, so that
// not all boxes come at once.
func TestADepositWaitsForTheLine(t *testing.T) {
	long(t)
	deposited(t, func(s *server) { s.end(t) }, func(s *server) { run(t, s.cfg, "s1") })
}

// deposited adds a file between two events, and looks where it goes.
func deposited(t *testing.T, before, after func(*server)) {
	t.Helper()
	s, operator, g, b := withCentre(t)
	text := noise(t, most(9<<20))
	eventually(t, func() error { _, err := os.Stat(filepath.Join(b.cfg.Data, "deposits", "token")); return err })
	before(s)
	id := deposit(t, b, "lecon.pdf", text)
	if got, err := fetch(t, b.url+"/d/"+id+"/lecon.pdf"); err != nil || !bytes.Equal(got, text) {
		t.Errorf("it can't be had in the school: %v", err)
	}
	after(s)
	var state struct{ State, Bucket, Key, Waiting string }
	patiently(t, 3*time.Minute, func() error {
		raw, err := fetch(t, b.url+"/d/"+id)
		if err == nil {
			err = json.Unmarshal(raw, &state)
		}
		if err == nil && state.State != "central" {
			err = fmt.Errorf("it is at %q: %s", state.State, state.Waiting)
		}
		return err
	})
	if state.Bucket != "preau-deposits" || !strings.HasPrefix(state.Key, "0690001A/") || !strings.HasSuffix(state.Key, "/lecon.pdf") {
		t.Errorf("%+v", state)
	}
	for rec, err := range operator.Records(t.Context(), "deposits") {
		if err != nil || rec.ID != id {
			t.Error(rec, err)
		}
	}
	// It is in the folder, whole.
	g.end(t)
	found := 0
	err := filepath.WalkDir(filepath.Join(g.cfg.Directory, "buckets", "preau-deposits"), func(path string, e os.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		raw, err := os.ReadFile(path)
		if err == nil && bytes.HasPrefix(raw, text) {
			found++
		}
		return err
	})
	if err != nil || found != 1 {
		t.Errorf("%d copies in the bucket (%v)", found, err)
	}
}
