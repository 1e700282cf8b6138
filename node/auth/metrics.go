package auth

import (
	"fmt"

	"github.com/prometheus/client_golang/prometheus"
)

type metrics struct {
	signIns *prometheus.CounterVec
	forms   prometheus.Counter
}

func newMetrics(reg prometheus.Registerer, sessions func() int) (metrics, error) {
	m := metrics{
		signIns: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "preau_auth_sign_ins_total", Help: "Sign-ins by provider, badge or claim code, and what became of them.",
		}, []string{"how", "result"}),
		forms: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "preau_auth_forms_refused_total", Help: "Forms that were not sent by a page of this box.",
		}),
	}
	live := prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "preau_auth_sessions", Help: "Browsers that are signed in."}, func() float64 { return float64(sessions()) })
	for _, c := range []prometheus.Collector{m.signIns, m.forms, live} {
		if err := reg.Register(c); err != nil {
			return m, fmt.Errorf("sign-in metrics: %w", err)
		}
	}
	return m, nil
}
