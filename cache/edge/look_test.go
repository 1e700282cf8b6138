package edge_test

import (
	"fmt"
	"net/http"
	"testing"
	"time"

	"preau/cache/edge"
	"preau/cache/profile"
)

// TestALookTellsWhatIsStoredAndChangesNothing: from nothing to fresh, stale and
// gone, with until when.
func TestALookTellsWhatIsStoredAndChangesNothing(t *testing.T) {
	var field string
	w := newWritten(t, written{itself, func(_ profile.Plan, r profile.Response) profile.Ruling {
		if r.Status == http.StatusNotFound {
			return profile.Ruling{Effect: profile.Gone, For: time.Minute}
		}
		return keeping(r, field)
	}})
	gone := false
	w.answer(func(rw http.ResponseWriter, _ *http.Request) {
		if gone {
			http.NotFound(rw, nil)
			return
		}
		_, _ = fmt.Fprint(rw, "0123456789")
	})
	look := func(path string) edge.Stored {
		return w.edge.Look("site", "box.example", profile.Request{Method: http.MethodGet, Path: path, Header: http.Header{}})
	}
	if got := look("/a"); got != (edge.Stored{State: edge.StoredNothing}) {
		t.Errorf("before: %+v", got)
	}
	for path, test := range map[string]struct{ says, state string }{
		"/fresh": {"max-age=600, stale-if-error=6000", edge.StoredFresh},
		"/stale": {"max-age=0, stale-if-error=6000", edge.StoredStale},
	} {
		field = test.says
		w.want(w.get(path), http.StatusOK, "0123456789")
		w.requests()
		got := look(path)
		if got.State != test.state || got.Status != http.StatusOK || got.Bytes != 10 || time.Since(got.Of) > time.Minute || got.Of.After(time.Now().Add(time.Second)) {
			t.Errorf("%s: %+v", path, got)
		}
		if test.state == edge.StoredFresh != got.FreshUntil.After(time.Now()) || got.OfflineUntil.Before(time.Now().Add(time.Hour)) {
			t.Errorf("%s: %+v", path, got)
		}
		w.wantAsked(0)
	}
	gone = true
	w.get("/gone")
	if got := look("/gone"); got.State != edge.StoredGone {
		t.Errorf("gone: %+v", got)
	}
	if got := w.edge.Look("site", "", profile.Request{Method: http.MethodPost, Path: "/fresh"}); got.State != edge.StoredNever {
		t.Errorf("what is never stored: %+v", got)
	}
	if got := w.edge.Look("nobody", "", profile.Request{Method: http.MethodGet, Path: "/fresh"}); got.State != edge.StoredNothing {
		t.Errorf("no site: %+v", got)
	}
}
