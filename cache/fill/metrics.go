package fill

import (
	"fmt"

	"github.com/prometheus/client_golang/prometheus"
)

type metrics struct {
	bodies, fetching                        prometheus.Gauge
	fetches, resumes, refetched, duplicates prometheus.Counter
	failures                                *prometheus.CounterVec
}

func newMetrics(reg prometheus.Registerer) (*metrics, error) {
	counter := func(name, help string) prometheus.Counter {
		return prometheus.NewCounter(prometheus.CounterOpts{Namespace: "preau", Subsystem: "fill", Name: name, Help: help})
	}
	gauge := func(name, help string) prometheus.Gauge {
		return prometheus.NewGauge(prometheus.GaugeOpts{Namespace: "preau", Subsystem: "fill", Name: name, Help: help})
	}
	m := &metrics{
		bodies:     gauge("bodies", "Bodies being read or fetched."),
		fetching:   gauge("fetches", "Fetches under way."),
		fetches:    counter("fetches_total", "Fetches begun."),
		resumes:    counter("resumes_total", "Fetches begun to go on with a body that is partly held."),
		refetched:  counter("refetched_blocks_total", "Blocks fetched again because the stored ones were lost or damaged."),
		duplicates: counter("duplicate_bytes_total", "Bytes received that were already held."),
		failures: prometheus.NewCounterVec(prometheus.CounterOpts{
			Namespace: "preau", Subsystem: "fill", Name: "failures_total",
			Help: "Bodies given up, by cause: changed, unavailable, stopped.",
		}, []string{"cause"}),
	}
	for _, c := range []prometheus.Collector{m.bodies, m.fetching, m.fetches, m.resumes, m.refetched, m.duplicates, m.failures} {
		if err := reg.Register(c); err != nil {
			return nil, fmt.Errorf("register fill metrics: %w", err)
		}
	}
	return m, nil
}
