package lesson

import (
	"errors"

	"github.com/prometheus/client_golang/prometheus"
)

// metrics are preau_lesson_items{light}, the items that lessons to come need, and
// preau_lesson_fetched_bytes_total, what came over the line for them.
type metrics struct{ fetched prometheus.Counter }

func newMetrics(reg prometheus.Registerer, p *Preparer) (*metrics, error) {
	m := &metrics{prometheus.NewCounter(prometheus.CounterOpts{Name: "preau_lesson_fetched_bytes_total", Help: "Bytes that came over the line for lessons."})}
	errs := []error{reg.Register(m.fetched)}
	for _, l := range Lights() {
		errs = append(errs, reg.Register(prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name: "preau_lesson_items", Help: "Items that lessons to come need, by how they stand.", ConstLabels: prometheus.Labels{"light": string(l)},
		}, func() float64 { return float64(p.count(l)) })))
	}
	return m, errors.Join(errs...)
}

func (p *Preparer) count(l Light) (n int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, w := range p.works {
		if w.Light == l {
			n++
		}
	}
	return n
}
