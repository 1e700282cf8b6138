package publish_test

import (
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"preau/replication/central/publish"
	"preau/replication/central/store"
)

// vast is a store in which a key has 33 GiB, which nobody reads.
type vast struct {
	store.Store
	key string
}

func (v vast) grown(o store.Info) store.Info {
	if o.Key == v.key {
		o.Size = 33 << 30
	}
	return o
}

func (v vast) List(ctx context.Context, bucket, prefix, after string, limit int) (store.Page, error) {
	page, err := v.Store.List(ctx, bucket, prefix, after, limit)
	for i, o := range page.Objects {
		page.Objects[i] = v.grown(o)
	}
	return page, err
}

func (v vast) Get(ctx context.Context, bucket, key string, off, length int64, etag string) (io.ReadCloser, store.Info, error) {
	body, info, err := v.Store.Get(ctx, bucket, key, off, length, etag)
	return body, v.grown(info), err
}

// What is too large to be published is named to the operator, with what to do.
func TestWhatIsTooLargeIsSaid(t *testing.T) {
	bubble(t, func(w *world) {
		t := w.t
		w.put("film.mkv", "1")
		w.put("small", "2")
		g := w.start(vast{Store: w.st, key: "film.mkv"}, small())
		defer g.stop()
		settle(time.Hour)
		f := w.follower()
		f.read(g, 10)
		w.agrees(g, f.now, "film.mkv")
		answer := httptest.NewRecorder()
		g.HeldList().ServeHTTP(answer, httptest.NewRequest(http.MethodGet, "/held", http.NoBody))
		var held []publish.Held
		if err := json.Unmarshal(answer.Body.Bytes(), &held); err != nil || answer.Code != http.StatusOK {
			t.Fatal(answer.Code, answer.Body, err)
		}
		if len(held) != 1 || held[0].Bucket != maps || held[0].Key != "film.mkv" || held[0].Bytes != 33<<30 || !strings.Contains(held[0].Reason, "at most 32 GiB") {
			t.Errorf("%+v", held)
		}
	})
}
