//go:build system && linux

package yard_test

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"
)

// look reads from the process's face for operators.
func (p *process) look(path string) ([]byte, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+p.admin+path, http.NoBody)
	if err != nil {
		return nil, err
	}
	tr := &http.Transport{DialContext: func(ctx context.Context, network, address string) (net.Conn, error) {
		return p.host.Dial(ctx, net.Dialer{}, network, address)
	}, DisableKeepAlives: true}
	resp, err := (&http.Client{Transport: tr}).Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err == nil && resp.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s of %s: %s: %.300s", path, p.name, resp.Status, text)
	}
	return text, err
}

// metric adds up a counter's or gauge's lines that have all of the labels.
func (p *process) metric(name string, labels ...string) (float64, error) {
	text, err := p.look("/metrics")
	if err != nil {
		return 0, err
	}
	sum := 0.0
	for line := range strings.Lines(string(text)) {
		series, value, ok := strings.Cut(strings.TrimSpace(line), "} ")
		if !ok {
			series, value, ok = strings.Cut(strings.TrimSpace(line), " ")
		}
		if base, _, _ := strings.Cut(series, "{"); !ok || base != name {
			continue
		}
		fits := true
		for _, l := range labels {
			fits = fits && strings.Contains(series+"}", l)
		}
		if fits {
			v, err := strconv.ParseFloat(value, 64)
			if err != nil {
				return 0, fmt.Errorf("%q: %w", line, err)
			}
			sum += v
		}
	}
	return sum, nil
}

// count is metric for a test that goes on without.
func (p *process) count(t *testing.T, name string, labels ...string) float64 {
	t.Helper()
	v, err := p.metric(name, labels...)
	if err != nil {
		t.Errorf("%s of %s: %v", name, p.name, err)
	}
	return v
}

// series are all metrics with that beginning that are not zero, for logs.
func (p *process) series(prefix string) string {
	text, err := p.look("/metrics")
	if err != nil {
		return err.Error()
	}
	var out []string
	for line := range strings.Lines(string(text)) {
		if line = strings.TrimSpace(line); strings.HasPrefix(line, prefix) && !strings.HasSuffix(line, " 0") {
			out = append(out, line)
		}
	}
	return strings.Join(out, "; ")
}
