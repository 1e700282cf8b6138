package portal

import (
	"errors"

	"github.com/prometheus/client_golang/prometheus"
)

const (
	resultMade   = "made"
	resultKept   = "kept"
	resultFailed = "failed"
)

type metrics struct{ pages *prometheus.CounterVec }

func newMetrics(reg prometheus.Registerer, l *library) (*metrics, error) {
	m := &metrics{pages: prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "preau_portal_pages_total", Help: "Pages of the portal, by what became of them.",
	}, []string{"page", "result"})}
	things := prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "preau_portal_things", Help: "Things that the portal can show and find.",
	}, func() float64 { return float64(l.now().total) })
	more := prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "preau_portal_left_out", Help: "1 while there are more things than the portal may show and find.",
	}, func() float64 {
		if l.now().more {
			return 1
		}
		return 0
	})
	return m, errors.Join(reg.Register(m.pages), reg.Register(things), reg.Register(more))
}
