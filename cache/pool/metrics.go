package pool

import (
	"errors"

	"github.com/prometheus/client_golang/prometheus"
)

// Who answered fetches.
const (
	byNeighbour = "neighbour"
	byAuthority = "authority"
	byNobody    = "failed"
)

// What neighbours said.
const (
	saidUsed     = "used"
	saidAbsent   = "absent"
	saidOther    = "other"
	saidNothing  = "failed"
	saidSilent   = "silent"
	saidLate     = "late"
	saidCanceled = "canceled"
)

// How bodies broke.
const (
	brokeAltered   = "altered"
	brokeCut       = "cut"
	brokeStalled   = "stalled"
	brokeUnvouched = "unvouched"
)

type metrics struct {
	fetches, answers, broken, proofs *prometheus.CounterVec
	altered, hedged, received        prometheus.Counter
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
	one := func(name, help string) prometheus.Counter {
		return prometheus.NewCounter(prometheus.CounterOpts{Name: name, Help: help})
	}
	m := &metrics{
		fetches: vec("preau_pool_fetches_total", "Fetches by who answered: neighbour, authority, failed.", byNeighbour, byAuthority, byNobody),
		answers: vec("preau_pool_answers_total", "What neighbours said: used, absent, other (another version), failed, silent, late (works on it for too long), canceled.",
			saidUsed, saidAbsent, saidOther, saidNothing, saidSilent, saidLate, saidCanceled),
		broken: vec("preau_pool_broken_bodies_total", "Neighbours' bodies that broke: altered, cut, stalled, unvouched (the authority stopped vouching).",
			brokeAltered, brokeCut, brokeStalled, brokeUnvouched),
		proofs:   vec("preau_pool_proofs_total", "Neighbours' proofs where nobody vouched: used, refused, forged.", proofUsed, proofRefused, proofForged),
		altered:  one("preau_pool_altered_blocks_total", "Blocks from neighbours that were not what the authority vouched for."),
		hedged:   one("preau_pool_hedged_total", "Neighbours asked beside one that was silent."),
		received: one("preau_pool_received_bytes_total", "Bytes of bodies read from neighbours."),
	}
	var errs []error
	for _, c := range []prometheus.Collector{m.fetches, m.answers, m.broken, m.proofs, m.altered, m.hedged, m.received} {
		errs = append(errs, reg.Register(c))
	}
	return m, errors.Join(errs...)
}
