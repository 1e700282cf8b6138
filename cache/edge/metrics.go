package edge

import (
	"fmt"

	"github.com/prometheus/client_golang/prometheus"
)

// Results of requests.
const (
	resultHit         = "hit"
	resultStale       = "stale"
	resultRevalidated = "revalidated"
	resultMiss        = "miss"
	resultCollapsed   = "collapsed"
	resultPass        = "pass"
	resultError       = "error"
)

// Sources of bytes.
const (
	sourceLocal = "local"
	sourceSite  = "site"
)

type metrics struct {
	requests, sent *prometheus.CounterVec
}

func newMetrics(reg prometheus.Registerer) (*metrics, error) {
	m := &metrics{
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{
			Namespace: "preau", Subsystem: "edge", Name: "requests_total",
			Help: "Requests by result: hit, stale, revalidated, miss, collapsed, pass, error.",
		}, []string{"site", "result"}),
		sent: prometheus.NewCounterVec(prometheus.CounterOpts{
			Namespace: "preau", Subsystem: "edge", Name: "sent_bytes_total",
			Help: "Bytes of bodies sent to clients, by source: local, site.",
		}, []string{"site", "source"}),
	}
	for _, c := range []prometheus.Collector{m.requests, m.sent} {
		if err := reg.Register(c); err != nil {
			return nil, fmt.Errorf("register edge metrics: %w", err)
		}
	}
	return m, nil
}

func (x *exchange) count(result string) {
	x.h.metrics.requests.WithLabelValues(x.site.Name, result).Inc()
}

func (x *exchange) sent(source string, n int64) {
	x.h.metrics.sent.WithLabelValues(x.site.Name, source).Add(float64(n))
}
