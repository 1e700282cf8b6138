package upload

import (
	"errors"

	"github.com/prometheus/client_golang/prometheus"
)

type metrics struct {
	received prometheus.Counter
	ended    *prometheus.CounterVec
}

func newMetrics(reg prometheus.Registerer, s *Server) (*metrics, error) {
	m := &metrics{
		received: prometheus.NewCounter(prometheus.CounterOpts{Name: "preau_upload_received_bytes_total", Help: "Bytes of uploads that came in."}),
		ended:    prometheus.NewCounterVec(prometheus.CounterOpts{Name: "preau_upload_ended_total", Help: "What became of uploads."}, []string{"result"}),
	}
	for _, result := range []string{"kept", "abandoned", "removed"} {
		m.ended.WithLabelValues(result)
	}
	var errs []error
	for name, stages := range map[string][]stage{"coming": {stageComing}, "whole": {stageWhole, stageHanding}, "kept": {stageKept}} {
		errs = append(errs, reg.Register(prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name: "preau_upload_files", Help: "Uploads by how far they have come.", ConstLabels: prometheus.Labels{"stage": name},
		}, func() float64 { n, _ := s.sum(stages); return float64(n) })))
	}
	errs = append(errs, reg.Register(m.received), reg.Register(m.ended), reg.Register(prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "preau_upload_bytes", Help: "Room that the bytes of uploads take on the disk.",
	}, func() float64 { _, n := s.sum([]stage{stageComing, stageWhole, stageHanding}); return float64(n) })))
	return m, errors.Join(errs...)
}

// sum counts the uploads that are at one of some stages, and their bytes here.
func (s *Server) sum(stages []stage) (n int, bytes int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, u := range s.uploads {
		for _, st := range stages {
			if u.rec.Stage == st {
				n++
				bytes += u.rec.Offset
			}
		}
	}
	return n, bytes
}
