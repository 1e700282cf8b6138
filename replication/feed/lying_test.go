package feed

import (
	"bytes"
	"crypto/tls"
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/klauspost/compress/zstd"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"preau/replication/catalogue"
	"preau/replication/identity"
)

// tape is a server that says what it was told to, whatever it is asked.
type tape func(r *http.Request) io.Reader

func (f tape) RoundTrip(r *http.Request) (*http.Response, error) {
	if r.Method == http.MethodPost {
		return &http.Response{StatusCode: http.StatusNoContent, Body: io.NopCloser(strings.NewReader(""))}, nil
	}
	body := f(r)
	return &http.Response{
		StatusCode: http.StatusOK, Header: http.Header{"Content-Type": {ContentType}}, Body: ending{body, r},
	}, nil
}

// ending is a body that stays open until the request is given up.
type ending struct {
	io.Reader
	r *http.Request
}

func (e ending) Read(p []byte) (int, error) {
	if n, err := e.Reader.Read(p); n > 0 || err != io.EOF {
		return n, err
	}
	<-e.r.Context().Done()
	return 0, e.r.Context().Err()
}

func (e ending) Close() error { return nil }

func frame(tb testing.TB, kind byte, header any, body []byte) []byte {
	tb.Helper()
	b, err := appendFrame(nil, kind, header, len(body))
	if err != nil {
		tb.Fatal(err)
	}
	return append(b, body...)
}

func packed(tb testing.TB, records ...catalogue.Record) []byte {
	tb.Helper()
	enc, err := newEncoder()
	if err != nil {
		tb.Fatal(err)
	}
	var b []byte
	for i := range records {
		b = appendRecord(b, &records[i], records[i].Deleted)
	}
	return enc.EncodeAll(b, nil)
}

func resource(id string, index uint64) catalogue.Record {
	return catalogue.Record{Kind: catalogue.KindResource, ID: id, Index: index, At: time.Unix(5, 0), Body: []byte("x")}
}

