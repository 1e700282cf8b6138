package publish_test

import (
	"fmt"
	"log/slog"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"preau/replication/central/store"
)

// A few objects that change for ever make a history of bounded length, and a
// region that follows now one gateway and now another has them all at every time.
func TestALongHistoryIsWrittenAnew(t *testing.T) {
	bubble(t, func(w *world) {
		t := w.t
		regs := []*prometheus.Registry{prometheus.NewRegistry(), prometheus.NewRegistry()}
		var gateways []*gateway
		for _, reg := range regs {
			g := w.startWith(w.st, small(), slog.New(slog.DiscardHandler), reg)
			defer g.stop()
			gateways = append(gateways, g)
		}
		f := w.follower()
		epochs := map[string]bool{}
		for round := range 40 {
			for i := range 4 {
				w.put(fmt.Sprintf("%d.txt", i), fmt.Sprintf("round %d", round))
			}
			settle(2 * small().Every)
			g := gateways[round%2]
			f.read(g, 3)
			w.agrees(g, f.now)
			epochs[f.cursor.Epoch] = true
			if f.cursor.Seq > 2*4+10+2*4 {
				t.Fatalf("a history of 4 objects has %d changes", f.cursor.Seq)
			}
		}
		if len(epochs) < 5 {
			t.Errorf("%d histories, of 160 changes", len(epochs))
		}
		done := 0.0
		for _, reg := range regs {
			n, err := testutil.GatherAndCount(reg, "preau_central_publish_compactions_total")
			if err != nil {
				t.Fatal(err)
			}
			done += float64(n)
		}
		if done == 0 {
			t.Error("no metric says so")
		}
		settle(48 * time.Hour)
		page, err := w.st.List(t.Context(), system, "log/", "", store.MaxPage)
		if err != nil || len(page.Objects) > 2*4+10+2 {
			t.Errorf("%d objects of histories are left, %v", len(page.Objects), err)
		}
	})
}
