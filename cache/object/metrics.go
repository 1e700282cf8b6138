package object

import (
	"fmt"

	"github.com/prometheus/client_golang/prometheus"
)

type metrics struct {
	lookups, removed *prometheus.CounterVec
	damaged          prometheus.Counter
}

func newMetrics(reg prometheus.Registerer, count func() float64) (*metrics, error) {
	opts := func(name, help string) prometheus.Opts {
		return prometheus.Opts{Namespace: "preau", Subsystem: "object", Name: name, Help: help}
	}
	m := &metrics{
		lookups: prometheus.NewCounterVec(prometheus.CounterOpts(opts("lookups_total", "Look-ups by where the answer was: memory, disk, none.")), []string{"result"}),
		removed: prometheus.NewCounterVec(prometheus.CounterOpts(opts("removed_total", "Objects removed by cause: evicted, replaced, invalidated, purged, changed, unusable, lent (another box keeps it).")), []string{"cause"}),
		damaged: prometheus.NewCounter(prometheus.CounterOpts(opts("damaged_total", "Records found damaged and forgotten."))),
	}
	stored := prometheus.NewGaugeFunc(prometheus.GaugeOpts(opts("stored", "Stored objects.")), count)
	for _, c := range []prometheus.Collector{m.lookups, m.removed, m.damaged, stored} {
		if err := reg.Register(c); err != nil {
			return nil, fmt.Errorf("register object metrics: %w", err)
		}
	}
	return m, nil
}
