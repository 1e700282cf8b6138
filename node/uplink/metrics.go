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
	synced     *prometheus.GaugeVec
	waiting    prometheus.Gauge
	waitBytes  prometheus.Gauge
	oldest     prometheus.Gauge
	deposits   *prometheus.CounterVec
}

func newMetrics(reg prometheus.Registerer) (metrics, error) {
	m := metrics{
		reachable:  prometheus.NewGauge(prometheus.GaugeOpts{Name: "preau_uplink_reachable", Help: "1 if the gateway answered last time."}),
		changes:    prometheus.NewCounterVec(prometheus.CounterOpts{Name: "preau_uplink_changes_total", Help: "Changes of buckets that were followed."}, []string{"result"}),
		behind:     prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: "preau_uplink_behind", Help: "Changes that the gateway has and the region has not."}, []string{"bucket"}),
		blocks:     prometheus.NewCounterVec(prometheus.CounterOpts{Name: "preau_uplink_blocks_total", Help: "Blocks that were asked for."}, []string{"result"}),
		blockBytes: prometheus.NewCounter(prometheus.CounterOpts{Name: "preau_uplink_block_bytes_total", Help: "Bytes of the blocks fetched from the gateway."}),
		synced:     prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: "preau_uplink_synced_timestamp_seconds", Help: "When the region had all of a bucket last."}, []string{"bucket"}),
		waitBytes:  prometheus.NewGauge(prometheus.GaugeOpts{Name: "preau_uplink_deposits_waiting_bytes", Help: "Bytes of the deposits that the centre does not keep yet."}),
		oldest:     prometheus.NewGauge(prometheus.GaugeOpts{Name: "preau_uplink_deposits_oldest_timestamp_seconds", Help: "When the oldest of these deposits was added, 0 if there is none."}),
		waiting:    prometheus.NewGauge(prometheus.GaugeOpts{Name: "preau_uplink_deposits_waiting", Help: "Deposits that the centre does not keep yet."}),
		deposits:   prometheus.NewCounterVec(prometheus.CounterOpts{Name: "preau_uplink_deposits_total", Help: "Attempts to bring a deposit up."}, []string{"result"}),
	}
	for _, c := range []prometheus.Collector{m.reachable, m.changes, m.behind, m.blocks, m.blockBytes, m.synced, m.waiting, m.waitBytes, m.oldest, m.deposits} {
		if err := reg.Register(c); err != nil {
			return m, fmt.Errorf("register metrics of the uplink: %w", err)
		}
	}
	return m, nil
}
