package central

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"preau/cache/block"
	"preau/replication/hold"
)

func aDeposit(p []byte) Deposit {
	return Deposit{
		ID: "d-1", Region: "0123456789abcdef", School: "0690001A", Box: "library", Name: "a.txt", Length: int64(len(p)),
		SHA256: block.Sum(p), At: time.UnixMilli(1e12).UTC(),
	}
}

func FuzzReadDelivery(f *testing.F) {
	p := []byte("a file")
	good, err := appendDelivery(aDeposit(p), p)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(good)
	f.Add(good[:len(good)-1])
	f.Add([]byte{0xff, 0xff, 0xff, 0xff, 1})
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, b []byte) {
		r := bytes.NewReader(b)
		d, err := readDelivery(r, int64(len(b)))
		if err != nil {
			if !errors.Is(err, ErrInvalid) {
				t.Errorf("%v is not ErrInvalid", err)
			}
			return
		}
		if int64(r.Len()) != d.Length || d.Length > MaxDelivered {
			t.Errorf("%d bytes follow, announced are %d", r.Len(), d.Length)
		}
		rest, _ := io.ReadAll(r) // of memory
		if again, err := appendDelivery(d, rest); err != nil || !bytes.Equal(again, b) {
			t.Errorf("it has another form: %v", err)
		}
	})
}

// client asks handler.
func clientOf(t *testing.T, handler http.Handler) *Client {
	t.Helper()
	web := httptest.NewServer(handler)
	t.Cleanup(web.Close)
	rt := &http.Transport{}
	t.Cleanup(rt.CloseIdleConnections)
	c, err := NewClient(web.URL, rt)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// A gateway of an earlier version takes parts, with their digests, and is not
// asked for more each time.
func TestAGatewayThatTakesNoDeliveries(t *testing.T) {
	p := []byte("a file")
	var asked, parts, done atomic.Int32
	mux := http.NewServeMux()
	answer := func(text string) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, text) }
	}
	mux.HandleFunc("POST /central/v1/deposits", answer(`{"kept":false,"part_size":8388608}`))
	mux.HandleFunc("PUT /central/v1/deposits/{id}/parts/{number}", func(w http.ResponseWriter, r *http.Request) {
		if d, ok := contentDigest(r.Header.Get("Content-Digest")); !ok || d != block.Sum(p) {
			t.Error("a part came without its digest")
		}
		parts.Add(1)
		w.WriteHeader(http.StatusNoContent)
	})
	mux.HandleFunc("POST /central/v1/deposits/{id}/completion", func(w http.ResponseWriter, _ *http.Request) {
		done.Add(1)
		_, _ = io.WriteString(w, `{"kept":true}`)
	})
	c := clientOf(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodPut && strings.Count(r.URL.Path, "/") == 4 {
			asked.Add(1)
		}
		mux.ServeHTTP(w, r)
	}))
	for range 2 {
		state, err := c.Push(t.Context(), aDeposit(p), func(context.Context, int64, int) ([]byte, error) { return p, nil }, nil)
		if err != nil || !state.Kept {
			t.Fatalf("%+v, %v", state, err)
		}
	}
	if asked.Load() != 1 || parts.Load() != 2 || done.Load() != 2 {
		t.Errorf("%d deliveries, %d parts, %d completions; want 1, 2, 2", asked.Load(), parts.Load(), done.Load())
	}
}

// A run of blocks comes in one answer, each checked before it is handed on.
func TestARunOfBlocks(t *testing.T) {
	body := bytes.Repeat([]byte("préau "), 5000)
	var entries []hold.Entry
	for off := 0; off < len(body); off += 7000 {
		p := body[off:min(off+7000, len(body))]
		entries = append(entries, hold.Entry{Digest: block.Sum(p), Length: len(p)})
	}
	wrong := bytes.Clone(body)
	wrong[7000*2] ^= 1
	serve := func(served []byte) *Client {
		return clientOf(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			first, last, ok := rangeOf(r.Header.Get("Range"))
			if !ok || r.URL.Query().Get("key") != "a key?" {
				t.Errorf("range %q, key %q", r.Header.Get("Range"), r.URL.Query().Get("key"))
			}
			w.WriteHeader(http.StatusPartialContent)
			_, _ = w.Write(served[first : last+1])
		}))
	}
	get := func(c *Client, from int) (got []byte, err error) {
		off := int64(7000 * from)
		err = c.Blocks(t.Context(), "lecons", "a key?", block.Sum([]byte("list")), off, entries[from:], func(_ int, p []byte) error {
			got = append(got, p...)
			return nil
		})
		return got, err
	}
	c := serve(body)
	if got, err := get(c, 1); err != nil || !bytes.Equal(got, body[7000:]) {
		t.Errorf("%d bytes, %v", len(got), err)
	}
	if got, err := get(serve(wrong), 0); !errors.Is(err, ErrWrongBytes) || !bytes.Equal(got, body[:7000*2]) {
		t.Errorf("%d bytes before the wrong block, %v", len(got), err)
	}
	stop := errors.New("stop")
	if err := c.Blocks(t.Context(), "lecons", "a key?", block.Sum([]byte("list")), 0, entries[:1], func(int, []byte) error { return stop }); !errors.Is(err, stop) {
		t.Errorf("an error of its own: %v", err)
	}
}

func TestRunsHaveEveryBlock(t *testing.T) {
	var entries []hold.Entry
	for i := range 100 {
		entries = append(entries, hold.Entry{Digest: block.Sum([]byte{byte(i)}), Length: 256<<10 + i*7000})
	}
	off, n := int64(0), 0
	for i, run := range Runs(entries) {
		size := int64(0)
		if run.Off != off || len(run.Blocks) == 0 {
			t.Fatalf("run %d begins at %d, want %d", i, run.Off, off)
		}
		for _, e := range run.Blocks {
			if e != entries[n] {
				t.Fatalf("block %d is another one", n)
			}
			n++
			size += int64(e.Length)
		}
		if size >= RunSize+block.Size {
			t.Errorf("run %d has %d bytes", i, size)
		}
		off += size
	}
	if n != len(entries) || Runs(nil) != nil {
		t.Errorf("%d blocks of %d", n, len(entries))
	}
}
