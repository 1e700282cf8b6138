package upstream

import (
	"errors"

	"github.com/prometheus/client_golang/prometheus"
)

// The results of requests and of bodies.
const (
	resultAnswered     = "answered"
	resultGatewayError = "gateway_error"
	resultLineDown     = "line_down"
	resultStalled      = "stalled"
	resultCut          = "cut"
	resultCanceled     = "canceled"
	resultBusy         = "busy"
	resultError        = "error"
)

// counters are those of one kind of request, by result.
type counters map[string]prometheus.Counter

type metrics struct {
	fetches      counters
	passes       counters
	brokenBodies *prometheus.CounterVec
	probes       *prometheus.CounterVec
	outages      prometheus.Counter
}

func newMetrics(u *Upstream, reg prometheus.Registerer) (*metrics, error) {
	reg = prometheus.WrapRegistererWith(prometheus.Labels{"site": u.cfg.Name}, reg)
	counterVec := func(name, help string, labels ...string) *prometheus.CounterVec {
		return prometheus.NewCounterVec(prometheus.CounterOpts{Name: name, Help: help}, append(labels, "result"))
	}
	requests := counterVec("preau_upstream_requests_total",
		"Requests to the origin by kind (fetch, pass) and how they ended: answered, gateway_error, line_down, stalled, cut, canceled, busy, error.",
		"kind")
	m := &metrics{
		fetches: counters{}, passes: counters{},
		brokenBodies: counterVec("preau_upstream_broken_bodies_total",
			"Fetches that broke after their header: line_down, stalled, cut."),
		probes: counterVec("preau_upstream_probes_total",
			"Probes of the line by result: up, down, unclear."),
		outages: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "preau_upstream_outages_total", Help: "How often the line to the origin went down.",
		}),
	}
	for _, r := range []string{
		resultAnswered, resultGatewayError, resultLineDown, resultStalled, resultCut, resultCanceled,
		resultBusy, resultError,
	} {
		m.fetches[r] = requests.WithLabelValues("fetch", r)
		m.passes[r] = requests.WithLabelValues("pass", r)
	}
	for _, r := range []string{resultLineDown, resultStalled, resultCut} {
		m.brokenBodies.WithLabelValues(r)
	}
	for _, k := range []eventKind{evProbeUp, evProbeDown, evProbeUnclear} {
		m.probes.WithLabelValues(probeResult(k))
	}
	var errs []error
	for _, c := range []prometheus.Collector{
		requests, m.brokenBodies, m.probes, m.outages,
		prometheus.NewCounterFunc(prometheus.CounterOpts{
			Name: "preau_upstream_received_bytes_total", Help: "Bytes read from the origin's connections.",
		}, func() float64 { return float64(u.ReceivedBytes()) }),
		prometheus.NewCounterFunc(prometheus.CounterOpts{
			Name: "preau_upstream_sent_bytes_total", Help: "Bytes written to the origin's connections.",
		}, func() float64 { return float64(u.SentBytes()) }),
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name: "preau_upstream_line_up", Help: "Whether the line to the origin is up (1) or down (0).",
		}, func() float64 {
			if u.State().Up {
				return 1
			}
			return 0
		}),
		gaugeFunc("preau_upstream_busy_seconds", "How long the site wants to be left alone yet (Retry-After).", u.busySeconds),
		gaugeFunc("preau_upstream_fetches", "Fetches under way.", func() float64 { return float64(u.fetching()) }),
		gaugeFunc("preau_upstream_fetches_waiting", "Fetches that wait for their turn.", func() float64 { return float64(u.waitingTurn()) }),
	} {
		errs = append(errs, reg.Register(c))
	}
	return m, errors.Join(errs...)
}

func gaugeFunc(name, help string, value func() float64) prometheus.Collector {
	return prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: name, Help: help}, value)
}
