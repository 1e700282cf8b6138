package uplink

import (
	"fmt"

	"github.com/prometheus/client_golang/prometheus"
)

type metrics struct {
	reachable  prometheus.Gauge
	changes    *prometheus.CounterVec
	behind     *prometheus.GaugeVec
	blocks     *prometheus.CounterVec
	blockBytes prometheus.Counter
	waiting    prometheus.Gauge
	deposits   *prometheus.CounterVec
}

func newMetrics(reg prometheus.Registerer) (metrics, error) {
	m := metrics{
		reachable:  prometheus.NewGauge(prometheus.GaugeOpts{Name: "preau_uplink_reachable", Help: "1 if the gateway answered last time."}),
		changes:    prometheus.NewCounterVec(prometheus.CounterOpts{Name: "preau_uplink_changes_total", Help: "Changes of buckets that were followed."}, []string{"result"}),
		behind:     prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: "preau_uplink_behind", Help: "Changes that the gateway has and the region has not."}, []string{"bucket"}),
		blocks:     prometheus.NewCounterVec(prometheus.CounterOpts{Name: "preau_uplink_blocks_total", Help: "Blocks that were asked for."}, []string{"result"}),
		blockBytes: prometheus.NewCounter(prometheus.CounterOpts{Name: "preau_uplink_block_bytes_total", Help: "Bytes of the blocks fetched from the gateway."}),
		waiting:    prometheus.NewGauge(prometheus.GaugeOpts{Name: "preau_uplink_deposits_waiting", Help: "Deposits that the centre does not keep yet."}),
		deposits:   prometheus.NewCounterVec(prometheus.CounterOpts{Name: "preau_uplink_deposits_total", Help: "Attempts to bring a deposit up."}, []string{"result"}),
	}
	for _, c := range []prometheus.Collector{m.reachable, m.changes, m.behind, m.blocks, m.blockBytes, m.waiting, m.deposits} {
		if err := reg.Register(c); err != nil {
			return m, fmt.Errorf("register metrics of the uplink: %w", err)
		}
	}
	return m, nil
}
