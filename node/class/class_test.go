package class_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"preau/node/class"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var body = func() []byte {
	b := make([]byte, 3<<20+17)
	for i := range b {
		b[i] = byte(i*7 + i>>8*13 + i>>16)
	}
	return b
}()

func sum(b []byte) string {
	s := sha256.Sum256(b)
	return hex.EncodeToString(s[:])
}

func good(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Etag", `"v1"`)
	http.ServeContent(w, r, "film.bin", time.Time{}, bytes.NewReader(body))
}

func serve(t *testing.T, h http.HandlerFunc) string {
	t.Helper()
	srv := httptest.NewServer(h)
	t.Cleanup(srv.Close)
	return srv.URL + "/film.bin"
}

func run(t *testing.T, cfg class.Config) (class.Report, string, error) {
	t.Helper()
	var out strings.Builder
	if cfg.Over == 0 {
		cfg.Over = -1
	}
	rep, err := class.Run(t.Context(), cfg, &out)
	return rep, out.String(), err
}

func TestAClassDownloads(t *testing.T) {
	devices := 7
	if testing.Short() {
		devices = 3
	}
	for name, cfg := range map[string]class.Config{
		"whole":            {},
		"expected":         {Expect: sum(body)},
		"random range":     {Range: class.RangeRandom},
		"seeking":          {Range: class.RangeSeek},
		"spread over time": {Over: 20 * time.Millisecond},
		"slow":             {Slow: 2, SlowRate: 40 << 20},
		"size given":       {Range: class.RangeRandom, Size: int64(len(body))},
	} {
		t.Run(name, func(t *testing.T) {
			cfg.URL, cfg.Devices = serve(t, good), devices
			rep, out, err := run(t, cfg)
			if err != nil {
				t.Fatalf("%v\n%s", err, out)
			}
			if rep.OKCount != devices || rep.Size != int64(len(body)) || rep.SHA256 != sum(body) {
				t.Errorf("ok %d, size %d, sha256 %s", rep.OKCount, rep.Size, rep.SHA256)
			}
			if rep.LANBytes < int64(devices*len(body)) {
				t.Errorf("LAN bytes = %d, fewer than %d bodies", rep.LANBytes, devices)
			}
			want := map[string]int{class.RangeRandom: 1, class.RangeSeek: 3}[cfg.Range]
			for _, d := range rep.Devices {
				if d.Ranges != want || d.Outcome != class.OK || d.FirstByte <= 0 || d.Status == 0 {
					t.Errorf("device %+v, want %d ranges", d, want)
				}
			}
			if !strings.Contains(out, fmt.Sprintf("%d right, 0 truncated, 0 wrong, 0 errors", devices)) {
				t.Errorf("table:\n%s", out)
			}
		})
	}
}

// nth calls bad for one request in the class and good for the others.
func nth(n int64, bad http.HandlerFunc) http.HandlerFunc {
	var count atomic.Int64
	return func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodGet && count.Add(1) == n {
			bad(w, r)
			return
		}
		good(w, r)
	}
}

func breakOff(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Etag", `"v1"`)
	w.Header().Set("Content-Length", fmt.Sprint(len(body)))
	w.Write(body[:1<<20])
	w.(http.Flusher).Flush()
	panic(http.ErrAbortHandler)
}

func TestEveryKindOfTroubleIsSeen(t *testing.T) {
	flipped := bytes.Clone(body)
	flipped[2<<20] ^= 1
	tests := map[string]struct {
		cfg  class.Config
		h    http.HandlerFunc
		want class.Outcome
		err  error
	}{
		"a flipped bit in one body": {class.Config{}, nth(3, func(w http.ResponseWriter, _ *http.Request) { w.Write(flipped) }), class.Wrong, class.ErrWrong},
		"a shorter body that says so": {class.Config{}, nth(3, func(w http.ResponseWriter, _ *http.Request) {
			w.Write(body[:100])
		}), class.Wrong, class.ErrWrong},
		"a body that breaks off": {class.Config{}, nth(3, breakOff), class.Truncated, class.ErrIncomplete},
		"a chunked body that breaks off": {class.Config{}, nth(3, func(w http.ResponseWriter, _ *http.Request) {
			w.Write(body[:1<<20])
			w.(http.Flusher).Flush()
			panic(http.ErrAbortHandler)
		}), class.Truncated, class.ErrIncomplete},
		"a 503": {class.Config{}, nth(2, func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(503) }), class.Failed, class.ErrIncomplete},
		"a digest that is not the body's": {class.Config{}, nth(2, func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Repr-Digest", "sha-512=:AAAA:, sha-256=:"+base64.StdEncoding.EncodeToString(make([]byte, 32))+":")
			good(w, r)
		}), class.Wrong, class.ErrWrong},
		"a range with other bytes": {class.Config{Range: class.RangeRandom}, func(w http.ResponseWriter, r *http.Request) {
			if r.Header.Get("Range") != "" {
				var a, b int64
				_, _ = fmt.Sscanf(r.Header.Get("Range"), "bytes=%d-%d", &a, &b)
				w.Header().Set("Content-Range", fmt.Sprintf("bytes %d-%d/%d", a, b, len(body)))
				w.WriteHeader(206)
				w.Write(make([]byte, b-a+1))
				return
			}
			good(w, r)
		}, class.Wrong, class.ErrWrong},
		"another range than asked": {class.Config{Range: class.RangeSeek}, func(w http.ResponseWriter, r *http.Request) {
			if r.Header.Get("Range") != "" {
				r.Header.Set("Range", "bytes=5-9")
			}
			good(w, r)
		}, class.Wrong, class.ErrWrong},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			tt.cfg.URL, tt.cfg.Devices = serve(t, tt.h), 5
			rep, out, err := run(t, tt.cfg)
			if !errors.Is(err, tt.err) {
				t.Errorf("err = %v, want %v\n%s", err, tt.err, out)
			}
			n := 0
			for _, d := range rep.Devices {
				if d.Outcome == tt.want {
					n++
					if d.Error == "" {
						t.Errorf("device %d is %s and says nothing", d.N, d.Outcome)
					}
				}
			}
			if n == 0 {
				t.Errorf("no device is %s:\n%s", tt.want, out)
			}
		})
	}
}

