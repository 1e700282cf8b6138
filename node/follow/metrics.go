package follow

import (
	"fmt"

	"github.com/prometheus/client_golang/prometheus"
)

type metrics struct {
	acted, purged, failures prometheus.Counter
	wanted, present         prometheus.Gauge
	counts, asked, lent     *prometheus.CounterVec
	sent                    prometheus.Counter
}

func newMetrics(reg prometheus.Registerer) (*metrics, error) {
	counter := func(name, help string) prometheus.Counter {
		return prometheus.NewCounter(prometheus.CounterOpts{Name: name, Help: help})
	}
	gauge := func(name, help string) prometheus.Gauge {
		return prometheus.NewGauge(prometheus.GaugeOpts{Name: name, Help: help})
	}
	m := &metrics{
		acted:    counter("preau_follow_acted_changes_total", "Changes of the region that were acted upon."),
		purged:   counter("preau_follow_purged_objects_total", "Stored responses removed by the region's purges."),
		failures: counter("preau_follow_prefetch_failures_total", "Resources that could not be fetched ahead."),
		wanted:   gauge("preau_follow_wanted_items", "Resources that the box should hold."),
		present:  gauge("preau_follow_present_items", "Resources that the box should hold and holds whole."),
		counts: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "preau_follow_counts_total", Help: "Digests of counts sent to the region, by result.",
		}, []string{"result"}),
		asked: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "preau_follow_neighbour_asks_total", Help: "Blocks that other boxes were asked for, by what came of it.",
		}, []string{"result"}),
		lent: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "preau_follow_neighbour_requests_total", Help: "Blocks that other boxes asked for, by result.",
		}, []string{"result"}),
		sent: counter("preau_follow_neighbour_sent_bytes_total", "Bytes of blocks sent to other boxes."),
	}
	for _, c := range []prometheus.Collector{m.acted, m.purged, m.failures, m.wanted, m.present, m.counts, m.asked, m.lent, m.sent} {
		if err := reg.Register(c); err != nil {
			return nil, fmt.Errorf("register metrics: %w", err)
		}
	}
	return m, nil
}
