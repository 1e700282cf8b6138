package s3store

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
	"os"
	"sync"
	"time"
)

// errLate is an attempt that one of the Timeouts has ended.
var errLate = errors.New("the server does not answer in time")

// transport is an http.RoundTripper that ends attempts in which nothing moves.
type transport struct {
	base http.RoundTripper
	idle func() // closes the idle connections
	t    Timeouts
}

func newTransport(cfg Config) (*transport, error) {
	conf := &tls.Config{MinVersion: tls.VersionTLS12}
	if cfg.CAFile != "" {
		pem, err := os.ReadFile(cfg.CAFile)
		if err != nil {
			return nil, fmt.Errorf("read the certificates of the store's authority: %w", err)
		}
		conf.RootCAs = x509.NewCertPool()
		if !conf.RootCAs.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("%s holds no certificate: it must be PEM", cfg.CAFile)
		}
	}
	dialer := &net.Dialer{Timeout: cfg.Timeouts.Connect, KeepAlive: 30 * time.Second}
	base := &http.Transport{
		Proxy:                  http.ProxyFromEnvironment,
		DialContext:            dialer.DialContext,
		TLSClientConfig:        conf,
		TLSHandshakeTimeout:    cfg.Timeouts.Connect,
		MaxConnsPerHost:        cfg.Connections,
		MaxIdleConns:           cfg.Connections,
		MaxIdleConnsPerHost:    cfg.Connections,
		IdleConnTimeout:        time.Minute,
		MaxResponseHeaderBytes: 64 << 10,
		DisableCompression:     true,
		WriteBufferSize:        64 << 10,
		ReadBufferSize:         64 << 10,
	}
	return &transport{base: base, idle: base.CloseIdleConnections, t: cfg.Timeouts}, nil
}

// note is what minio-go does not pass on: a header that the request gets after it
// was signed (If-Match without quotes), and when the answer was written.
type note struct {
	name, value string
	answered    time.Time
}

type noteKey struct{}

func withNote(ctx context.Context, n *note) context.Context {
	return context.WithValue(ctx, noteKey{}, n)
}

// RoundTrip implements http.RoundTripper.
func (t *transport) RoundTrip(req *http.Request) (*http.Response, error) {
	ctx, cancel := context.WithCancelCause(req.Context())
	d := &dog{cancel: cancel}
	answer := t.t.Answer
	if req.Method == http.MethodPost && req.URL.Query().Has("uploadId") {
		answer = t.t.Complete
	}
	sending := req.Body != nil && req.Body != http.NoBody
	traced := httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{
		GotConn: func(httptrace.GotConnInfo) {
			if sending {
				d.feed(t.t.Stall, "take the request")
			} else {
				d.feed(answer, "answer")
			}
		},
	})
	d.feed(t.t.Queue+2*t.t.Connect, "give us a connection")
	mine := req.Clone(traced)
	if sending {
		mine.Body = &sentBody{ReadCloser: req.Body, dog: d, stall: t.t.Stall, answer: answer}
	}
	extra, noted := req.Context().Value(noteKey{}).(*note)
	if noted && extra.name != "" {
		mine.Header.Set(extra.name, extra.value)
	}
	resp, err := t.base.RoundTrip(mine)
	if err != nil {
		d.stop()
		cause := context.Cause(ctx)
		cancel(nil)
		// The connection's error only says that it was given up; why is ours to say.
		if errors.Is(cause, errLate) {
			return nil, cause
		}
		return nil, err
	}
	d.hold()
	if noted {
		if extra.answered, err = http.ParseTime(resp.Header.Get("Date")); err != nil {
			extra.answered = time.Now().UTC()
		}
	}
	// Nothing here needs it, and minio-go fails if someone has stored nonsense.
	resp.Header.Del("Expires")
	resp.Body = &gotBody{ReadCloser: resp.Body, ctx: ctx, dog: d, stall: t.t.Stall}
	return resp, nil
}

// dog ends an attempt unless it is fed or held.
type dog struct {
	mu      sync.Mutex
	cancel  context.CancelCauseFunc
	timer   *time.Timer
	stopped bool
}

// feed gives the attempt d more time to do what.
func (w *dog) feed(d time.Duration, what string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.stopped {
		return
	}
	if w.timer != nil {
		w.timer.Stop()
	}
	w.timer = time.AfterFunc(d, func() {
		w.cancel(fmt.Errorf("%w: %v passed and it did not %s", errLate, d, what))
	})
}

// hold gives it all the time: it is our turn.
func (w *dog) hold() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.timer != nil {
		w.timer.Stop()
	}
}

func (w *dog) stop() {
	w.hold()
	w.mu.Lock()
	defer w.mu.Unlock()
	w.stopped = true
}

// sentBody feeds the dog when bytes are handed to the network. While they are
// read it is the other side's turn: whoever gave us the body may be slow.
type sentBody struct {
	io.ReadCloser
	dog           *dog
	stall, answer time.Duration
}

func (b *sentBody) Read(p []byte) (int, error) {
	b.dog.hold()
	n, err := b.ReadCloser.Read(p)
	if err != nil {
		b.dog.feed(b.answer, "answer")
	} else {
		b.dog.feed(b.stall, "take a byte")
	}
	return n, err
}

func (b *sentBody) Close() error {
	b.dog.feed(b.answer, "answer")
	return b.ReadCloser.Close()
}

// gotBody lets no Read wait longer than stall.
type gotBody struct {
	io.ReadCloser
	ctx   context.Context // of the attempt, which this body is the rest of
	dog   *dog
	stall time.Duration
}

func (b *gotBody) Read(p []byte) (int, error) {
	b.dog.feed(b.stall, "send a byte")
	n, err := b.ReadCloser.Read(p)
	b.dog.hold()
	if err != nil && !errors.Is(err, io.EOF) {
		if cause := context.Cause(b.ctx); errors.Is(cause, errLate) {
			err = cause
		}
	}
	return n, err
}

func (b *gotBody) Close() error {
	b.dog.stop()
	err := b.ReadCloser.Close()
	b.dog.cancel(nil)
	return err
}
