package shelf

import (
	"errors"

	"github.com/prometheus/client_golang/prometheus"
)

// Results of requests.
const (
	resultHit         = "hit"
	resultMiss        = "miss"
	resultList        = "list"
	resultNotModified = "not_modified"
	resultNotFound    = "not_found"
	resultError       = "error"
)

type metrics struct {
	requests, blocks, fetched, received *prometheus.CounterVec
	sent                                prometheus.Counter
}

func newMetrics(reg prometheus.Registerer, items func() float64) (*metrics, error) {
	m := &metrics{
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "preau_shelf_requests_total", Help: "Requests for published items: hit, miss, list, not_modified, not_found, error.",
		}, []string{"result"}),
		blocks: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "preau_shelf_blocks_total", Help: "Blocks of published items: local, fetched, wrong, failed.",
		}, []string{"result"}),
		fetched: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "preau_shelf_fetched_blocks_total", Help: "Blocks of published items that came from elsewhere: region, neighbour.",
		}, []string{"source"}),
		received: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "preau_shelf_received_bytes_total", Help: "Bytes of blocks of published items that came from elsewhere: region, neighbour.",
		}, []string{"source"}),
		sent: prometheus.NewCounter(prometheus.CounterOpts{Name: "preau_shelf_sent_bytes_total", Help: "Bytes of bodies sent to devices."}),
	}
	var errs []error
	for _, c := range []prometheus.Collector{
		m.requests, m.blocks, m.fetched, m.received, m.sent,
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "preau_shelf_items", Help: "Published items."}, items),
	} {
		errs = append(errs, reg.Register(c))
	}
	for _, r := range []string{resultHit, resultMiss, resultList, resultNotModified, resultNotFound, resultError} {
		m.requests.WithLabelValues(r)
	}
	for _, from := range []Origin{FromRegion, FromNeighbour} {
		m.fetched.WithLabelValues(string(from))
		m.received.WithLabelValues(string(from))
	}
	return m, errors.Join(errs...)
}