func TestAnUnexpectedBodyIsWrongForAll(t *testing.T) {
	rep, _, err := run(t, class.Config{URL: serve(t, good), Devices: 3, Expect: sum([]byte("else"))})
	if !errors.Is(err, class.ErrWrong) || rep.WrongCount != 3 {
		t.Errorf("%d wrong, %v; want all 3", rep.WrongCount, err)
	}
}

func TestARightDigestIsAccepted(t *testing.T) {
	s := sha256.Sum256(body)
	_, out, err := run(t, class.Config{Devices: 2, URL: serve(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Repr-Digest", "sha-256=:"+base64.StdEncoding.EncodeToString(s[:])+":")
		good(w, r)
	})})
	if err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}

func TestThoseWhoLeaveComeBackForTheRest(t *testing.T) {
	var mu sync.Mutex
	var ranges []string
	url := serve(t, func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		if v := r.Header.Get("Range"); v != "" {
			ranges = append(ranges, v+" "+r.Header.Get("If-Range"))
		}
		mu.Unlock()
		good(w, r)
	})
	rep, out, err := run(t, class.Config{URL: url, Devices: 4, Abort: 2})
	if err != nil || rep.LeftCount != 2 || rep.OKCount != 2 || len(ranges) != 0 {
		t.Errorf("without resuming: %v, %v\n%s", err, ranges, out)
	}
	rep, out, err = run(t, class.Config{URL: url, Devices: 4, Abort: 2, Resume: true})
	if err != nil || rep.OKCount != 4 || len(ranges) != 2 {
		t.Errorf("with resuming: %v, %v\n%s", err, ranges, out)
	}
	for _, r := range ranges {
		if !strings.HasSuffix(r, `- "v1"`) || strings.HasPrefix(r, "bytes=0-") {
			t.Errorf("came back with %q, want the rest and If-Range", r)
		}
	}
	if rep.LANBytes != 4*int64(len(body)) {
		t.Errorf("LAN bytes = %d, want each byte once for each device", rep.LANBytes)
	}
}

func TestACutBodyIsResumedAndChecked(t *testing.T) {
	rep, out, err := run(t, class.Config{URL: serve(t, nth(1, breakOff)), Devices: 3, Resume: true, Range: ""})
	if err != nil || rep.OKCount != 3 {
		t.Errorf("%v\n%s", err, out)
	}
	// A server that mixes versions on resume is found out.
	other := bytes.Clone(body)
	other[len(other)-1] ^= 1
	first := nth(1, breakOff)
	rep, out, err = run(t, class.Config{Devices: 3, Resume: true, URL: serve(t, func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Range") != "" {
			w.Header().Set("Etag", `"v1"`)
			http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(other))
			return
		}
		first(w, r)
	})})
	if !errors.Is(err, class.ErrWrong) || rep.WrongCount != 1 {
		t.Errorf("mixed versions: %v\n%s", err, out)
	}
}

