package edge

import (
	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
)

// Totals are a site's counters since the handler was made.
type Totals struct {
	Hits, Stale, Revalidated, Misses, Collapsed, Passed, Errors int64
	SentBytes                                                   int64 // of bodies, to clients
}

// Totals returns the counters of the named site; zeros if there is none.
func (h *Handler) Totals(site string) Totals {
	s := h.byHost.byName[site]
	if s == nil {
		return Totals{}
	}
	r := s.counters.requests
	t := Totals{
		Hits: value(r[resultHit]), Stale: value(r[resultStale]), Revalidated: value(r[resultRevalidated]),
		Misses: value(r[resultMiss]), Collapsed: value(r[resultCollapsed]), Passed: value(r[resultPass]), Errors: value(r[resultError]),
	}
	for _, c := range s.counters.sent {
		t.SentBytes += value(c)
	}
	return t
}

// value reads a counter.
func value(c prometheus.Counter) int64 {
	var m dto.Metric
	if err := c.Write(&m); err != nil {
		return 0
	}
	return int64(m.GetCounter().GetValue())
}
