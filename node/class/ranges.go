package class

import (
	"context"
	"crypto/sha256"
	"fmt"
	"hash"
	"net/http"
	"strings"
)

// part is a range that was read before the whole body was, to be compared with it.
type part struct {
	from, to int64 // to is exclusive
	got      [sha256.Size]byte
	whole    hash.Hash // the same bytes as they come by in the whole body
}

// plan is which ranges are read first.
func (d *device) plan() []*part {
	const mib = 1 << 20
	clip := func(from, n int64) *part {
		from = max(0, min(from, d.size-1))
		return &part{from: from, to: min(from+n, d.size)}
	}
	middle := int64(d.rng.Float64() * float64(max(d.size-mib, 1)))
	switch {
	case d.size <= 0:
		return nil
	case d.cfg.Range == RangeRandom:
		return []*part{clip(middle, mib)}
	case d.cfg.Range == RangeSeek:
		return []*part{clip(0, mib/4), clip(d.size-mib/4, mib/4), clip(middle, mib)}
	}
	return nil
}

// readPart reads one range. An origin without ranges sends the whole body
// instead; that is then the device's download, and done is true.
func (d *device) readPart(ctx context.Context, p *part) (done bool, err error) {
	res, err := d.get(ctx, "Range", fmt.Sprintf("bytes=%d-%d", p.from, p.to-1))
	if err != nil {
		return false, err
	}
	defer res.Body.Close()
	switch res.StatusCode {
	case http.StatusOK:
		return true, d.take(ctx, res)
	case http.StatusPartialContent:
	default:
		return false, fmt.Errorf("range %d-%d: status %s", p.from, p.to-1, res.Status)
	}
	if err := checkContentRange(res.Header, p.from, p.to-1, d.size); err != nil {
		return false, err
	}
	sum := sha256.New()
	n, err := d.copy(ctx, res.Body, func(b []byte) bool { sum.Write(b); return true })
	if err != nil {
		return false, broken(err)
	}
	if n != p.to-p.from {
		return false, wrongf("range %d-%d has %d bytes", p.from, p.to-1, n)
	}
	sum.Sum(p.got[:0])
	p.whole = sha256.New()
	d.parts = append(d.parts, p)
	d.note(func(r *Device) { r.Ranges++ })
	return false, nil
}

// checkContentRange compares a 206's Content-Range with what was asked (RFC
// 9110 §14.4): last may be below zero for "to the end", size for "unknown".
func checkContentRange(h http.Header, first, last, size int64) error {
	field := h.Get("Content-Range")
	var a, b, n int64
	if rest, star := strings.CutSuffix(field, "/*"); star {
		n = -1
		if _, err := fmt.Sscanf(rest, "bytes %d-%d", &a, &b); err != nil {
			return wrongf("unreadable content-range %q", field)
		}
	} else if _, err := fmt.Sscanf(field, "bytes %d-%d/%d", &a, &b, &n); err != nil {
		return wrongf("unreadable content-range %q", field)
	}
	if a != first || (last >= 0 && b != last) || (size > 0 && n >= 0 && n != size) || (last < 0 && n >= 0 && b != n-1) {
		return wrongf("asked for bytes %d-%d of %d, got %q", first, last, size, field)
	}
	return nil
}
