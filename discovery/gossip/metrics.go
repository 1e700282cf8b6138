package gossip

import (
	"errors"

	"github.com/prometheus/client_golang/prometheus"
)

const (
	resultProved = "proved"
	resultJoined = "joined"
	resultFailed = "failed"
	dirIn        = "in"
	dirOut       = "out"
)

type metrics struct {
	verifications, rejoins       *prometheus.CounterVec
	packetsIn, packetsOut        prometheus.Counter
	bytesIn, bytesOut            prometheus.Counter
	packetsByWay, bytesByWay     *prometheus.CounterVec
	verifiedGauge, unproverGauge prometheus.GaugeFunc
}

// newMetrics registers the package's metrics; count says how many boxes are
// alive, verified and not.
func newMetrics(reg prometheus.Registerer, count func() (verified, unverified int)) (*metrics, error) {
	vec := func(name, label, help string, values ...string) *prometheus.CounterVec {
		v := prometheus.NewCounterVec(prometheus.CounterOpts{Name: name, Help: help}, []string{label})
		for _, x := range values {
			v.WithLabelValues(x)
		}
		return v
	}
	gauge := func(state string, value func() int) prometheus.GaugeFunc {
		return prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name: "preau_gossip_members", Help: "Neighbours that are heard: verified, unverified.",
			ConstLabels: prometheus.Labels{"state": state},
		}, func() float64 { return float64(value()) })
	}
	m := &metrics{
		verifications: vec("preau_gossip_verifications_total", "result", "Checks of who a neighbour is: proved, failed.", resultProved, resultFailed),
		rejoins:       vec("preau_gossip_rejoins_total", "result", "Calls to addresses of boxes that were not heard: joined, failed.", resultJoined, resultFailed),
		packetsByWay:  vec("preau_gossip_packets_total", "direction", "Gossip packets over UDP: in, out.", dirIn, dirOut),
		bytesByWay:    vec("preau_gossip_bytes_total", "direction", "Bytes of gossip over UDP and TCP, without headers: in, out.", dirIn, dirOut),
		verifiedGauge: gauge("verified", func() int { n, _ := count(); return n }),
		unproverGauge: gauge("unverified", func() int { _, n := count(); return n }),
	}
	m.packetsIn, m.packetsOut = m.packetsByWay.WithLabelValues(dirIn), m.packetsByWay.WithLabelValues(dirOut)
	m.bytesIn, m.bytesOut = m.bytesByWay.WithLabelValues(dirIn), m.bytesByWay.WithLabelValues(dirOut)
	var errs []error
	for _, c := range []prometheus.Collector{m.verifications, m.rejoins, m.packetsByWay, m.bytesByWay, m.verifiedGauge, m.unproverGauge} {
		errs = append(errs, reg.Register(c))
	}
	return m, errors.Join(errs...)
}
