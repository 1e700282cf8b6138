package whole_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"preau/node/control"
	"preau/node/follow"
	"preau/node/front"
	"preau/node/region"
	"preau/node/wanline"
)

// holds reports whether the box has a path itself.
func (s *school) holds(t *testing.T, path string) bool {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, s.url+path, http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Cache-Control", "only-if-cached") // RFC 9111 §5.2.1.7
	resp, err := device.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	return resp.StatusCode == http.StatusOK
}

// joined is one more server of the region.
func joined(t *testing.T, operator *control.Client, name string, sites ...front.Site) *server {
	t.Helper()
	cfg := configOf(t, sites...)
	eventually(t, func() error {
		token, err := operator.Token(t.Context(), control.TokenRequest{Role: "server"})
		if err == nil {
			_, err = region.Join(t.Context(), cfg, token.Token, name)
		}
		return err
	})
	return run(t, cfg, name)
}

// led makes one of three servers the leader.
func led(t *testing.T, operator *control.Client, name string) {
	t.Helper()
	eventually(t, func() error {
		st, err := operator.Status(t.Context())
		if err != nil || st.Leader == name && st.Voters == 3 {
			return err
		}
		_, err = operator.Lead(t.Context(), name)
		return errors.Join(fmt.Errorf("%d voters, leader %q", st.Voters, st.Leader), err)
	})
}

// TestWhatARemovedServerHasSignedIsNotBelieved: without a line a box takes what
// its neighbour holds on the word of a region's server, until that server has been
// taken out of the region. The neighbour, who keeps the old proof, is no liar. The
// boxes, which may follow that very server, learn of it all the same.
func TestWhatARemovedServerHasSignedIsNotBelieved(t *testing.T) {
	long(t)
	content := noise(t, 100_123)
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Cache-Control", "max-age=3600")
		w.Header().Set("Etag", `"page"`)
		http.ServeContent(w, r, "page.bin", time.Time{}, bytes.NewReader(content))
	}))
	t.Cleanup(srv.Close)
	var site front.Site
	site.SetDefaults()
	site.Name, site.Upstream = "wiki", srv.URL
	cfg := configOf(t, site)
	first, operator := founded(t, cfg)
	boxes := neighbours(t, operator, []string{"library", "hall"}, site)
	const pages = 16 // of these each box is the one to fetch some, and keeps them
	var unheld []string
	for i := range pages {
		path := fmt.Sprint("/o/wiki/page", i)
		if err := boxes[0].serves(t, path, content); err != nil {
			t.Fatal(err)
		}
		if !boxes[1].holds(t, path) {
			unheld = append(unheld, path)
		}
	}
	if len(unheld) < 2 {
		t.Fatalf("%d of %d pages are on one box only", len(unheld), pages)
	}
	eventually(t, func() error {
		if n := boxes[0].metric(t, `preau_edge_proofs_total{result="kept"}`); n != pages {
			return fmt.Errorf("%d proofs kept, want %d", n, pages)
		}
		return nil
	})
	srv.Close()
	first.end(t)
	eventually(t, func() error { return boxes[1].serves(t, unheld[0], content) })
	if boxes[1].metric(t, `preau_pool_proofs_total{result="used",site="wiki"}`) == 0 {
		t.Fatal("nothing came with a proof: the test proves nothing")
	}

	// Others take over from the server that has signed all that.
	first = run(t, cfg, "s1")
	var addresses []string
	for _, name := range []string{"s2", "s3"} {
		addresses = append(addresses, joined(t, operator, name, site).cfg.Listen)
	}
	operator, err := control.Open(region.OperatorDir(cfg.Data), append(addresses, cfg.Listen))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = operator.Close() }) // only connections
	// all waits until every box knows what was decided up to index.
	all := func(index uint64) {
		t.Helper()
		patiently(t, 3*time.Minute, func() error {
			p, err := operator.Progress(t.Context(), index)
			if err == nil && p.Confirmed != len(boxes) {
				err = fmt.Errorf("not every box knows all up to %d: %+v", index, p)
			}
			return err
		})
	}
	if _, err := operator.Status(t.Context()); err != nil {
		t.Fatal(err)
	}
	all(operator.Index()) // where the others are, that is
	led(t, operator, "s2")
	var index uint64
	eventually(t, func() error {
		done, err := operator.RemoveServer(t.Context(), first.name)
		index = done.Index
		return err
	})
	all(index)
	if err := boxes[1].serves(t, unheld[1], content); err == nil {
		t.Error("what only the removed server has vouched for is served")
	}
	if boxes[1].metric(t, `preau_pool_proofs_total{result="refused",site="wiki"}`) == 0 {
		t.Error("no proof was refused")
	}
	// What was believed before is the box's own by now.
	if err := boxes[1].serves(t, unheld[0], content); err != nil {
		t.Error(err)
	}
	if forged := boxes[1].metric(t, `preau_pool_proofs_total{result="forged",site="wiki"}`); forged != 0 {
		t.Errorf("%d proofs count as forged", forged)
	}
	if err := boxes[1].sees(t, 1); err != nil {
		t.Error(err)
	}
}

// TestAServerThatNeverHearsOfItsRemovalSendsBoxesElsewhere: where Raft could not
// tell it, nobody calls it any more. It can call the others.
func TestAServerThatNeverHearsOfItsRemovalSendsBoxesElsewhere(t *testing.T) {
	long(t)
	cfg := configOf(t)
	way, err := wanline.New(wanline.Config{Listen: "127.0.0.1:0", Target: cfg.Listen, Log: logTo(t)})
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.WithoutCancel(t.Context()))
	ended := make(chan error, 1)
	go func() { ended <- way.Run(ctx) }()
	t.Cleanup(func() {
		stop()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	cfg.Advertise = way.Addr()
	deaf, operator := founded(t, cfg)
	s := enrol(t, operator, "box", "0690001A")
	as, err := control.Open(follow.IdentityDir(s.cfg.Data), []string{cfg.Listen})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = as.Close() }) // only connections
	elsewhere := func() error {
		_, err := as.Status(t.Context()) // for operators only, but who is sent away hears that first
		if err == nil || !strings.Contains(err.Error(), "out of the region") {
			return fmt.Errorf("a box that asks the server is told: %w", err)
		}
		return nil
	}
	var addresses []string
	for _, name := range []string{"s2", "s3"} {
		addresses = append(addresses, joined(t, operator, name).cfg.Listen)
	}
	if operator, err = control.Open(region.OperatorDir(cfg.Data), addresses); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = operator.Close() }) // only connections
	led(t, operator, "s2")
	if err := elsewhere(); err == nil {
		t.Fatal("the server is out of the region already: the test proves nothing")
	}
	way.Cut(wanline.Refuse)
	eventually(t, func() error {
		_, err := operator.RemoveServer(t.Context(), deaf.name)
		return err
	})
	eventually(t, elsewhere)
}
