package near

import (
	"io"
	"net/http"
	"sync/atomic"

	"github.com/prometheus/client_golang/prometheus"
)

// counter counts bytes.
type counter struct{ n atomic.Int64 }

// countingBody counts what is read of a body.
type countingBody struct {
	io.ReadCloser
	n     *counter
	total prometheus.Counter
}

// Read implements io.Reader.
func (c *countingBody) Read(p []byte) (int, error) {
	n, err := c.ReadCloser.Read(p)
	c.n.n.Add(int64(n))
	c.total.Add(float64(n))
	return n, err
}

// countingWriter counts what a box is given.
type countingWriter struct {
	http.ResponseWriter
	b    *Boxes
	name string
}

// Write implements http.ResponseWriter.
func (c *countingWriter) Write(p []byte) (int, error) {
	n, err := c.ResponseWriter.Write(p)
	c.b.gave(c.name, n)
	return n, err
}

// Unwrap lets http.ResponseController reach what is beneath.
func (c *countingWriter) Unwrap() http.ResponseWriter { return c.ResponseWriter }

// Flush implements http.Flusher.
func (c *countingWriter) Flush() {
	if f, ok := c.ResponseWriter.(http.Flusher); ok {
		f.Flush()
	}
}

func (b *Boxes) gave(name string, n int) {
	b.met.given.Add(float64(n))
	b.mu.Lock()
	b.given[name] += int64(n)
	b.mu.Unlock()
}

type metrics struct {
	boxes        *prometheus.GaugeVec
	given, taken prometheus.Counter
	reports      prometheus.Counter
}

func newMetrics(reg prometheus.Registerer) (*metrics, error) {
	bytes := prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "preau_near_bytes_total", Help: "Bytes of bodies given to neighbours and taken from them.",
	}, []string{"direction"})
	m := &metrics{
		boxes: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "preau_near_boxes", Help: "The school's other boxes by state: alive, draining, quarantined, unverified.",
		}, []string{"state"}),
		given: bytes.WithLabelValues("given"), taken: bytes.WithLabelValues("taken"),
		reports: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "preau_near_reports_total", Help: "Wrong bytes that neighbours served; nobody got them.",
		}),
	}
	for _, s := range states {
		m.boxes.WithLabelValues(s)
	}
	for _, c := range []prometheus.Collector{m.boxes, bytes, m.reports} {
		if err := reg.Register(c); err != nil {
			return nil, err
		}
	}
	return m, nil
}
