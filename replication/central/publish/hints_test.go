package publish_test

import (
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"preau/replication/central"
	"preau/replication/central/store"
)

// notice is a bucket notification as Ceph words it.
func notice(t *testing.T, bucket string, keys ...string) string {
	t.Helper()
	type m = map[string]any
	var records []m
	for _, key := range keys {
		records = append(records, m{
			"eventVersion": "2.2", "eventSource": "ceph:s3", "eventName": "ObjectCreated:Put",
			"s3": m{"configurationId": "n1", "bucket": m{"name": bucket, "id": "x"}, "object": m{"key": key, "size": 3, "metadata": []m{}}},
		})
	}
	p, err := json.Marshal(m{"Records": records})
	if err != nil {
		t.Fatal(err)
	}
	return string(p)
}

func post(t *testing.T, h http.Handler, body string) int {
	t.Helper()
	w := httptest.NewRecorder()
	h.ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), http.MethodPost, "/hints", strings.NewReader(body)))
	return w.Code
}

func hintTo(t *testing.T, g *gateway, key string) {
	t.Helper()
	if code := post(t, g.Hints(), notice(t, maps, key)); code != http.StatusOK {
		t.Errorf("a hint is answered %d", code)
	}
}

func TestHintsAreQuick(t *testing.T) {
	bubble(t, func(w *world) {
		t := w.t
		g, other := w.start(w.st, small()), w.start(w.st, small())
		defer g.stop()
		defer other.stop()
		settle(20 * time.Second)
		f, f2 := w.follower(), w.follower()
		f.read(g, 10)

		const key = "a+b c/100%.txt"
		keep := w.put(key, "one")
		hintTo(t, g, key)
		settle(2 * time.Second)
		f.read(g, 10)
		w.agrees(g, f.now)
		if len(f.log) != 1 {
			t.Fatalf("%d changes, want 1", len(f.log))
		}

		// As Amazon writes a key; to the other gateway.
		w.put(key, "two", "title", "x")
		hintTo(t, other, url.QueryEscape(key))
		settle(5 * time.Second)
		f.read(g, 10)
		f2.read(other, 10)
		w.agrees(g, f.now)
		w.agrees(other, f2.now)

		// A hint of what is known changes nothing.
		hintTo(t, g, key)
		settle(5 * time.Second)
		w.remove(key)
		hintTo(t, g, key)
		settle(5 * time.Second)
		f.read(g, 10)
		w.agrees(g, f.now)
		if len(f.log) != 3 || keep.ETag == "" {
			t.Errorf("%d changes, want 3", len(f.log))
		}
	})
}

func TestHintsAreOnlyHints(t *testing.T) {
	bubble(t, func(w *world) {
		t := w.t
		w.put("a", "one")
		g := w.start(w.st, small())
		defer g.stop()
		settle(20 * time.Second)
		tests := map[string]struct {
			body string
			want int
		}{
			"not there":       {notice(t, maps, "nothing"), http.StatusOK},
			"there as it was": {notice(t, maps, "a"), http.StatusOK},
			"another bucket":  {notice(t, "secret", "a"), http.StatusOK},
			"no key":          {notice(t, maps, "", "\x00", strings.Repeat("x", store.MaxKey+1)), http.StatusOK},
			"a test event":    {`{"Service":"Amazon S3","Event":"s3:TestEvent","Bucket":"maps"}`, http.StatusOK},
			"no JSON":         {"hello", http.StatusBadRequest},
			"too long":        {`{"x":"` + strings.Repeat("x", 2<<20) + `"}`, http.StatusRequestEntityTooLarge},
			"too many":        {notice(t, maps, make([]string, 1001)...), http.StatusBadRequest},
		}
		for name, tt := range tests {
			if got := post(t, g.Hints(), tt.body); got != tt.want {
				t.Errorf("%s: answered %d, want %d", name, got, tt.want)
			}
		}
		res := httptest.NewRecorder()
		g.Hints().ServeHTTP(res, httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/hints", nil))
		if res.Code != http.StatusMethodNotAllowed {
			t.Errorf("GET is answered %d", res.Code)
		}
		settle(10 * time.Second)
		f := w.follower()
		f.read(g, 10)
		if len(f.log) != 1 {
			t.Errorf("%d changes, want 1", len(f.log))
		}
	})
}

func TestReadersWaitForNews(t *testing.T) {
	bubble(t, func(w *world) {
		t := w.t
		c := small()
		g, other := w.start(w.st, c), w.start(w.st, c)
		defer g.stop()
		defer other.stop()
		settle(20 * time.Second)
		f := w.follower()
		f.read(g, 10)
		first, err := g.Changes(t.Context(), maps, central.Cursor{}, 10, 0)
		if err != nil {
			t.Fatal(err)
		}
		at := central.Cursor{Epoch: first.Epoch, Seq: first.Head}

		began := time.Now()
		got, err := other.Changes(t.Context(), maps, at, 10, 30*time.Second)
		if err != nil || len(got.Changes) > 0 || time.Since(began) != 30*time.Second {
			t.Errorf("with no news: %v, %v, after %s", got, err, time.Since(began))
		}
		w.put("news", "x")
		hintTo(t, g, "news")
		began = time.Now()
		got, err = other.Changes(t.Context(), maps, at, 10, 50*time.Second)
		if took := time.Since(began); err != nil || len(got.Changes) != 1 || took > 6*time.Second {
			t.Errorf("another gateway's news: %v, %v, after %s", got, err, took)
		}
		// A cursor of a history that there is not begins at the beginning.
		got, err = g.Changes(t.Context(), maps, central.Cursor{Epoch: "00", Seq: 5}, 10, 30*time.Second)
		if err != nil || len(got.Changes) != 1 || got.Changes[0].Seq != 1 || got.Epoch != first.Epoch {
			t.Errorf("another epoch: %v, %v", got, err)
		}
		if _, err := g.Changes(t.Context(), "other", at, 10, 0); !errors.Is(err, central.ErrNoBucket) {
			t.Errorf("another bucket: %v", err)
		}
	})
}
