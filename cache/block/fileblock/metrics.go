package fileblock

import (
	"fmt"

	"github.com/prometheus/client_golang/prometheus"
)

type metrics struct {
	written, refused, damaged prometheus.Counter

	reg prometheus.Registerer
	all []prometheus.Collector
}

func newMetrics(s *Store, reg prometheus.Registerer) (*metrics, error) {
	counter := func(name, help string) prometheus.Counter {
		return prometheus.NewCounter(prometheus.CounterOpts{Namespace: "preau", Subsystem: "fileblock", Name: name, Help: help})
	}
	gauge := func(name, help string, fn func() float64) prometheus.Collector {
		return prometheus.NewGaugeFunc(prometheus.GaugeOpts{Namespace: "preau", Subsystem: "fileblock", Name: name, Help: help}, fn)
	}
	m := &metrics{
		reg:     reg,
		written: counter("written_total", "Blocks written."),
		refused: counter("refused_total", "Blocks refused for want of disk space."),
		damaged: counter("damaged_total", "Blocks found damaged and removed."),
	}
	m.all = []prometheus.Collector{
		m.written, m.refused, m.damaged,
		gauge("blocks", "Blocks held.", func() float64 { return float64(s.Len()) }),
		gauge("bytes", "Sum of the lengths of the blocks held.", func() float64 { return float64(s.Usage()) }),
	}
	for i, c := range m.all {
		if err := reg.Register(c); err != nil {
			for _, c := range m.all[:i] {
				reg.Unregister(c)
			}
			return nil, fmt.Errorf("register metrics: %w", err)
		}
	}
	return m, nil
}

func (m *metrics) unregister() {
	for _, c := range m.all {
		m.reg.Unregister(c)
	}
}
