package class

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// metric is what a box calls the bytes that came over its line.
const metric = "preau_upstream_received_bytes_total"

// wanReader tells the line's bytes so far, or -1 where nobody knows.
func wanReader(cfg Config) func(context.Context) (int64, error) {
	switch {
	case cfg.WANBytes != nil:
		return func(context.Context) (int64, error) { return cfg.WANBytes(), nil }
	case cfg.Metrics != "":
		return func(ctx context.Context) (int64, error) {
			n, err := scrape(ctx, cfg.Metrics)
			if err != nil {
				return 0, fmt.Errorf("class: read %s: %w", cfg.Metrics, err)
			}
			return n, nil
		}
	}
	return func(context.Context) (int64, error) { return -1, nil }
}

func scrape(ctx context.Context, url string) (int64, error) {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return 0, err
	}
	tr := &http.Transport{DisableKeepAlives: true}
	res, err := (&http.Client{Transport: tr}).Do(req)
	if err != nil {
		return 0, err
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusOK {
		return 0, fmt.Errorf("status %s", res.Status)
	}
	return sumMetric(res.Body, metric)
}

// sumMetric adds up every series of one counter in Prometheus's text format.
func sumMetric(r io.Reader, name string) (int64, error) {
	var sum float64
	found := false
	lines := bufio.NewScanner(io.LimitReader(r, 16<<20))
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		rest, ok := strings.CutPrefix(lines.Text(), name)
		if !ok || rest == "" || (rest[0] != '{' && rest[0] != ' ') {
			continue
		}
		if i := strings.LastIndexByte(rest, '}'); i >= 0 {
			rest = rest[i+1:]
		}
		fields := strings.Fields(rest)
		if len(fields) == 0 {
			return 0, fmt.Errorf("unreadable line %q", lines.Text())
		}
		v, err := strconv.ParseFloat(fields[0], 64)
		if err != nil {
			return 0, fmt.Errorf("unreadable line %q: %w", lines.Text(), err)
		}
		sum += v
		found = true
	}
	if err := lines.Err(); err != nil {
		return 0, err
	}
	if !found {
		return 0, fmt.Errorf("there is no %s", name)
	}
	return int64(sum), nil
}
