package hold

import (
	"fmt"

	"github.com/prometheus/client_golang/prometheus"
)

type metrics struct {
	requests, pushed, fetches, sweeps            *prometheus.CounterVec
	fetchedBytes, damaged, removed, removedBytes prometheus.Counter
	wanted, missing                              prometheus.Gauge
}

func newMetrics(reg prometheus.Registerer) (*metrics, error) {
	counter := func(name, help string) prometheus.Counter {
		return prometheus.NewCounter(prometheus.CounterOpts{Namespace: "preau", Subsystem: "hold", Name: name, Help: help})
	}
	counters := func(name, help string, labels ...string) *prometheus.CounterVec {
		return prometheus.NewCounterVec(prometheus.CounterOpts{Namespace: "preau", Subsystem: "hold", Name: name, Help: help}, labels)
	}
	gauge := func(name, help string) prometheus.Gauge {
		return prometheus.NewGauge(prometheus.GaugeOpts{Namespace: "preau", Subsystem: "hold", Name: name, Help: help})
	}
	m := &metrics{
		requests:     counters("requests_total", "Requests for blocks answered, by operation and result.", "op", "result"),
		pushed:       counters("pushed_blocks_total", "Blocks sent to other servers, by result.", "result"),
		fetches:      counters("fetches_total", "Blocks asked of other servers, by result.", "result"),
		fetchedBytes: counter("fetched_bytes_total", "Bytes of the blocks fetched from other servers."),
		damaged:      counter("damaged_blocks_total", "Blocks found damaged on this server's disk."),
		wanted:       gauge("wanted_blocks", "Digests that the catalogue named at the last look."),
		missing:      gauge("missing_blocks", "Digests that the catalogue names and that were not here after the last repair."),
		removed:      counter("removed_blocks_total", "Blocks removed because nothing names them."),
		removedBytes: counter("removed_bytes_total", "Bytes of the blocks removed because nothing names them."),
		sweeps:       counters("sweeps_total", "Looks for blocks that nothing names, by result.", "result"),
	}
	for _, c := range []prometheus.Collector{
		m.requests, m.pushed, m.fetches, m.fetchedBytes, m.damaged, m.wanted, m.missing, m.removed, m.removedBytes, m.sweeps,
	} {
		if err := reg.Register(c); err != nil {
			return nil, fmt.Errorf("register hold metrics: %w", err)
		}
	}
	return m, nil
}
