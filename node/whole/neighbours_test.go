package whole_test

import (
	"bytes"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"preau/node/control"
	"preau/node/front"
	"preau/node/near"
)

// neighbours are boxes of one school on this machine that have found each other.
func neighbours(t *testing.T, operator *control.Client, names []string, sites ...front.Site) []*school {
	t.Helper()
	var all []*school
	var gossips []string
	for _, name := range names {
		s := enrol(t, operator, name, "0690001A", sites...)
		s.cfg.Admin.Listen = freeAddress(t)
		n := &s.cfg.Neighbours
		n.Listen, n.Gossip, n.Interfaces, n.Boxes = "127.0.0.1:0", "127.0.0.1:0", []string{"no-such-interface"}, gossips
		s.run(t)
		eventually(t, func() error {
			st := s.neighbours(t)
			if st.Gossip == "" {
				return fmt.Errorf("%s does not gossip: %+v", name, st)
			}
			gossips = append(gossips, st.Gossip)
			return nil
		})
		all = append(all, s)
	}
	for _, s := range all {
		eventually(t, func() error { return s.sees(t, len(all)-1) })
	}
	return all
}

func (s *school) neighbours(t *testing.T) near.Status {
	t.Helper()
	st := s.box.Status(t.Context())
	if st.School == nil {
		return near.Status{}
	}
	return *st.School
}

// sees reports an error unless so many neighbours are alive.
func (s *school) sees(t *testing.T, want int) error {
	t.Helper()
	st, alive := s.neighbours(t), 0
	for _, n := range st.Neighbours {
		if n.State == near.StateAlive {
			alive++
		}
	}
	if alive != want {
		return fmt.Errorf("%s sees %d boxes alive, want %d: %+v", s.name, alive, want, st.Neighbours)
	}
	return nil
}

// pooled is what the box counts of what it got for a site, for a test that fails.
func (s *school) pooled(t *testing.T) string {
	t.Helper()
	text, err := fetch(t, "http://"+s.cfg.Admin.Listen+"/metrics")
	if err != nil {
		return err.Error()
	}
	out := s.name
	for line := range strings.Lines(string(text)) {
		if strings.HasPrefix(line, "preau_pool_") || strings.HasPrefix(line, "preau_parent_") {
			if name, value, ok := strings.Cut(strings.TrimSpace(line), "} "); ok && value != "0" {
				out += "\n" + name + "} " + value
			}
		}
	}
	return out
}

// film is a site with one large file, which counts the bytes that it gives.
func film(t *testing.T, content []byte) (front.Site, *atomic.Int64) {
	t.Helper()
	sent := &atomic.Int64{}
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Cache-Control", "max-age=3600")
		w.Header().Set("Etag", `"film"`)
		http.ServeContent(&counted{w, sent}, r, "film.mp4", time.Time{}, bytes.NewReader(content))
	}))
	t.Cleanup(srv.Close)
	var site front.Site
	site.SetDefaults()
	site.Name, site.Upstream = "films", srv.URL
	return site, sent
}

type counted struct {
	http.ResponseWriter
	n *atomic.Int64
}

func (c *counted) Write(p []byte) (int, error) {
	n, err := c.ResponseWriter.Write(p)
	c.n.Add(int64(n))
	return n, err
}

// TestASchoolFetchesOnce: three boxes with several devices each ask at the same
// time; then one box is gone, and the others still have all of it.
func TestASchoolFetchesOnce(t *testing.T) {
	quick(t)
	content := noise(t, 5<<20+123)
	site, sent := film(t, content)
	cfg := configOf(t, site)
	_, operator := founded(t, cfg)
	boxes := neighbours(t, operator, []string{"library", "hall", "lab"}, site)
	var all sync.WaitGroup
	for _, s := range boxes {
		for range 4 {
			all.Go(func() {
				if err := s.serves(t, "/o/films/film.mp4", content); err != nil {
					t.Error(err)
				}
			})
		}
	}
	all.Wait()
	if n := sent.Load(); n < int64(len(content)) || n > int64(len(content))+1<<16 {
		t.Errorf("the site gave %d bytes for a film of %d", n, len(content))
	}
	given, taken := int64(0), int64(0)
	for _, s := range boxes {
		for _, n := range s.neighbours(t).Neighbours {
			given, taken = given+n.Given, taken+n.Taken
		}
	}
	if least := int64(2 * len(content)); given < least || taken < least {
		t.Errorf("neighbours gave %d bytes and took %d, want at least %d", given, taken, least)
		for _, s := range boxes {
			t.Log(s.pooled(t))
		}
	}
	boxes[1].end(t)
	for _, s := range []*school{boxes[0], boxes[2]} {
		if err := s.serves(t, "/o/films/film.mp4", content); err != nil {
			t.Error(err)
		}
		eventually(t, func() error { return s.sees(t, 1) })
	}
}

