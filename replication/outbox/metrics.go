package outbox

import (
	"fmt"

	"github.com/prometheus/client_golang/prometheus"
)

type metrics struct {
	added *prometheus.CounterVec
	sent  *prometheus.CounterVec
	bytes prometheus.Counter

	copies      *prometheus.CounterVec
	copiedBytes prometheus.Counter
	takenOver   prometheus.Counter
}

func newMetrics(reg prometheus.Registerer, o *Outbox) (metrics, error) {
	m := metrics{
		added: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "preau_outbox_added_total", Help: "What became of what was added."}, []string{"result"}),
		sent:  prometheus.NewCounterVec(prometheus.CounterOpts{Name: "preau_outbox_sent_total", Help: "Attempts to bring a deposit to the region."}, []string{"result"}),
		bytes: prometheus.NewCounter(prometheus.CounterOpts{Name: "preau_outbox_sent_bytes_total", Help: "Bytes of blocks sent to the region."}),

		copies:      prometheus.NewCounterVec(prometheus.CounterOpts{Name: "preau_outbox_copies_total", Help: "Attempts to have another box keep a copy."}, []string{"result"}),
		copiedBytes: prometheus.NewCounter(prometheus.CounterOpts{Name: "preau_outbox_copied_bytes_total", Help: "Bytes of blocks sent to other boxes."}),
		takenOver:   prometheus.NewCounter(prometheus.CounterOpts{Name: "preau_outbox_taken_over_total", Help: "Copies kept for other boxes that became deposits of this one."}),
	}
	for _, result := range []string{"ok", "full", "failed"} {
		m.copies.WithLabelValues(result)
	}
	gauge := func(name, help string, fn func() float64) prometheus.Collector {
		return prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: name, Help: help}, fn)
	}
	guests := func() (n, bytes float64) {
		o.mu.Lock()
		defer o.mu.Unlock()
		return float64(len(o.guests.all())), float64(o.guests.room())
	}
	all := []prometheus.Collector{
		m.added, m.sent, m.bytes, m.copies, m.copiedBytes, m.takenOver, states{o},
		gauge("preau_outbox_bytes", "Bytes of the blocks held.", func() float64 { return float64(o.blocks.Usage()) }),
		gauge("preau_outbox_alone", "Deposits that only this box is known to have.", func() float64 { return float64(o.Alone()) }),
		gauge("preau_outbox_guests", "Copies kept for other boxes.", func() float64 { n, _ := guests(); return n }),
		gauge("preau_outbox_guest_bytes", "What copies kept for other boxes may take.", func() float64 { _, b := guests(); return b }),
	}
	for _, c := range all {
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
