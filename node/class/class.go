package class

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/url"
	"sync"
	"time"
)

// What Run returns when the class did not go well. The report says more.
var (
	ErrWrong      = errors.New("a device got a wrong body")
	ErrIncomplete = errors.New("a device did not get the whole body")
)

// Run lets the class download and writes its progress and the report to out
// (nil for nowhere). It returns ErrWrong or ErrIncomplete, wrapped, when not
// every device that stayed got the right body; the report is filled in all the same.
func Run(ctx context.Context, cfg Config, out io.Writer) (Report, error) {
	cfg, err := cfg.check()
	if err != nil {
		return Report{}, err
	}
	if out == nil {
		out = io.Discard
	}
	if cfg.Range != RangeNone && cfg.Size == 0 {
		if cfg.Size, err = askSize(ctx, cfg); err != nil {
			return Report{}, err
		}
	}
	wan := wanReader(cfg)
	before, err := wan(ctx)
	if err != nil {
		return Report{}, err
	}

	devices := make([]*device, cfg.Devices)
	for i := range devices {
		devices[i] = newDevice(cfg, i)
	}
	began := time.Now()
	var all sync.WaitGroup
	for i, d := range devices {
		all.Go(func() {
			defer d.client.CloseIdleConnections()
			if cfg.Over > 0 {
				_ = wait(ctx, time.Until(began.Add(cfg.Over*time.Duration(i)/time.Duration(len(devices))))) //nolint:errcheck // run notes an ended ctx
			}
			d.run(ctx)
		})
	}
	ended := make(chan struct{})
	var show sync.WaitGroup
	show.Go(func() { progress(cfg, devices, out, ended) })
	all.Wait()
	took := time.Since(began)
	close(ended)
	show.Wait()

	rep := summarise(cfg, reports(devices), took)
	if after, err := wan(context.WithoutCancel(ctx)); err != nil {
		return rep, err
	} else if after >= 0 && before >= 0 {
		rep.WANBytes = new(after - before)
		if rep.Size > 0 {
			rep.Ratio = new(float64(after-before) / float64(rep.Size))
		}
	}
	if cfg.Watch != nil {
		cfg.Watch(rep.Devices)
	}
	if err := rep.write(out, cfg.JSON); err != nil {
		return rep, fmt.Errorf("class: write the report: %w", err)
	}
	return rep, rep.verdict(ctx)
}

func (r Report) verdict(ctx context.Context) error {
	switch {
	case r.WrongCount > 0:
		return fmt.Errorf("class: %d of %d: %w", r.WrongCount, len(r.Devices), ErrWrong)
	case ctx.Err() != nil:
		return fmt.Errorf("class: stopped: %w", context.Cause(ctx))
	case r.TruncatedCount+r.ErrorCount > 0:
		return fmt.Errorf("class: %d of %d: %w", r.TruncatedCount+r.ErrorCount, len(r.Devices), ErrIncomplete)
	}
	return nil
}

func newDevice(cfg Config, i int) *device {
	d := &device{
		cfg: cfg, client: newClient(cfg), size: cfg.Size,
		rng: rand.New(rand.NewPCG(rand.Uint64(), uint64(i))),
		rep: Device{N: i + 1, Outcome: Waiting, Length: -1},
	}
	// Those who leave and those who are slow are spread over the class, not its first rows.
	if spread(i, cfg.Abort, cfg.Devices) {
		d.leaveAt = 0.3 + 0.4*d.rng.Float64()
	}
	if spread(cfg.Devices-1-i, cfg.Slow, cfg.Devices) {
		d.rate = cfg.SlowRate
	}
	return d
}

// spread picks n of all, evenly.
func spread(i, n, all int) bool { return (i+1)*n/all > i*n/all }

// newClient has a transport of its own: a device shares no connection.
func newClient(cfg Config) *http.Client {
	dial := new(net.Dialer)
	tr := &http.Transport{
		DisableCompression: true, // the bytes are hashed as they were sent
		ForceAttemptHTTP2:  true,
		TLSClientConfig:    &tls.Config{InsecureSkipVerify: cfg.Insecure},
		DialContext: func(ctx context.Context, network, addr string) (net.Conn, error) {
			if cfg.Connect != "" {
				addr = connectTo(cfg.Connect, addr)
			}
			return dial.DialContext(ctx, network, addr)
		},
	}
	return &http.Client{Transport: tr}
}

func connectTo(connect, addr string) string {
	if _, _, err := net.SplitHostPort(connect); err == nil {
		return connect
	}
	_, port, err := net.SplitHostPort(addr)
	if err != nil {
		return connect
	}
	return net.JoinHostPort(connect, port)
}

// askSize asks once, before the class, how long the body is.
func askSize(ctx context.Context, cfg Config) (int64, error) {
	client := newClient(cfg)
	defer client.CloseIdleConnections()
	ctx, cancel := context.WithTimeout(ctx, min(cfg.Timeout, 30*time.Second))
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodHead, cfg.URL, nil)
	if err != nil {
		return 0, fmt.Errorf("class: %w", err)
	}
	res, err := client.Do(req)
	if err != nil {
		if e := (*url.Error)(nil); errors.As(err, &e) {
			err = e.Err
		}
		return 0, fmt.Errorf("class: ask the size of %s: %w", cfg.URL, err)
	}
	res.Body.Close()
	if res.StatusCode != http.StatusOK || res.ContentLength <= 0 {
		return 0, fmt.Errorf("class: ranges need the body's size, and HEAD %s answers %s without one; give it", cfg.URL, res.Status)
	}
	return res.ContentLength, nil
}

func reports(devices []*device) []Device {
	all := make([]Device, len(devices))
	for i, d := range devices {
		all[i] = d.report()
	}
	return all
}
