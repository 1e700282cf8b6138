package class

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"math/rand/v2"
	"net/http"
	"strings"
	"sync"
	"time"
)

// Outcome is how a device fared.
type Outcome string

// What may become of a device.
const (
	Waiting   Outcome = "waiting"
	Reading   Outcome = "reading"
	OK        Outcome = "ok"
	Left      Outcome = "left"      // went away in the middle, as it was told to
	Truncated Outcome = "truncated" // the body broke off, and the device could tell
	Wrong     Outcome = "wrong"     // bytes that are not the body's, or a length that is not its
	Failed    Outcome = "error"     // no body: refused, timed out, or another status
)

// Device is one device's part in the class.
type Device struct {
	N           int     `json:"n"`
	Outcome     Outcome `json:"outcome"`
	Seconds     float64 `json:"seconds"`
	FirstByte   float64 `json:"first_byte_seconds"`
	Bytes       int64   `json:"bytes"`  // all bytes read, ranges included
	Have        int64   `json:"have"`   // of the whole body
	Length      int64   `json:"length"` // -1 if it was not said
	Status      int     `json:"status,omitempty"`
	CacheStatus string  `json:"cache_status,omitempty"`
	SHA256      string  `json:"sha256,omitempty"`
	Ranges      int     `json:"ranges,omitempty"`
	Resumed     int     `json:"resumed,omitempty"`
	Error       string  `json:"error,omitempty"`
}

// trouble is an error with the outcome it stands for.
type trouble struct {
	Outcome
	err error
}

func (t *trouble) Error() string { return t.err.Error() }
func (t *trouble) Unwrap() error { return t.err }

func wrongf(format string, a ...any) error { return &trouble{Wrong, fmt.Errorf(format, a...)} }

type device struct {
	cfg     Config
	client  *http.Client
	rng     *rand.Rand
	size    int64 // for ranges
	leaveAt float64
	rate    int64 // bytes a second, 0 for as fast as it goes
	parts   []*part
	sum     hash.Hash
	digest  string // what Repr-Digest promised, in hex
	etag    string
	lastMod string
	started time.Time

	mu  sync.Mutex
	rep Device
}

func (d *device) report() Device {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.rep.Outcome == Reading {
		d.rep.Seconds = time.Since(d.started).Seconds()
	}
	return d.rep
}

func (d *device) note(f func(*Device)) {
	d.mu.Lock()
	f(&d.rep)
	d.mu.Unlock()
}

// run takes the device through its lesson and notes how it went.
func (d *device) run(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, d.cfg.Timeout)
	defer cancel()
	d.started = time.Now()
	d.note(func(r *Device) { r.Outcome = Reading })
	err := d.lesson(ctx)
	d.note(func(r *Device) {
		r.Seconds = time.Since(d.started).Seconds()
		t := (*trouble)(nil)
		switch {
		case err == nil:
			r.Outcome = OK
		case errors.As(err, &t):
			r.Outcome, r.Error = t.Outcome, t.Error()
		default:
			r.Outcome, r.Error = Failed, err.Error()
		}
		if r.Outcome == Left {
			r.Error = ""
		}
	})
}

func (d *device) lesson(ctx context.Context) error {
	for _, p := range d.plan() {
		done, err := d.readPart(ctx, p)
		if err != nil || done {
			return err
		}
	}
	return d.readWhole(ctx)
}

func (d *device) get(ctx context.Context, fields ...string) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, d.cfg.URL, nil)
	if err != nil {
		return nil, err
	}
	req.Header.Set("User-Agent", "preau-class")
	for i := 0; i+1 < len(fields); i += 2 {
		req.Header.Set(fields[i], fields[i+1])
	}
	res, err := d.client.Do(req)
	if err != nil {
		return nil, err
	}
	d.note(func(r *Device) {
		r.Status = res.StatusCode
		r.CacheStatus = strings.Join(res.Header.Values("Cache-Status"), ", ")
	})
	return res, nil
}

// readWhole downloads the body, leaving in the middle and coming back as the config says.
func (d *device) readWhole(ctx context.Context) error {
	const tries = 20
	res, err := d.get(ctx)
	if err == nil {
		if res.StatusCode != http.StatusOK {
			res.Body.Close()
			return fmt.Errorf("status %s", res.Status)
		}
		err = d.take(ctx, res)
	}
	for try := 0; err != nil && d.cfg.Resume && try < tries; try++ {
		if t := (*trouble)(nil); errors.As(err, &t) && t.Outcome == Wrong {
			return err
		}
		d.leaveAt = 0 // once is enough
		if wait(ctx, time.Duration(min(try, 4))*500*time.Millisecond) != nil {
			return err
		}
		err = d.resume(ctx)
	}
	return err
}

