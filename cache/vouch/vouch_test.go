package vouch_test

import (
	"bytes"
	"errors"
	"io"
	"net/http"
	"testing"
	"testing/iotest"

	"preau/cache/block"
	"preau/cache/vouch"
)

func list(t *testing.T, entries ...vouch.Entry) []byte {
	t.Helper()
	var buf bytes.Buffer
	flushed := 0
	w := vouch.NewWriter(&buf, func() { flushed++ })
	for _, e := range entries {
		var err error
		if e.Len == 0 {
			err = w.GoesOn()
		} else {
			err = w.Block(e.Len, e.Digest)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if n := w.Close(); n != int64(buf.Len()) || flushed != len(entries) {
		t.Errorf("%d bytes written, %d told; %d flushed", buf.Len(), n, flushed)
	}
	if err := w.GoesOn(); err == nil {
		t.Error("a list that has ended was written to")
	}
	return buf.Bytes()
}

func TestWhatIsWrittenIsRead(t *testing.T) {
	want := []vouch.Entry{
		{Len: block.Size, Digest: block.Sum([]byte("a"))},
		{},
		{Len: block.Size, Digest: block.Sum([]byte("b"))},
		{Len: 17, Digest: block.Sum([]byte("c"))},
	}
	r := vouch.NewReader(iotest.OneByteReader(bytes.NewReader(list(t, want...))), 3)
	for i, w := range want {
		if e, err := r.Next(); err != nil || e != w {
			t.Errorf("entry %d: %v, %v", i, e, err)
		}
	}
	for range 2 {
		if _, err := r.Next(); !errors.Is(err, io.EOF) {
			t.Errorf("after the end: %v", err)
		}
	}
}

func TestWhatIsNoListIsRefused(t *testing.T) {
	d := block.Sum(nil)
	whole, short := vouch.Entry{Len: block.Size, Digest: d}, vouch.Entry{Len: 5, Digest: d}
	long := list(t, short)
	long[0] = 1
	tests := map[string]struct {
		b      []byte
		blocks int
		want   error
	}{
		"cut":                {list(t, whole)[:20], 9, io.ErrUnexpectedEOF},
		"too many":           {list(t, whole, whole), 1, vouch.ErrMalformed},
		"behind the last":    {list(t, short, whole), 9, vouch.ErrMalformed},
		"longer than blocks": {long, 9, vouch.ErrMalformed},
		"a name of nothing":  {append(make([]byte, 4), d[:]...), 9, vouch.ErrMalformed},
		"no name":            {append([]byte{0, 0, 0, 5}, make([]byte, 32)...), 9, vouch.ErrMalformed},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			r := vouch.NewReader(bytes.NewReader(tt.b), tt.blocks)
			var err error
			for err == nil {
				_, err = r.Next()
			}
			if !errors.Is(err, tt.want) {
				t.Errorf("error %v, want %v", err, tt.want)
			}
			if _, again := r.Next(); !errors.Is(again, tt.want) {
				t.Errorf("and then %v", again)
			}
		})
	}
}

func TestABlockThatCannotBeIsNotVouchedFor(t *testing.T) {
	w := vouch.NewWriter(io.Discard, func() {})
	for _, n := range []int{-1, 0, block.Size + 1} {
		if w.Block(n, block.Sum(nil)) == nil {
			t.Errorf("a block of %d bytes", n)
		}
	}
}

func TestAFailedWriteIsRemembered(t *testing.T) {
	broken := errors.New("broken")
	w := vouch.NewWriter(writer(func([]byte) (int, error) { return 0, broken }), func() { t.Error("flushed") })
	for range 2 {
		if err := w.GoesOn(); !errors.Is(err, broken) {
			t.Error(err)
		}
	}
}

type writer func([]byte) (int, error)

func (w writer) Write(p []byte) (int, error) { return w(p) }

func TestTheFieldsAreTakenOut(t *testing.T) {
	h := http.Header{"Accept": {"*/*"}}
	vouch.Ask(h)
	h.Set(vouch.Length, "1")
	if !vouch.Asked(h) {
		t.Error("it does not ask")
	}
	req := &http.Request{Header: h}
	if got := vouch.Stripped(req); len(got.Header) != 1 || len(h) != 3 {
		t.Errorf("%v of %v", got.Header, h)
	}
	vouch.Strip(h)
	if len(h) != 1 || vouch.Asked(h) || vouch.Stripped(req) != req {
		t.Errorf("left: %v", h)
	}
}

func TestALengthThatIsNoneIsUnknown(t *testing.T) {
	for value, want := range map[string]int64{"": -1, "0": 0, "17": 17, "-1": -1, "x": -1, "99999999999999999999": -1} {
		if got := vouch.LengthOf(http.Header{vouch.Length: {value}}); got != want {
			t.Errorf("%q: %d", value, got)
		}
	}
}

func TestWhatAFetchIsForGoesWithItsContext(t *testing.T) {
	waiting := false
	if f := vouch.Of(t.Context()); f.Neighbour {
		t.Error("for a neighbour, whom nobody named")
	} else {
		f.Waiting(true) // nobody
	}
	f := vouch.Of(vouch.With(t.Context(), vouch.Fetch{Neighbour: true, Waiting: func(w bool) { waiting = w }}))
	f.Waiting(true)
	if !f.Neighbour || !waiting {
		t.Errorf("neighbour %t, waiting %t", f.Neighbour, waiting)
	}
}

func FuzzReader(f *testing.F) {
	f.Add([]byte{})
	f.Add(append([]byte{0, 0, 0, 5}, bytes.Repeat([]byte{1}, 32)...))
	f.Add(append([]byte{0, 16, 0, 0}, bytes.Repeat([]byte{1}, 68)...))
	f.Fuzz(func(t *testing.T, b []byte) {
		const most = 4
		r := vouch.NewReader(bytes.NewReader(b), most)
		var out bytes.Buffer
		w := vouch.NewWriter(&out, func() {})
		blocks := 0
		for {
			e, err := r.Next()
			if err != nil {
				if errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) && !bytes.Equal(out.Bytes(), b) {
					t.Errorf("%x was read as %x", b, out.Bytes())
				}
				break
			}
			if e.Len == 0 {
				err = w.GoesOn()
			} else {
				blocks++
				err = w.Block(e.Len, e.Digest)
			}
			if err != nil {
				t.Fatal(err)
			}
		}
		if blocks > most {
			t.Errorf("%d blocks of %d", blocks, most)
		}
	})
}