// TestWithoutALineABoxHasWhatItsNeighbourHolds: pages that one box has taken, some
// of them by way of the other, are on both when neither region nor site is there.
func TestWithoutALineABoxHasWhatItsNeighbourHolds(t *testing.T) {
	quick(t)
	content := noise(t, 1<<20+123)
	down := make(chan struct{})
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		select {
		case <-down:
			panic(http.ErrAbortHandler)
		default:
		}
		w.Header().Set("Cache-Control", "max-age=3600")
		w.Header().Set("Etag", `"page"`)
		http.ServeContent(w, r, "page.bin", time.Time{}, bytes.NewReader(content))
	}))
	t.Cleanup(srv.Close)
	var site front.Site
	site.SetDefaults()
	site.Name, site.Upstream = "wiki", srv.URL
	cfg := configOf(t, site)
	server, operator := founded(t, cfg)
	boxes := neighbours(t, operator, []string{"library", "hall"}, site)
	var paths []string
	for i := range 6 { // each box is the one to fetch some of them
		paths = append(paths, fmt.Sprint("/o/wiki/page", i))
	}
	for _, path := range paths {
		for range 3 { // what is the other's to keep is kept here too once it is asked for often
			if err := boxes[0].serves(t, path, content); err != nil {
				t.Fatal(err)
			}
		}
	}
	eventually(t, func() error {
		if n := boxes[0].metric(t, `preau_edge_proofs_total{result="kept"}`); n != len(paths) {
			return fmt.Errorf("%d proofs kept, want %d", n, len(paths))
		}
		return nil
	})
	close(down)
	server.end(t)
	for _, path := range paths {
		eventually(t, func() error { return boxes[1].serves(t, path, content) })
	}
	if boxes[1].metric(t, `preau_pool_proofs_total{result="used",site="wiki"}`) == 0 {
		t.Error("nothing came with a proof")
	}
	if err := boxes[1].serves(t, "/o/wiki/nobody-has-this", content); err == nil {
		t.Error("what nobody has was served")
	}
}

// metric is one of the box's metrics, as it is printed; 0 if there is none.
func (s *school) metric(t *testing.T, name string) int {
	t.Helper()
	text, err := fetch(t, "http://"+s.cfg.Admin.Listen+"/metrics")
	if err != nil {
		t.Log(err)
		return 0
	}
	for line := range strings.Lines(string(text)) {
		if rest, ok := strings.CutPrefix(line, name+" "); ok {
			n, err := strconv.ParseFloat(strings.TrimSpace(rest), 64)
			if err != nil {
				t.Fatal(err)
			}
			return int(n)
		}
	}
	return 0
}

// TestADepositIsOnTwoBoxes: what was acknowledged with two copies is there when
// the box that took it is gone.
func TestADepositIsOnTwoBoxes(t *testing.T) {
	long(t)
	server, operator := founded(t, configOf(t))
	boxes := neighbours(t, operator, []string{"library", "hall"})
	server.end(t) // no line
	body := noise(t, 3<<20)
	id := deposit(t, boxes[0], "carte.bin", body)
	path := "/d/" + id + "/carte.bin"
	eventually(t, func() error { return boxes[1].serves(t, path, body) })
	boxes[0].end(t)
	if err := boxes[1].serves(t, path, body); err != nil {
		t.Error(err)
	}
}

// TestARevokedNeighbourIsOut: the region takes a box back, and its neighbour
// neither asks it nor answers it.
func TestARevokedNeighbourIsOut(t *testing.T) {
	long(t)
	_, operator := founded(t, configOf(t))
	boxes := neighbours(t, operator, []string{"library", "stolen"})
	if _, err := operator.Revoke(t.Context(), control.Revocation{Role: "box", Name: "stolen", Reason: "gone from the shelf"}); err != nil {
		t.Fatal(err)
	}
	eventually(t, func() error { return boxes[0].sees(t, 0) })
	eventually(t, func() error {
		for _, n := range boxes[0].neighbours(t).Neighbours {
			if strings.Contains(n.Why, "revoked") {
				return nil
			}
		}
		if len(boxes[0].neighbours(t).Neighbours) == 0 {
			return nil
		}
		return fmt.Errorf("it does not say why: %+v", boxes[0].neighbours(t).Neighbours)
	})
}
