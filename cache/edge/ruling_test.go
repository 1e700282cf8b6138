package edge

import (
	"bytes"
	"compress/gzip"
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"
	"testing/iotest"
)

// TestALookAtABodyTakesNothingFromIt reads beginnings of all lengths.
func TestALookAtABodyTakesNothingFromIt(t *testing.T) {
	const text = "what is in the body"
	broken := errors.New("cut")
	for n := range len(text) + 3 {
		for name, body := range map[string]func() io.Reader{
			"at once":   func() io.Reader { return strings.NewReader(text) },
			"bytewise":  func() io.Reader { return iotest.OneByteReader(strings.NewReader(text)) },
			"early end": func() io.Reader { return iotest.DataErrReader(strings.NewReader(text)) },
			"cut": func() io.Reader {
				return io.MultiReader(strings.NewReader(text), iotest.ErrReader(broken))
			},
		} {
			resp := &http.Response{Header: http.Header{}, Body: io.NopCloser(body())}
			if got := string(beginning(resp, n)); got != text[:min(n, len(text))] {
				t.Errorf("%s: the first %d bytes are %q", name, n, got)
			}
			all, err := io.ReadAll(resp.Body)
			if string(all) != text || (name == "cut") != errors.Is(err, broken) {
				t.Errorf("%s: after %d bytes the body is %q, %v", name, n, all, err)
			}
		}
	}
}

func TestABodyIsLookedAtAsItWasMeant(t *testing.T) {
	var packed bytes.Buffer
	z := gzip.NewWriter(&packed)
	_, _ = io.WriteString(z, "an exception that is told of in a compressed page")
	_ = z.Close()
	whole := packed.Bytes()
	resp := &http.Response{Header: http.Header{"Content-Encoding": {"gzip"}}, Body: io.NopCloser(bytes.NewReader(whole))}
	if got := beginning(resp, 1000); !bytes.Contains(got, []byte("exception")) {
		t.Errorf("seen: %q", got)
	}
	if all, err := io.ReadAll(resp.Body); err != nil || !bytes.Equal(all, whole) {
		t.Errorf("%d bytes, %v", len(all), err)
	}
}

func TestARequestForEverybodySaysNothingOfWhoAsks(t *testing.T) {
	h := http.Header{}
	for _, name := range []string{
		"Cookie", "Cookie2", "Authorization", "Proxy-Authorization", "Referer", "X-Csrf-Token", "Requesttoken", "X-Peertube-Video-Password",
		"User-Agent", "Sec-Ch-Ua", "Dnt", "X-Forwarded-For", "From", "Device-Memory", "X-Anything",
	} {
		h.Set(name, "ann")
	}
	h.Set("Range", "bytes=0-1")
	h.Set("Accept-Encoding", "gzip")
	got := anonymous(h)
	for name, v := range got {
		if strings.Contains(strings.Join(v, ""), "ann") {
			t.Errorf("%s is sent on", name)
		}
	}
	if got.Get("Range") == "" || got.Get("Accept-Encoding") == "" || len(got) != 3 {
		t.Errorf("%v", got)
	}
}

func TestADeviceCannotExtendALease(t *testing.T) {
	for in, want := range map[string]string{
		"max-stale":                  "",
		"Max-Stale=999999, no-cache": "no-cache",
		"stale-if-error=9, only-if-cached , max-stale=": "only-if-cached",
		"max-age=0": "max-age=0",
	} {
		h := http.Header{"Cache-Control": {in}}
		if withinLease(h); h.Get("Cache-Control") != want {
			t.Errorf("%q becomes %q, want %q", in, h.Get("Cache-Control"), want)
		}
	}
}
