package whole_test

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"preau/node/config"
	"preau/node/follow"
	"preau/node/front"
	"preau/node/lifecycle"
)

// What a box counts reaches the region where enough asked for it, and nothing
// else does.
func TestCountsGoUpAboveTheThresholdOnly(t *testing.T) {
	long(t)
	_, operator := threeServers(t)
	a := enrol(t, operator, "box-a", "0690001A")
	cfg := follow.DefaultConfig(a.cfg.Data)
	cfg.CountsEvery = 200 * time.Millisecond
	f, err := follow.New(cfg, logTo(t), prometheus.NewRegistry())
	if err != nil {
		t.Fatal(err)
	}
	fr, err := front.New(t.Context(), front.Config{Data: a.cfg.Data, Budget: 64 * config.MiB, Opened: f.Opened}, logTo(t), prometheus.NewRegistry())
	if err != nil {
		t.Fatal(err)
	}
	group := lifecycle.New(logTo(t))
	fr.Add(group)
	f.Add(group)
	ctx, stop := context.WithCancel(context.WithoutCancel(t.Context()))
	done := make(chan error, 1)
	go func() { done <- group.Run(ctx) }()
	t.Cleanup(func() {
		stop()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	content := noise(t, 3000)
	much, little := publish(t, operator, "much.pdf", content), publish(t, operator, "little.pdf", content[:2000])
	ask := func(path string) error {
		w := httptest.NewRecorder()
		f.Shelf().ServeHTTP(w, httptest.NewRequest(http.MethodGet, path, http.NoBody))
		if w.Code != http.StatusOK {
			return fmt.Errorf("%s: %d", path, w.Code)
		}
		return nil
	}
	for path, times := range map[string]int{much.URL: 12, little.URL: 4} {
		for range times {
			eventually(t, func() error { return ask(path) })
		}
	}
	for range 7 {
		f.Served("library", "/course/1", true)
		f.Served("library", "0123456789abcdef", false)
	}
	want := []string{"m/0123456789abcdef", "o/library/course/1", "r/" + much.ID}
	eventually(t, func() error {
		var got []string
		for rec, err := range operator.Records(t.Context(), "popularity") {
			if err != nil {
				return err
			}
			got = append(got, rec.ID)
		}
		if fmt.Sprint(got) != fmt.Sprint(want) {
			return fmt.Errorf("the region knows of %v, want %v", got, want)
		}
		return nil
	})
}
