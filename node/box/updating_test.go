package box

import (
	"log/slog"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus/testutil"

	"preau/node/keep"
	"preau/node/update"
)

func TestMetricsSayHowUpdatesStand(t *testing.T) {
	for name, tt := range map[string]struct {
		told             *update.Told
		refused, waiting string
	}{
		"nobody says":       {refused: "0", waiting: "0"},
		"as it should be":   {told: &update.Told{Version: "2.0", Wanted: "2.0"}, refused: "0", waiting: "0"},
		"not yet":           {told: &update.Told{Version: "1.0", Wanted: "2.0"}, refused: "0", waiting: "1"},
		"taken back":        {told: &update.Told{Version: "1.0", Wanted: "2.0", Refused: []update.Refused{{Version: "2.0", Why: "no answer"}}}, refused: "1", waiting: "1"},
		"taken back, early": {told: &update.Told{Version: "2.1", Wanted: "2.1", Refused: []update.Refused{{Version: "2.0"}}}, refused: "0", waiting: "0"},
		"nothing taken":     {told: &update.Told{Version: "1.0", Problem: "no signature"}, refused: "1", waiting: "0"},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			if tt.told != nil {
				if err := keep.Write(filepath.Join(dir, "told"), *tt.told); err != nil {
					t.Fatal(err)
				}
			}
			u := newUpdates(dir, &membership{}, slog.New(slog.DiscardHandler))
			want := "# HELP preau_box_update_refused 1 if the version that the region wants here, or its settings, did not do well and was taken back, or no update can be taken.\n# TYPE preau_box_update_refused gauge\npreau_box_update_refused " + tt.refused +
				"\n# HELP preau_box_update_waiting 1 if the region wants another version here than the one that is installed.\n# TYPE preau_box_update_waiting gauge\npreau_box_update_waiting " + tt.waiting + "\n"
			if err := testutil.CollectAndCompare(u, strings.NewReader(want)); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestWithoutARegionNothingIsPublishedForTheUpdater(t *testing.T) {
	w := httptest.NewRecorder()
	newUpdates("", &membership{}, slog.New(slog.DiscardHandler)).ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/published/preau-updates", nil))
	if w.Code != http.StatusServiceUnavailable || !strings.Contains(w.Body.String(), "follows no region") {
		t.Errorf("it answers %d: %s", w.Code, w.Body)
	}
}
