package consensus

import (
	"errors"

	"github.com/prometheus/client_golang/prometheus"
)

// metrics are read from the node when somebody looks.
type metrics struct{ all []prometheus.Collector }

func newMetrics(n *Node, reg prometheus.Registerer) (*metrics, error) {
	gauge := func(name, help string, f func() float64) prometheus.Collector {
		return prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "preau_consensus_" + name, Help: help}, f)
	}
	truth := func(f func() bool) func() float64 {
		return func() float64 {
			if f() {
				return 1
			}
			return 0
		}
	}
	m := &metrics{all: []prometheus.Collector{
		gauge("leader", "Whether this server leads the region.", truth(n.IsLeader)),
		gauge("term", "The current term.", func() float64 { return float64(n.Term()) }),
		gauge("commit_index", "The last entry known to be agreed on.", func() float64 {
			if r := n.raft.Load(); r != nil {
				return float64(r.CommitIndex())
			}
			return 0
		}),
		gauge("applied_index", "The last entry that this server has applied.", func() float64 { return float64(n.Applied()) }),
		gauge("voters", "How many servers vote.", func() float64 {
			voters := 0
			for _, s := range n.Servers() {
				if s.Voter {
					voters++
				}
			}
			return float64(voters)
		}),
		gauge("stalled", "Whether this server's disk keeps it from logging or applying.", truth(func() bool { return n.ill() != nil })),
		prometheus.NewCounterFunc(prometheus.CounterOpts{
			Name: "preau_consensus_leader_changes_total",
			Help: "How often a server other than the last one was seen to lead.",
		}, func() float64 { return float64(n.changes.Load()) }),
	}}
	var errs []error
	for _, c := range m.all {
		errs = append(errs, reg.Register(c))
	}
	if err := errors.Join(errs...); err != nil {
		m.unregister(reg)
		return nil, err
	}
	return m, nil
}

func (m *metrics) unregister(reg prometheus.Registerer) {
	for _, c := range m.all {
		reg.Unregister(c)
	}
}
