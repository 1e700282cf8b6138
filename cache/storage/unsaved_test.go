package storage_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"testing"
	"time"

	"preau/cache/block"
	"preau/cache/fill"
	"preau/cache/object"
	"preau/cache/storage"
)

// halting gives its content up to a byte, and the rest when it may go on.
type halting struct {
	source
	at int64
	on chan struct{}
}

func (h halting) Open(ctx context.Context, from, to int64) (*fill.Stream, error) {
	st, err := h.source.Open(ctx, from, to)
	if err != nil || from >= h.at {
		return st, err
	}
	rest := waiting{bytes.NewReader(h.data[h.at:st.To]), h.on, ctx}
	st.Body = io.NopCloser(io.MultiReader(bytes.NewReader(h.data[from:h.at]), rest))
	return st, nil
}

type waiting struct {
	io.Reader
	on  chan struct{}
	ctx context.Context
}

func (w waiting) Read(p []byte) (int, error) {
	select {
	case <-w.on:
		return w.Reader.Read(p)
	case <-w.ctx.Done():
		return 0, w.ctx.Err()
	}
}

// TestWhatIsBeingFilledOutlivesItsSegment has so much pass through a small disk
// while an object is half fetched that the segments go which it was put into.
// What was fetched of it, and noted nowhere yet, must not go with them.
func TestWhatIsBeingFilledOutlivesItsSegment(t *testing.T) {
	t.Parallel()
	cfg := storage.DefaultConfig(t.TempDir(), 24*mib)
	cfg.Fill.SaveEvery = time.Hour
	d := openWith(t, cfg)
	asked := 0
	src := halting{source{data: content("slow", 2*block.Size+100_000), asked: &asked}, 2 * block.Size, make(chan struct{})}
	o := &object.Object{
		ID: object.NewID(), Key: d.key("slow"), Site: "site", Status: 200, Length: int64(len(src.data)), Ranges: true,
		Header: http.Header{"Etag": {`"slow"`}}, RequestTime: time.Now(), ResponseTime: time.Now(),
	}
	body, err := d.Create(t.Context(), o, src, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer body.Release()
	in, out := io.Pipe()
	read := make(chan error, 1)
	go func() {
		r := body.NewReader(0, -1)
		defer r.Close()
		_, err := r.CopyTo(t.Context(), out)
		read <- errors.Join(err, out.Close())
	}()
	got := make([]byte, len(src.data))
	if _, err := io.ReadFull(in, got[:src.at]); err != nil {
		t.Fatal(err)
	}
	lies := func(i int) (block.Segment, bool) {
		return d.Blocks().Has(block.Sum(src.data[i*block.Size : (i+1)*block.Size]))
	}
	var first [2]block.Segment
	for i := range first {
		for ok := false; !ok; time.Sleep(time.Millisecond) { // the reader is ahead of the disk
			if first[i], ok = lies(i); t.Context().Err() != nil {
				t.Fatal("not stored")
			}
		}
	}
	for i, moved := 0, false; !moved; i++ {
		if i == 40 {
			t.Fatalf("segments %v are still where they were", first)
		}
		d.put(fmt.Sprint("o", i), 2_000_000)
		moved = true
		for k := range first {
			now, ok := lies(k)
			if !ok {
				t.Fatalf("block %d of what is being filled is gone", k)
			}
			moved = moved && now != first[k]
		}
	}
	close(src.on)
	if _, err := io.ReadFull(in, got[src.at:]); err != nil || !bytes.Equal(got, src.data) {
		t.Errorf("the rest: %v", err)
	}
	if _, err := in.Read(make([]byte, 1)); !errors.Is(err, io.EOF) {
		t.Errorf("at the end: %v", err)
	}
	if err := <-read; err != nil {
		t.Errorf("read: %v", err)
	}
	if asked != 1 {
		t.Errorf("the source was asked %d times, want once", asked)
	}
}