func TestLiesAreRefusedAndAnotherServerTaken(t *testing.T) {
	ca, other := newAuthority(t), newAuthority(t)
	server := identity.Identity{Region: here, Role: identity.Server, Name: "alpha"}
	right := ca.issue(t, server)
	snapshot := func(cert *tls.Certificate) Hello {
		return Hello{Region: here, Epoch: 1, Mode: ModeSnapshot, Again: true, Until: 9, Now: 9, Server: "alpha", Chain: cert.Certificate}
	}
	payload := packed(t, resource("evil", 3))
	batch := func(cert *tls.Certificate, change func(h *batchHeader)) []byte {
		h := batchHeader{Upto: 5, Count: 1, At: 9}
		if err := sign(cert, here, 1, &h, payload); err != nil {
			t.Fatal(err)
		}
		if change != nil {
			change(&h)
		}
		return frame(t, frameBatch, h, payload)
	}
	bomb := func() []byte {
		enc, err := zstd.NewWriter(nil, zstd.WithEncoderLevel(zstd.SpeedDefault))
		if err != nil {
			t.Fatal(err)
		}
		defer enc.Close()
		return bytes.Repeat(enc.EncodeAll(make([]byte, 8<<20), nil), 128)
	}
	resign := func(cert *tls.Certificate, h batchHeader, body []byte) []byte {
		if err := sign(cert, here, 1, &h, body); err != nil {
			t.Fatal(err)
		}
		return frame(t, frameBatch, h, body)
	}
	cat := func(parts ...[]byte) []byte { return bytes.Join(parts, nil) }
	hello := frame(t, frameHello, snapshot(right), nil)

	whole := batch(right, nil)
	tests := map[string]struct {
		say  []byte
		want string // of box_streams_total
	}{
		"nothing":            {nil, "failed"},
		"not the feed":       {[]byte("<html>school filter: please log in</html>"), "refused"},
		"another version":    {append([]byte{frameHello, 9}, hello[2:]...), "refused"},
		"no hello":           {batch(right, nil), "refused"},
		"truncated hello":    {hello[:len(hello)-5], "failed"},
		"two hellos":         {cat(hello, hello), "refused"},
		"foreign region":     {frame(t, frameHello, Hello{Region: abroad, Mode: ModeChanges, Server: "alpha"}, nil), "refused"},
		"another server":     {frame(t, frameHello, Hello{Region: here, Mode: ModeChanges, Server: "beta"}, nil), "refused"},
		"changes to nobody":  {frame(t, frameHello, Hello{Region: here, Epoch: 1, Mode: ModeChanges, Server: "alpha"}, nil), "refused"},
		"unknown mode":       {frame(t, frameHello, Hello{Region: here, Mode: 7, Server: "alpha"}, nil), "refused"},
		"nobody signs":       {frame(t, frameHello, Hello{Region: here, Mode: ModeSnapshot, Again: true, Until: 9, Server: "alpha"}, nil), "refused"},
		"another authority":  {frame(t, frameHello, snapshot(other.issue(t, server)), nil), "refused"},
		"a box signs":        {frame(t, frameHello, snapshot(ca.issue(t, boxOf("a", lyon))), nil), "refused"},
		"truncated batch":    {cat(hello, batch(right, nil)[:40]), "failed"},
		"unsigned batch":     {cat(hello, batch(right, func(h *batchHeader) { h.Sig = nil })), "refused"},
		"forged batch":       {cat(hello, batch(other.issue(t, server), nil)), "refused"},
		"renamed batch":      {cat(hello, batch(right, func(h *batchHeader) { h.Upto = 6 })), "refused"},
		"payload swapped":    {cat(hello, whole[:len(whole)-len(payload)], packed(t, resource("evim", 3))), "refused"},
		"old batch":          {cat(hello, resign(right, batchHeader{Upto: 5, Count: 1, At: 8}, payload)), "refused"},
		"another school's":   {cat(hello, resign(right, batchHeader{Upto: 5, Count: 1, At: 9, View: brest}, payload)), "refused"},
		"out of order":       {cat(hello, resign(right, batchHeader{After: 1, Upto: 5, Count: 1, At: 9}, payload)), "refused"},
		"a part missing":     {cat(hello, resign(right, batchHeader{Upto: 5, Part: 1, Count: 1, At: 9}, payload)), "refused"},
		"beyond the end":     {cat(hello, resign(right, batchHeader{Upto: 10, Count: 1, At: 10}, payload)), "refused"},
		"index out of range": {cat(hello, resign(right, batchHeader{Upto: 2, Count: 1, At: 9}, payload)), "refused"},
		"too few records":    {cat(hello, resign(right, batchHeader{Upto: 5, Count: 2, At: 9}, payload)), "refused"},
		"private record": {cat(hello, resign(right, batchHeader{Upto: 5, Count: 1, At: 9},
			packed(t, catalogue.Record{Kind: catalogue.KindToken, ID: "t", Index: 3}))), "refused"},
		"not compressed":              {cat(hello, resign(right, batchHeader{Upto: 5, Count: 1, At: 9}, []byte("hello there"))), "refused"},
		"a billion bytes, compressed": {cat(hello, resign(right, batchHeader{Upto: 5, Count: 1, At: 9}, bomb())), "refused"},
		"a frame of a billion bytes":  {cat(hello, []byte{frameBatch, Version, 0, 1, 0x40, 0, 0, 0}), "refused"},
		"no such goodbye":             {frame(t, frameGoodbye, goodbyeHeader{"because"}, nil), "refused"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				v := &village{t: t, ca: ca, l: newLedger()}
				for range 9 {
					v.l.put(catalogue.KindResource, "good", "1", false)
				}
				v.h = startHost(t, "beta", v.l, ca, nil)
				t.Cleanup(v.h.end)

				d := newDisk(t)
				asked := 0
				r := &region{ca: ca, box: boxOf("a", lyon), hosts: map[identity.Name]*pipes{"alpha": newPipes()}}
				r.wrap = func(http.RoundTripper) http.RoundTripper {
					return tape(func(*http.Request) io.Reader {
						asked++
						if tt.want == "failed" {
							return io.MultiReader(bytes.NewReader(tt.say), failing{})
						}
						return bytes.NewReader(tt.say)
					})
				}
				b := runBox(t, d, r, nil)
				t.Cleanup(b.end)
				time.Sleep(5 * time.Minute)
				synctest.Wait()
				if got := testutil.ToFloat64(b.follower.met.streams.WithLabelValues(tt.want)); got < 2 || int(got) != asked {
					t.Errorf("%s = %v of %d times, want all, at least 2", tt.want, got, asked)
				}
				if got := holds(t, b.copy); len(got) != 0 {
					t.Errorf("the copy has %v", got)
				}

				// Beside a good one, the bad server costs nothing but time.
				b.end()
				wrap := r.wrap
				r.mu.Lock()
				r.hosts["beta"] = v.h.pipes
				r.wrap = func(rt http.RoundTripper) http.RoundTripper { return either{wrap(rt), rt} }
				r.mu.Unlock()
				b = runBox(t, d, r, nil)
				t.Cleanup(b.end)
				time.Sleep(time.Minute)
				v.same(b)
			})
		})
	}
}

