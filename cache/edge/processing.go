package edge

import (
	"maps"
	"net/http"
	"sync"
	"time"
)

// How soon a neighbour hears that its request is being worked on, and how often
// from then on.
const (
	processingAfter = 20 * time.Millisecond
	processingEvery = 250 * time.Millisecond
)

// processing is a response to a neighbour, who hears by 102 that it is being
// worked on until it begins. All but that is done by one goroutine, as with any
// http.ResponseWriter.
type processing struct {
	w      http.ResponseWriter
	header http.Header // the handler's, until it is sent

	mu    sync.Mutex
	timer *time.Timer
	begun bool // the response, or it has ended
}

func beginProcessing(w http.ResponseWriter) *processing {
	p := &processing{w: w, header: http.Header{}}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.timer = time.AfterFunc(processingAfter, p.tell)
	return p
}

// tell sends one 102 and has itself called again.
func (p *processing) tell() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.begun {
		return
	}
	p.w.WriteHeader(http.StatusProcessing)
	p.timer.Reset(processingEvery)
}

// end has nothing more sent. Once it has returned, the response is nobody's.
func (p *processing) end() {
	p.stop()
	maps.Copy(p.w.Header(), p.header) // trailers, which are sent when the handler has returned
}

func (p *processing) stop() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.begun = true
	p.timer.Stop()
}

// Header implements http.ResponseWriter. It is not the header that 102s are
// sent with, which the handler knows nothing about.
func (p *processing) Header() http.Header { return p.header }

// WriteHeader implements http.ResponseWriter.
func (p *processing) WriteHeader(status int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	h := p.w.Header()
	maps.Copy(h, p.header)
	if status >= 100 && status < 200 && status != http.StatusSwitchingProtocols {
		if !p.begun {
			p.w.WriteHeader(status)
			clear(h)
		}
		return
	}
	p.begun = true
	p.timer.Stop()
	p.w.WriteHeader(status)
}

// begin sends the header if that was not done.
func (p *processing) begin() {
	p.mu.Lock()
	begun := p.begun
	p.mu.Unlock()
	if !begun {
		p.WriteHeader(http.StatusOK)
	}
}

func (p *processing) Write(b []byte) (int, error) {
	p.begin()
	return p.w.Write(b)
}

// FlushError is what http.ResponseController looks for.
func (p *processing) FlushError() error {
	p.begin()
	return http.NewResponseController(p.w).Flush()
}

// Flush implements http.Flusher.
func (p *processing) Flush() {
	_ = p.FlushError() //nolint:errcheck // the next write tells
}

// Unwrap leads http.ResponseController to what it can't find here.
func (p *processing) Unwrap() http.ResponseWriter { return p.w }
