//go:build system && linux

package yard_test

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"hash"
	"io"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"time"
)

// device is a pupil's.
type device struct {
	*http.Client
	transport *http.Transport
}

// device is the n-th of the school, from 0, with an address of its own.
func (y *yard) device(n int) *device {
	from := netip.AddrFrom4([4]byte{10, 71, 1, byte(1 + n%devices)})
	d := net.Dialer{Timeout: 3 * time.Second, LocalAddr: net.TCPAddrFromAddrPort(netip.AddrPortFrom(from, 0))}
	tr := &http.Transport{
		DialContext: func(ctx context.Context, network, address string) (net.Conn, error) {
			return y.rooms.Dial(ctx, d, network, address)
		},
		DisableCompression: true,
	}
	return &device{Client: &http.Client{Transport: tr}, transport: tr}
}

func (d *device) close() { d.transport.CloseIdleConnections() }

// got is what a device was given.
type got struct {
	status int
	header http.Header
	n      int64
	sum    [32]byte // of the body
	first  time.Duration
	took   time.Duration
}

// get asks host for a path and reads the body to its end. More fields come in
// pairs.
func (d *device) get(ctx context.Context, host, path string, fields ...string) (got, error) {
	return d.into(ctx, sha256.New(), host, path, fields...)
}

// into is get, that adds the body to a sum that has begun.
func (d *device) into(ctx context.Context, sum hash.Hash, host, path string, fields ...string) (g got, err error) {
	began := time.Now()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+host+path, http.NoBody)
	if err != nil {
		return g, err
	}
	for i := 0; i+1 < len(fields); i += 2 {
		req.Header.Set(fields[i], fields[i+1])
	}
	resp, err := d.Do(req)
	if err != nil {
		return g, err
	}
	defer resp.Body.Close()
	g.status, g.header, g.first = resp.StatusCode, resp.Header, time.Since(began)
	g.n, err = io.Copy(sum, resp.Body)
	g.took = time.Since(began)
	sum.Sum(g.sum[:0])
	return g, err
}

// whole gets a file and compares every byte of it.
func (d *device) whole(ctx context.Context, y *yard, host, path string, fields ...string) (got, error) {
	body, sum, err := y.site.file(path)
	if err != nil {
		return got{}, err
	}
	g, err := d.get(ctx, host, path, fields...)
	switch {
	case err != nil:
		return g, fmt.Errorf("%s from %s after %d bytes and %v: %w", path, host, g.n, g.took, err)
	case g.status != http.StatusOK:
		return g, fmt.Errorf("%s from %s: status %d", path, host, g.status)
	case g.n != int64(len(body)) || g.sum != sum:
		return g, fmt.Errorf("%s from %s: %w: %d bytes of %d", path, host, errWrong, g.n, len(body))
	}
	return g, nil
}

// errWrong is a body with other bytes than the site's, and no word of it.
var errWrong = errors.New("the body is a wrong one")

// wrong reports whether a device was given wrong bytes for good ones.
func wrong(err error) bool { return errors.Is(err, errWrong) }

// from tells what the box says of where the bytes came from. Its entry is the
// last of Cache-Status (RFC 9211 §2).
func (g got) from() string {
	entries := strings.Split(strings.Join(g.header.Values("Cache-Status"), ","), ",")
	for part := range strings.SplitSeq(entries[len(entries)-1], ";") {
		if v, ok := strings.CutPrefix(strings.TrimSpace(part), "detail="); ok {
			return strings.Trim(v, `"`)
		}
	}
	return ""
}

// quantile of durations, by the nearest rank; 1 is the largest.
func quantile(all []time.Duration, q float64) time.Duration {
	if len(all) == 0 {
		return 0
	}
	sorted := slices.Sorted(slices.Values(all))
	return sorted[min(len(sorted)-1, int(q*float64(len(sorted))))]
}
