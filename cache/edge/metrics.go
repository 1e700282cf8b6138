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
	sourceLocal     = "local"
	sourceNeighbour = "neighbour"
	sourceRegion    = "region"
	sourceSite      = "site"
)

type metrics struct {
	requests, sent *prometheus.CounterVec
	live           *prometheus.GaugeVec
}

func newMetrics(reg prometheus.Registerer) (*metrics, error) {
	m := &metrics{
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{
			Namespace: "preau", Subsystem: "edge", Name: "requests_total",
			Help: "Requests by result: hit, stale, revalidated, miss, collapsed, pass, error.",
		}, []string{"site", "result"}),
		sent: prometheus.NewCounterVec(prometheus.CounterOpts{
			Namespace: "preau", Subsystem: "edge", Name: "sent_bytes_total",
			Help: "Bytes of bodies sent to clients, by source: local, neighbour, region, site.",
		}, []string{"site", "source"}),
		live: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Namespace: "preau", Subsystem: "edge", Name: "live",
			Help: "Open requests by which people talk to each other, such as a video conference.",
		}, []string{"site"}),
	}
	for _, c := range []prometheus.Collector{m.requests, m.sent, m.live} {
		if err := reg.Register(c); err != nil {
			return nil, fmt.Errorf("register edge metrics: %w", err)
		}
	}
	return m, nil
}

// counters are a site's, looked up once.
type counters struct {
	requests, sent map[string]prometheus.Counter
	live           prometheus.Gauge
}

func (m *metrics) site(name string) counters {
	c := counters{map[string]prometheus.Counter{}, map[string]prometheus.Counter{}, m.live.WithLabelValues(name)}
	for _, r := range []string{resultHit, resultStale, resultRevalidated, resultMiss, resultCollapsed, resultPass, resultError} {
		c.requests[r] = m.requests.WithLabelValues(name, r)
	}
	for _, s := range []string{sourceLocal, sourceNeighbour, sourceRegion, sourceSite} {
		c.sent[s] = m.sent.WithLabelValues(name, s)
	}
	return c
}

func (x *exchange) count(result string) { x.site.counters.requests[result].Inc() }

func (x *exchange) sent(source string, n int64) {
	if c, ok := x.site.counters.sent[source]; ok {
		c.Add(float64(n))
		return
	}
	x.site.counters.sent[sourceLocal].Add(float64(n)) // "offline" and the like are local
}
