package feed

import (
	"fmt"

	"github.com/prometheus/client_golang/prometheus"
)

type metrics struct {
	streams, waiting, head              prometheus.Gauge
	published, sentBytes, acks, refused prometheus.Counter
	frames, blocks, ends                *prometheus.CounterVec
	beats                               prometheus.Counter // of frames
}

type maker struct{ made []prometheus.Collector }

func (m *maker) gauge(name, help string) prometheus.Gauge {
	g := prometheus.NewGauge(prometheus.GaugeOpts{Namespace: "preau", Subsystem: "feed", Name: name, Help: help})
	m.made = append(m.made, g)
	return g
}

func (m *maker) counter(name, help string) prometheus.Counter {
	c := prometheus.NewCounter(prometheus.CounterOpts{Namespace: "preau", Subsystem: "feed", Name: name, Help: help})
	m.made = append(m.made, c)
	return c
}

func (m *maker) vec(name, help, label string) *prometheus.CounterVec {
	c := prometheus.NewCounterVec(prometheus.CounterOpts{Namespace: "preau", Subsystem: "feed", Name: name, Help: help}, []string{label})
	m.made = append(m.made, c)
	return c
}

func (m *maker) register(reg prometheus.Registerer) error {
	for _, c := range m.made {
		if err := reg.Register(c); err != nil {
			return fmt.Errorf("register feed metrics: %w", err)
		}
	}
	return nil
}

func newMetrics(reg prometheus.Registerer) (*metrics, error) {
	var m maker
	met := &metrics{
		streams:   m.gauge("streams", "Boxes that follow this server."),
		waiting:   m.gauge("waiting", "Boxes that wait for their turn to catch up."),
		head:      m.gauge("head_index", "Index of the latest change that was passed on."),
		published: m.counter("published_records_total", "Changed records taken from the catalogue."),
		sentBytes: m.counter("sent_bytes_total", "Bytes written to boxes."),
		acks:      m.counter("acks_total", "Acknowledgements from boxes."),
		refused:   m.counter("refused_total", "Requests refused: no box of this region, or not understood."),
		frames:    m.vec("frames_total", "Frames written, by kind: live, changes, snapshot, heartbeat.", "kind"),
		blocks:    m.vec("blocks_total", "Stretches of the catalogue wanted for catching up, by result: hit, built, failed.", "result"),
		ends: m.vec("ends_total",
			"Streams that ended, by reason: gone, slow, failed, revoked, moved, draining, behind, again.", "reason"),
	}
	met.beats = met.frames.WithLabelValues("heartbeat")
	return met, m.register(reg)
}

type boxMetrics struct {
	connected, index                prometheus.Gauge
	records, snapshots, ackFailures prometheus.Counter
	streams                         *prometheus.CounterVec
}

func newBoxMetrics(reg prometheus.Registerer) (*boxMetrics, error) {
	var m maker
	met := &boxMetrics{
		connected:   m.gauge("box_connected", "1 while the box follows a server."),
		index:       m.gauge("box_index", "Index up to which the box has followed."),
		records:     m.counter("box_records_total", "Records received and kept."),
		snapshots:   m.counter("box_snapshots_total", "Snapshots begun."),
		ackFailures: m.counter("box_ack_failures_total", "Acknowledgements that no server took."),
		streams:     m.vec("box_streams_total", "Streams, by how they ended: ended, failed, refused, full, goodbye, hurried.", "result"),
	}
	return met, m.register(reg)
}
