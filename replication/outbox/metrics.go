package outbox

import (
	"fmt"

	"github.com/prometheus/client_golang/prometheus"
)

type metrics struct {
	added *prometheus.CounterVec
	sent  *prometheus.CounterVec
	bytes prometheus.Counter
}

func newMetrics(reg prometheus.Registerer, o *Outbox) (metrics, error) {
	m := metrics{
		added: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "preau_outbox_added_total", Help: "What became of what was added."}, []string{"result"}),
		sent:  prometheus.NewCounterVec(prometheus.CounterOpts{Name: "preau_outbox_sent_total", Help: "Attempts to bring a deposit to the region."}, []string{"result"}),
		bytes: prometheus.NewCounter(prometheus.CounterOpts{Name: "preau_outbox_sent_bytes_total", Help: "Bytes of blocks sent to the region."}),
	}
	held := prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "preau_outbox_bytes", Help: "Bytes of the blocks held."},
		func() float64 { return float64(o.blocks.Usage()) })
	for _, c := range []prometheus.Collector{m.added, m.sent, m.bytes, held, states{o}} {
		if err := reg.Register(c); err != nil {
			return m, fmt.Errorf("register metrics of the outbox: %w", err)
		}
	}
	return m, nil
}

// states counts deposits by state when it is asked.
type states struct{ o *Outbox }

func (states) desc() *prometheus.Desc {
	return prometheus.NewDesc("preau_outbox_deposits", "Deposits by state.", []string{"state"}, nil)
}

// Describe implements prometheus.Collector.
func (s states) Describe(c chan<- *prometheus.Desc) { c <- s.desc() }

// Collect implements prometheus.Collector.
func (s states) Collect(c chan<- prometheus.Metric) {
	count := map[State]int{OnBox: 0, InRegion: 0, InCentral: 0}
	for _, d := range s.o.List() {
		count[d.State]++
	}
	for state, n := range count {
		c <- prometheus.MustNewConstMetric(s.desc(), prometheus.GaugeValue, float64(n), string(state))
	}
}