func TestTheLineIsCounted(t *testing.T) {
	var line atomic.Int64
	metrics := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/metrics" {
			http.NotFound(w, r)
			return
		}
		fmt.Fprintf(w, "# TYPE preau_upstream_received_bytes_total counter\n")
		fmt.Fprintf(w, "preau_upstream_received_bytes_total{site=\"a\"} %d\n", line.Load()/2)
		fmt.Fprintf(w, "preau_upstream_received_bytes_total{site=\"b }\"} %d\n", line.Load()-line.Load()/2)
		fmt.Fprintf(w, "preau_upstream_received_bytes_total_created 12\n")
	}))
	defer metrics.Close()
	line.Store(1000)
	url := serve(t, func(w http.ResponseWriter, r *http.Request) {
		line.Add(int64(len(body)) / 2)
		good(w, r)
	})
	for name, cfg := range map[string]class.Config{
		"metrics": {Metrics: metrics.URL},
		"hook":    {WANBytes: line.Load},
	} {
		t.Run(name, func(t *testing.T) {
			cfg.URL, cfg.Devices = url, 2
			rep, out, err := run(t, cfg)
			if err != nil {
				t.Fatal(err)
			}
			if rep.WANBytes == nil || *rep.WANBytes != int64(len(body))/2*2 || *rep.Ratio < 0.99 || *rep.Ratio > 1 {
				t.Errorf("WAN bytes %v\n%s", rep.WANBytes, out)
			}
		})
	}
	if _, _, err := run(t, class.Config{URL: url, Devices: 1, Metrics: url}); err == nil || !strings.Contains(err.Error(), "preau_upstream") {
		t.Errorf("a page without the metric: %v", err)
	}
}

func TestJSONIsAllThereIsToRead(t *testing.T) {
	_, out, err := run(t, class.Config{URL: serve(t, good), Devices: 2, JSON: true})
	if err != nil {
		t.Fatal(err)
	}
	var rep class.Report
	if err := json.Unmarshal([]byte(out), &rep); err != nil || rep.OKCount != 2 || len(rep.Devices) != 2 {
		t.Errorf("%v: %s", err, out)
	}
}

func TestConnectGoesElsewhere(t *testing.T) {
	var host atomic.Value
	url := serve(t, func(w http.ResponseWriter, r *http.Request) { host.Store(r.Host); good(w, r) })
	addr := strings.TrimSuffix(strings.TrimPrefix(url, "http://"), "/film.bin")
	_, _, err := run(t, class.Config{URL: "http://school.example/film.bin", Connect: addr, Devices: 1})
	if err != nil || host.Load() != "school.example" {
		t.Errorf("%v, host %v", err, host.Load())
	}
}

func TestEachDeviceHasItsOwnConnection(t *testing.T) {
	var mu sync.Mutex
	from := map[string]bool{}
	_, _, err := run(t, class.Config{Devices: 6, URL: serve(t, func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		from[r.RemoteAddr] = true
		mu.Unlock()
		good(w, r)
	})})
	if err != nil || len(from) != 6 {
		t.Errorf("%d connections, %v; want 6", len(from), err)
	}
}

func TestATimeoutEndsADevice(t *testing.T) {
	stuck := make(chan struct{})
	url := serve(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Length", "10")
		w.Write([]byte("12345"))
		w.(http.Flusher).Flush()
		select {
		case <-stuck:
		case <-r.Context().Done():
		}
	})
	defer close(stuck)
	rep, _, err := run(t, class.Config{URL: url, Devices: 2, Timeout: 50 * time.Millisecond})
	if !errors.Is(err, class.ErrIncomplete) || rep.ErrorCount != 2 {
		t.Errorf("%v %+v", err, rep)
	}
	ctx, cancel := context.WithCancel(t.Context())
	rep, err = class.Run(ctx, class.Config{URL: url, Devices: 2, Over: -1, Watch: func(all []class.Device) {
		if all[0].Bytes == 5 {
			cancel()
		}
	}}, nil)
	if !errors.Is(err, context.Canceled) || rep.OKCount != 0 {
		t.Errorf("stopped: %v", err)
	}
}

func TestBadInputIsExplained(t *testing.T) {
	for want, cfg := range map[string]class.Config{
		"which URL":       {Devices: 1},
		"http://":         {URL: "ftp://x/y", Devices: 1},
		"no host":         {URL: "http:///y", Devices: 1},
		"between 1 and":   {URL: "http://x/y"},
		"cannot leave":    {URL: "http://x/y", Devices: 1, Abort: 2},
		"cannot be slow":  {URL: "http://x/y", Devices: 1, Slow: 2},
		"need a rate":     {URL: "http://x/y", Devices: 1, Slow: 1},
		"range mode":      {URL: "http://x/y", Devices: 1, Range: "all"},
		"no SHA-256":      {URL: "http://x/y", Devices: 1, Expect: "abc"},
		"metrics address": {URL: "http://x/y", Devices: 1, Metrics: "localhost"},
	} {
		if _, err := class.Run(t.Context(), cfg, nil); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%+v: %v, want something about %q", cfg, err, want)
		}
	}
	_, err := class.Run(t.Context(), class.Config{Devices: 1, Range: class.RangeRandom, URL: serve(t, func(w http.ResponseWriter, _ *http.Request) {
		w.(http.Flusher).Flush()
	})}, nil)
	if err == nil || !strings.Contains(err.Error(), "size") {
		t.Errorf("ranges of a body without a length: %v", err)
	}
}
