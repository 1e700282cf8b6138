package badgerblock

import (
	"errors"

	"github.com/prometheus/client_golang/prometheus"
)

// metrics are described in the package's documentation.
type metrics struct {
	reg prometheus.Registerer
	all []prometheus.Collector

	puts     *prometheus.CounterVec
	putBytes prometheus.Counter
	verified prometheus.Counter
	damaged  prometheus.Counter
	retired  prometheus.Counter
	relabels prometheus.Counter
	moved    prometheus.Counter
	scrubbed prometheus.Counter
}

func newMetrics(s *Store, reg prometheus.Registerer) (*metrics, error) {
	m := &metrics{reg: reg}
	var errs []error
	add := func(c prometheus.Collector) {
		if err := reg.Register(c); err != nil {
			errs = append(errs, err)
			return
		}
		m.all = append(m.all, c)
	}
	counter := func(name, help string) prometheus.Counter {
		c := prometheus.NewCounter(prometheus.CounterOpts{Name: name, Help: help})
		add(c)
		return c
	}
	gauge := func(name, help string, labels prometheus.Labels, fn func() float64) {
		add(prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: name, Help: help, ConstLabels: labels}, fn))
	}
	m.puts = prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "preau_block_puts_total",
		Help: "Blocks handed in, by what became of them.",
	}, []string{"result"})
	add(m.puts)
	for _, r := range []string{"stored", "present", "refused", "failed"} {
		m.puts.WithLabelValues(r)
	}
	m.putBytes = counter("preau_block_put_bytes_total", "Bytes written, those carried forward included.")
	m.verified = counter("preau_block_verified_bytes_total", "Bytes checked against a digest or checksum while reading.")
	m.damaged = counter("preau_block_damaged_total", "Blocks found damaged and dropped.")
	m.retired = counter("preau_block_retired_segments_total", "Segments retired to make room.")
	m.relabels = counter("preau_block_relabelled_segments_total", "Segments renamed to the end of a ring, as nearly all of them is kept.")
	m.moved = counter("preau_block_moved_bytes_total", "Bytes carried forward out of retired segments.")
	m.scrubbed = counter("preau_block_scrubbed_bytes_total", "Bytes read again in search of damage.")
	gauge("preau_block_disk_bytes", "Disk space in use.", nil, func() float64 { return float64(s.used()) })
	gauge("preau_block_budget_bytes", "Disk space that may be used now.", nil, func() float64 { return float64(s.Usage().BudgetBytes) })
	gauge("preau_block_segments", "Segments on disk.", nil, func() float64 { return float64(len(s.all())) })
	gauge("preau_block_full", "1 while nothing more can be kept.", nil, func() float64 {
		if s.Full() {
			return 1
		}
		return 0
	})
	for i, r := range s.rings {
		gauge("preau_block_ring_bytes", "Disk space of one ring.", prometheus.Labels{"ring": r.name},
			func() float64 { return float64(s.ringBytes()[i]) })
	}
	if err := errors.Join(errs...); err != nil {
		m.unregister()
		return nil, err
	}
	return m, nil
}

// unregister makes room for another store on the same registry.
func (m *metrics) unregister() {
	for _, c := range m.all {
		m.reg.Unregister(c)
	}
}
