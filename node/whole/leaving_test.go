package whole_test

import (
	"bytes"
	"fmt"
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"testing"
	"time"

	"preau/node/front"
)

// TestWhatABoxIsAskedForStaysWhenItLeaves: a box that is drained is asked for
// pages by people; the other takes those, and none that nobody has asked for
// twice, and no byte of a page crosses the line for it.
func TestWhatABoxIsAskedForStaysWhenItLeaves(t *testing.T) {
	quick(t)
	content := noise(t, 300_123)
	var sent atomic.Int64
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Cache-Control", "max-age=3600")
		w.Header().Set("Content-Type", "video/mp4")
		w.Header().Set("Etag", `"page"`)
		http.ServeContent(&counted{w, &sent}, r, "", time.Time{}, bytes.NewReader(content))
	}))
	t.Cleanup(srv.Close)
	var site front.Site
	site.SetDefaults()
	site.Name, site.Upstream = "films", srv.URL
	_, operator := founded(t, configOf(t, site))
	boxes := neighbours(t, operator, []string{"library", "hall"}, site)
	leaves, stays := boxes[0], boxes[1]
	var popular, other []string
	for i := range 16 {
		path := fmt.Sprint("/o/films/page", i)
		if err := leaves.serves(t, path, content); err != nil {
			t.Fatal(err)
		}
		switch {
		case stays.holds(t, path):
		case len(popular) <= len(other):
			popular = append(popular, path)
			if err := leaves.serves(t, path, content); err != nil {
				t.Fatal(err)
			}
		default:
			other = append(other, path)
		}
	}
	if len(popular) == 0 || len(other) == 0 {
		t.Fatalf("%d popular pages and %d others are on the first box only", len(popular), len(other))
	}
	before := sent.Load()
	const fromRegion = `preau_parent_received_bytes_total{site="films"}`
	crossed := stays.metric(t, fromRegion)
	if crossed < len(content) {
		t.Fatalf("%d bytes came from the region: the test proves nothing", crossed)
	}
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPut, "http://"+leaves.cfg.Admin.Listen+"/drain", http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := device.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		t.Fatal(resp.Status)
	}
	for _, path := range popular {
		eventually(t, func() error {
			if !stays.holds(t, path) {
				return fmt.Errorf("%s is on the box that leaves only: %s", path, stays.pooled(t))
			}
			return nil
		})
	}
	for _, path := range other {
		if stays.holds(t, path) {
			t.Errorf("%s was taken too, and nobody asks for it", path)
		}
	}
	if n := sent.Load() - before; n > 0 {
		t.Errorf("the site gave %d bytes for it", n)
	}
	if n := stays.metric(t, fromRegion) - crossed; n > len(content)/3 {
		t.Errorf("the region gave %d bytes for it", n)
	}
	leaves.end(t)
	for _, path := range popular {
		if err := stays.serves(t, path, content); err != nil {
			t.Error(err)
		}
	}
}
