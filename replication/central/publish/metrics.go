package publish

import (
	"fmt"

	"github.com/prometheus/client_golang/prometheus"
)

type metrics struct {
	changes, looks, faults, hints, passes, appends, compactions *prometheus.CounterVec

	hashed                      prometheus.Counter
	objects, held               *prometheus.GaugeVec
	passSeconds, inHand, leader prometheus.Gauge
}

func newMetrics(reg prometheus.Registerer) (*metrics, error) {
	const sub = "central_publish"
	counters := func(name, help, label string) *prometheus.CounterVec {
		return prometheus.NewCounterVec(prometheus.CounterOpts{Namespace: "preau", Subsystem: sub, Name: name, Help: help}, []string{label})
	}
	gauge := func(name, help string) prometheus.Gauge {
		return prometheus.NewGauge(prometheus.GaugeOpts{Namespace: "preau", Subsystem: sub, Name: name, Help: help})
	}
	gauges := func(name, help string) *prometheus.GaugeVec {
		return prometheus.NewGaugeVec(prometheus.GaugeOpts{Namespace: "preau", Subsystem: sub, Name: name, Help: help}, []string{"bucket"})
	}
	m := &metrics{
		changes: counters("changes_total", "Changes appended to histories, by kind.", "kind"),
		looks:   counters("looks_total", "Objects looked at, by result.", "result"),
		hashed: prometheus.NewCounter(prometheus.CounterOpts{
			Namespace: "preau", Subsystem: sub, Name: "hashed_bytes_total", Help: "Bytes of objects read and hashed.",
		}),
		faults:      counters("metadata_faults_total", "Fields of objects' metadata that were left out because they make no sense.", "field"),
		hints:       counters("hints_total", "Objects named by bucket notifications, by what became of it.", "result"),
		passes:      counters("passes_total", "Passes over a bucket, by result.", "result"),
		passSeconds: gauge("pass_seconds", "How long the last whole pass over a bucket took."),
		objects:     gauges("objects", "Objects that the last whole pass listed."),
		held:        gauges("held_objects", "Objects of the last whole pass that are held back."),
		inHand:      gauge("in_hand", "Objects being looked at, or waiting for it."),
		leader:      gauge("leader", "1 if this gateway makes the passes over the buckets."),
		appends:     counters("appends_total", "Writes to histories, by result.", "result"),
		compactions: counters("compactions_total", "Histories written anew without what no longer counts, by result.", "result"),
	}
	for _, c := range []prometheus.Collector{
		m.changes, m.looks, m.hashed, m.faults, m.hints, m.passes, m.passSeconds, m.objects, m.held, m.inHand, m.leader, m.appends, m.compactions,
	} {
		if err := reg.Register(c); err != nil {
			return nil, fmt.Errorf("register publish metrics: %w", err)
		}
	}
	return m, nil
}
