package wire

import (
	"errors"
	"fmt"

	"github.com/prometheus/client_golang/prometheus"

	"preau/replication/identity"
)

type metrics struct {
	connections *prometheus.GaugeVec
	handshakes  *prometheus.CounterVec
	dropped     prometheus.Counter
}

func newMetrics(reg prometheus.Registerer) (*metrics, error) {
	m := &metrics{
		connections: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "preau_wire_connections",
			Help: "Connections that are open, by role of the peer.",
		}, []string{"peer"}),
		handshakes: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "preau_wire_handshakes_total",
			Help: "Handshakes of those who dial this node, by result.",
		}, []string{"result"}),
		dropped: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "preau_wire_dropped_connections_total",
			Help: "Connections closed because the peer lost its right to them.",
		}),
	}
	var errs []error
	for _, c := range []prometheus.Collector{m.connections, m.handshakes, m.dropped} {
		errs = append(errs, reg.Register(c))
	}
	if err := errors.Join(errs...); err != nil {
		return nil, fmt.Errorf("metrics: %w", err)
	}
	for _, peer := range []string{"anonymous", string(identity.Box), string(identity.Server), string(identity.Operator), string(identity.Central)} {
		m.connections.WithLabelValues(peer)
	}
	for _, result := range []string{"ok", "refused", "failed", "crowded"} {
		m.handshakes.WithLabelValues(result)
	}
	return m, nil
}
