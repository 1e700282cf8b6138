package mdns

import (
	"fmt"

	"github.com/prometheus/client_golang/prometheus"
)

type metrics struct {
	packets, browses *prometheus.CounterVec
	renamed          prometheus.Counter
}

func newMetrics(reg prometheus.Registerer, hints func() float64) (*metrics, error) {
	m := &metrics{
		packets: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "preau_mdns_packets_total", Help: "Multicast DNS packets that came in, by kind.",
		}, []string{"kind"}),
		browses: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "preau_mdns_browses_total", Help: "Times that was browsed for other boxes, by result.",
		}, []string{"result"}),
		renamed: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "preau_mdns_renamed_total", Help: "Times that the box gave its own name up to another host.",
		}),
	}
	known := prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "preau_mdns_hints", Help: "Boxes that may be near, once for each interface.",
	}, hints)
	for _, c := range []prometheus.Collector{m.packets, m.browses, m.renamed, known} {
		if err := reg.Register(c); err != nil {
			return nil, fmt.Errorf("register metrics: %w", err)
		}
	}
	for _, kind := range []string{"query", "response", "malformed", "foreign"} {
		m.packets.WithLabelValues(kind)
	}
	for _, result := range []string{"ok", "failed", "alone"} {
		m.browses.WithLabelValues(result)
	}
	return m, nil
}
