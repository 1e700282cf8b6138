package parent

import (
	"errors"

	"github.com/prometheus/client_golang/prometheus"
)

// Who answered fetches.
const (
	byParent = "parent"
	bySite   = "site"
	byNobody = "failed"
)

// What parents said.
const (
	saidAnswered = "answered"
	saidOffline  = "offline"
	saidGateway  = "gateway"
	saidForeign  = "foreign"
	saidNothing  = "failed"
	saidSlow     = "slow"
	saidCanceled = "canceled"
)

// How bodies broke.
const (
	brokeCut     = "cut"
	brokeStalled = "stalled"
)

type metrics struct {
	fetches, answers, broken *prometheus.CounterVec
	received                 prometheus.Counter
}

func newMetrics(site string, reg prometheus.Registerer) (*metrics, error) {
	reg = prometheus.WrapRegistererWith(prometheus.Labels{"site": site}, reg)
	vec := func(name, help string, values ...string) *prometheus.CounterVec {
		v := prometheus.NewCounterVec(prometheus.CounterOpts{Name: name, Help: help}, []string{"result"})
		for _, x := range values {
			v.WithLabelValues(x)
		}
		return v
	}
	m := &metrics{
		fetches: vec("preau_parent_fetches_total", "Fetches by who answered: parent, site, failed.", byParent, bySite, byNobody),
		answers: vec("preau_parent_answers_total", "What parents said: answered, offline, gateway, foreign, failed, slow, canceled.",
			saidAnswered, saidOffline, saidGateway, saidForeign, saidNothing, saidSlow, saidCanceled),
		broken:   vec("preau_parent_broken_bodies_total", "Parents' bodies that broke: cut, stalled.", brokeCut, brokeStalled),
		received: prometheus.NewCounter(prometheus.CounterOpts{Name: "preau_parent_received_bytes_total", Help: "Bytes of bodies read from parents."}),
	}
	var errs []error
	for _, c := range []prometheus.Collector{m.fetches, m.answers, m.broken, m.received} {
		errs = append(errs, reg.Register(c))
	}
	return m, errors.Join(errs...)
}
