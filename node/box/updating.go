package box

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net/http"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"preau/cache/shelf"
	"preau/node/update"
)

// smallUpdate is what is fetched for the updater at any hour: a plan may call a bad
// version back.
const smallUpdate = 256 << 10

// updates gives the updater of this machine what the region has published, and
// tells how updates went.
type updates struct {
	folder string // where the updater tells it; nothing: there is none
	region *membership
	log    *slog.Logger

	refused, waiting *prometheus.Desc
}

func newUpdates(folder string, region *membership, log *slog.Logger) *updates {
	return &updates{
		folder: folder, region: region, log: log.With("part", "updates"),
		refused: prometheus.NewDesc("preau_box_update_refused", "1 if the version that the region wants here, or its settings, did not do well and was taken back, or no update can be taken.", nil, nil),
		waiting: prometheus.NewDesc("preau_box_update_waiting", "1 if the region wants another version here than the one that is installed.", nil, nil),
	}
}

// Describe implements prometheus.Collector.
func (u *updates) Describe(ch chan<- *prometheus.Desc) { ch <- u.refused; ch <- u.waiting }

// Collect implements prometheus.Collector.
func (u *updates) Collect(ch chan<- prometheus.Metric) {
	t := u.told()
	if t == nil {
		t = &update.Told{}
	}
	for d, on := range map[*prometheus.Desc]bool{u.refused: t.Trouble() != "", u.waiting: t.Wanted != "" && t.Wanted != t.Version} {
		v := 0.0
		if on {
			v = 1
		}
		ch <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v)
	}
}

// told is how updates stand, nil if nobody says.
func (u *updates) told() *update.Told {
	if u.folder == "" {
		return nil
	}
	t, err := update.Read(u.folder)
	if err != nil {
		if !errors.Is(err, fs.ErrNotExist) {
			u.log.Warn("how updates stand can't be read", "err", err)
		}
		return nil
	}
	return &t
}

// ServeHTTP gives a published file whole. What is not here yet is fetched first, in
// the policy's hours and at its rate; outside of these it is refused in words.
func (u *updates) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	f := u.region.follower.Load()
	if f == nil {
		http.Error(w, "this box follows no region, so nothing is published here", http.StatusServiceUnavailable)
		return
	}
	id := r.PathValue("id")
	it, held, err := f.Resource(id)
	switch {
	case errors.Is(err, shelf.ErrUnknown):
		http.Error(w, "the region has published no "+id, http.StatusNotFound)
		return
	case err != nil:
		http.Error(w, fmt.Sprintf("%s can't be looked up: %v", id, err), http.StatusServiceUnavailable)
		return
	}
	if held < it.Length {
		ahead := f.Ahead()
		ctx, cancel := r.Context(), context.CancelFunc(func() {})
		if it.Length > smallUpdate {
			now := time.Now()
			open, change := ahead.When(now)
			if !open {
				http.Error(w, fmt.Sprintf("%s is published, and the region lets it be fetched from %s on", id, change.Format("15:04")), http.StatusServiceUnavailable)
				return
			}
			if !change.IsZero() {
				ctx, cancel = context.WithDeadline(ctx, change)
			}
		}
		err := ahead.Fetch(ctx, id)
		cancel()
		if err != nil {
			http.Error(w, fmt.Sprintf("%s is published and not here yet: %v", id, err), http.StatusServiceUnavailable)
			return
		}
	}
	own := r.Clone(r.Context())
	own.URL.Path = shelf.Prefix + it.ID + "/" + it.Filename
	f.Shelf().ServeHTTP(w, own)
}