// resume goes on from what the device has, if it is still the same version.
func (d *device) resume(ctx context.Context) error {
	have := d.report().Have
	if have == 0 {
		res, err := d.get(ctx)
		if err != nil {
			return err
		}
		if res.StatusCode != http.StatusOK {
			res.Body.Close()
			return fmt.Errorf("status %s", res.Status)
		}
		return d.take(ctx, res)
	}
	fields := []string{"Range", fmt.Sprintf("bytes=%d-", have)}
	// If-Range takes a strong validator only (RFC 9110 §13.1.5).
	if d.etag != "" && !strings.HasPrefix(d.etag, "W/") {
		fields = append(fields, "If-Range", d.etag)
	} else if d.lastMod != "" {
		fields = append(fields, "If-Range", d.lastMod)
	}
	res, err := d.get(ctx, fields...)
	if err != nil {
		return err
	}
	d.note(func(r *Device) { r.Resumed++ })
	if res.StatusCode == http.StatusOK { // another version, or no ranges: from the start
		return d.take(ctx, res)
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusPartialContent {
		return fmt.Errorf("resuming: status %s", res.Status)
	}
	if err := checkContentRange(res.Header, have, -1, d.report().Length); err != nil {
		return err
	}
	return d.follow(ctx, res)
}

// take reads a 200's body from its start.
func (d *device) take(ctx context.Context, res *http.Response) error {
	defer res.Body.Close()
	d.sum = sha256.New()
	for _, p := range d.parts {
		p.whole.Reset()
	}
	d.etag, d.lastMod = res.Header.Get("Etag"), res.Header.Get("Last-Modified")
	d.digest = reprDigest(res.Header)
	d.note(func(r *Device) { r.Have, r.Length = 0, res.ContentLength })
	return d.follow(ctx, res)
}

// follow reads on from where the device is to the body's end, and judges the whole.
func (d *device) follow(ctx context.Context, res *http.Response) error {
	at, length := d.report().Have, d.report().Length
	leave := int64(-1)
	if d.leaveAt > 0 && length > 1 {
		leave = max(1, int64(d.leaveAt*float64(length)))
	}
	_, err := d.copy(ctx, res.Body, func(b []byte) bool {
		d.sum.Write(b)
		for _, p := range d.parts {
			if from, to := max(p.from, at), min(p.to, at+int64(len(b))); from < to {
				p.whole.Write(b[from-at : to-at])
			}
		}
		at += int64(len(b))
		d.note(func(r *Device) { r.Have = at })
		return leave < 0 || at < leave
	})
	if errors.Is(err, errLeft) {
		return &trouble{Left, err}
	}
	if err != nil {
		return broken(err)
	}
	if length >= 0 && at != length {
		return &trouble{Truncated, fmt.Errorf("%d of %d bytes", at, length)}
	}
	return d.judge()
}

func (d *device) judge() error {
	got := hex.EncodeToString(d.sum.Sum(nil))
	d.note(func(r *Device) {
		r.SHA256 = got
		if r.Length < 0 {
			r.Length = r.Have
		}
	})
	if d.cfg.Expect != "" && got != d.cfg.Expect {
		return wrongf("the body's SHA-256 is %s, not the one expected", got)
	}
	if d.digest != "" && got != d.digest {
		return wrongf("the body's SHA-256 is %s, not the one in its Repr-Digest", got)
	}
	for _, p := range d.parts {
		if [sha256.Size]byte(p.whole.Sum(nil)) != p.got {
			return wrongf("bytes %d-%d read as a range differ from the whole body's", p.from, p.to-1)
		}
	}
	return nil
}

var errLeft = errors.New("left in the middle")

// copy reads src to its end, or until use says to leave.
func (d *device) copy(ctx context.Context, src io.Reader, use func([]byte) bool) (n int64, err error) {
	buf := make([]byte, 64<<10)
	if d.rate > 0 {
		buf = buf[:min(int64(len(buf)), max(d.rate/10, 1))]
	}
	begun := time.Now()
	for {
		m, err := src.Read(buf)
		if m > 0 {
			n += int64(m)
			d.note(func(r *Device) {
				if r.Bytes == 0 {
					r.FirstByte = time.Since(d.started).Seconds()
				}
				r.Bytes += int64(m)
			})
			if !use(buf[:m]) {
				return n, errLeft
			}
			if d.rate > 0 {
				due := begun.Add(time.Duration(float64(n) / float64(d.rate) * float64(time.Second)))
				if err := wait(ctx, time.Until(due)); err != nil {
					return n, err
				}
			}
		}
		if errors.Is(err, io.EOF) {
			return n, nil
		}
		if err != nil {
			return n, err
		}
	}
}

// broken tells a body that broke off from a device that ran out of time.
func broken(err error) error {
	if errors.Is(err, context.DeadlineExceeded) || errors.Is(err, context.Canceled) {
		return &trouble{Failed, err}
	}
	return &trouble{Truncated, err}
}

// reprDigest is the SHA-256 that Repr-Digest (RFC 9530 §3) promises, in hex,
// or nothing if there is none.
func reprDigest(h http.Header) string {
	for _, field := range h.Values("Repr-Digest") {
		for item := range strings.SplitSeq(field, ",") {
			v, ok := strings.CutPrefix(strings.TrimSpace(item), "sha-256=:")
			if !ok {
				continue
			}
			v, _, _ = strings.Cut(v, ":")
			if b, err := base64.StdEncoding.DecodeString(v); err == nil && len(b) == sha256.Size {
				return hex.EncodeToString(b)
			}
		}
	}
	return ""
}

func wait(ctx context.Context, d time.Duration) error {
	if d <= 0 {
		return ctx.Err()
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