type failing struct{}

func (failing) Read([]byte) (int, error) { return 0, io.ErrUnexpectedEOF }

// either lies for alpha only.
type either struct{ lie, truth http.RoundTripper }

func (e either) RoundTrip(r *http.Request) (*http.Response, error) {
	if r.URL.Host == "alpha" {
		return e.lie.RoundTrip(r)
	}
	return e.truth.RoundTrip(r)
}

func TestABatchAgainIsRefusedAndChangesNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, err := OpenCopy(newDisk(t))
		if err != nil {
			t.Fatal(err)
		}
		if err := c.Begin(Hello{Region: here, Epoch: 3, Mode: ModeSnapshot, Again: true, Until: 4}); err != nil {
			t.Fatal(err)
		}
		s := &Stream{}
		defer func() {
			if s.dec != nil {
				s.dec.Close()
			}
		}()
		apply := func(h batchHeader, records ...catalogue.Record) error {
			h.Count = uint32(len(records))
			return c.Apply(&Batch{
				After: h.After, Upto: h.Upto, Part: h.Part, More: h.More, Count: len(records),
				header: h, payload: packed(t, records...), expand: s.expand,
			})
		}
		if err := apply(batchHeader{Upto: 4}, resource("a", 4)); err != nil {
			t.Fatal(err)
		}
		if err := apply(batchHeader{Upto: 4}, resource("b", 4)); !errors.Is(err, ErrOrder) {
			t.Errorf("a batch again: %v, want ErrOrder", err)
		}
		if err := apply(batchHeader{After: 4, Upto: 9, More: true}, resource("c", 8)); err != nil {
			t.Fatal(err)
		}
		if err := apply(batchHeader{After: 4, Upto: 10, Part: 1}, resource("d", 10)); !errors.Is(err, ErrOrder) {
			t.Errorf("a part of another batch: %v, want ErrOrder", err)
		}
		if err := c.Begin(Hello{Region: here, Epoch: 2, Mode: ModeChanges, After: 4}); !errors.Is(err, ErrBehind) {
			t.Errorf("a server of the epoch before: %v, want ErrBehind", err)
		}
		if cur, _ := c.Cursor(); cur.Index != 4 || len(holds(t, c)) != 2 {
			t.Errorf("the copy is at %d and has %v", cur.Index, holds(t, c))
		}
	})
}

func FuzzStream(f *testing.F) {
	f.Add([]byte{})
	f.Add(frame(f, frameHello, Hello{Region: here, Mode: ModeChanges, Server: "alpha"}, nil))
	p := packed(f, resource("a", 3), catalogue.Record{Kind: catalogue.KindPin, ID: "b", Index: 4, Deleted: true})
	f.Add(append(frame(f, frameHello, Hello{Region: here, Mode: ModeSnapshot, Until: 9, Server: "alpha", Chain: [][]byte{{1}}}, nil),
		frame(f, frameBatch, batchHeader{Upto: 5, Count: 2, Sig: []byte{1}}, p)...))
	f.Add(frame(f, frameGoodbye, goodbyeHeader{ReasonDraining}, nil))
	f.Fuzz(func(t *testing.T, b []byte) {
		s := &Stream{body: io.NopCloser(bytes.NewReader(nil)), in: frameReader{r: bytes.NewReader(b)}}
		defer s.Close()
		res := &http.Response{StatusCode: 200, Header: http.Header{"Content-Type": {ContentType}}}
		if s.begin(res) != nil {
			return
		}
		for {
			batch, err := s.Next()
			if err != nil {
				return
			}
			records, err := batch.Records()
			if err == nil && len(records) != batch.Count {
				t.Errorf("%d records of %d", len(records), batch.Count)
			}
			if cap(s.buf) > 2*MaxExpanded+1<<20 || cap(s.in.buf) > MaxPayload+maxHeader+512 {
				t.Errorf("buffers of %d and %d bytes", cap(s.buf), cap(s.in.buf))
			}
		}
	})
}

func FuzzRequest(f *testing.F) {
	f.Add("region=0123456789abcdef&epoch=1&after=2&until=3&version=1.0")
	f.Fuzz(func(t *testing.T, q string) {
		r, err := parseRequest(q)
		if err != nil {
			return
		}
		if again, err := parseRequest(r.query()); err != nil && len(r.query()) <= 512 || err == nil && again != r {
			t.Errorf("%q becomes %q: %+v, %v", q, r.query(), again, err)
		}
	})
}
