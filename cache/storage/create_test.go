package storage_test

import (
	"bytes"
	"errors"
	"io"
	"log/slog"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/prometheus/client_golang/prometheus"

	"preau/cache/fill"
	"preau/cache/object"
	"preau/cache/storage"
)

// closer is a stream's body that tells whether it was closed.
type closer struct {
	io.Reader
	closed atomic.Bool
}

func (c *closer) Close() error {
	c.closed.Store(true)
	return nil
}

// TestWhoeverFindsAnObjectFindsItsFetch: what the answer brings is counted on
// before anybody can find the object and have the same fetched once more.
func TestWhoeverFindsAnObjectFindsItsFetch(t *testing.T) {
	s, err := storage.Open(storage.DefaultConfig(t.TempDir(), 64*mib), slog.New(slog.DiscardHandler), prometheus.NewRegistry())
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	}()
	writes, asked := 0, 0
	var readers sync.WaitGroup
	err = s.OnWrite(func() error {
		if writes++; writes > 1 {
			return nil // a manifest
		}
		s.Fills().Bodies(func(b *fill.Body) {
			if b.Status().Fetches != 1 {
				t.Errorf("an object is about to be found and its fetch is not: %+v", b.Status())
			}
			// One who has found it reads, and is not held up by it.
			r := b.NewReader(0, -1)
			readers.Go(func() {
				defer r.Close()
				var got bytes.Buffer
				if _, err := r.CopyTo(t.Context(), &got); err != nil || !bytes.Equal(got.Bytes(), content("a", 1000)) {
					t.Errorf("%d bytes, %v", got.Len(), err)
				}
			})
		})
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	c, data := &closer{}, content("a", 1000)
	c.Reader = bytes.NewReader(data)
	o := &object.Object{ID: object.NewID(), Key: s.Key("site", "a"), Site: "site", Status: 200, Length: 1000, Ranges: true}
	body, err := s.Create(t.Context(), o, source{data: data, asked: &asked}, &fill.Stream{Body: c, To: 1000, Total: 1000, Proven: true})
	if err != nil {
		t.Fatal(err)
	}
	readers.Wait()
	body.Release()
	if asked != 0 {
		t.Errorf("the source was asked %d times for what the answer brought", asked)
	}
	s.Fills().Close()
	if !c.closed.Load() {
		t.Error("the answer's body was not closed")
	}
}

// TestWhatCantBeStoredStaysTheCallers: an answer that the disk does not take is
// still there to be passed on.
func TestWhatCantBeStoredStaysTheCallers(t *testing.T) {
	s, err := storage.Open(storage.DefaultConfig(t.TempDir(), 64*mib), slog.New(slog.DiscardHandler), prometheus.NewRegistry())
	if err != nil {
		t.Fatal(err)
	}
	errDisk := errors.New("the disk takes nothing")
	if err := s.OnWrite(func() error { return errDisk }); err != nil {
		t.Fatal(err)
	}
	o := &object.Object{ID: object.NewID(), Key: s.Key("site", "a"), Site: "site", Status: 200, Length: 1000, Ranges: true}
	c := &closer{Reader: bytes.NewReader(content("a", 1000))}
	asked := 0
	_, err = s.Create(t.Context(), o, source{data: content("a", 1000), asked: &asked}, &fill.Stream{Body: c, To: 1000, Total: 1000, Proven: true})
	if !errors.Is(err, errDisk) {
		t.Errorf("Create: %v", err)
	}
	if rest, err := io.ReadAll(c); err != nil || len(rest) != 1000 || c.closed.Load() {
		t.Errorf("%d bytes are left, %v, closed: %v", len(rest), err, c.closed.Load())
	}
	s.Fills().Close()
	if asked > 0 {
		t.Error("the source was asked for what nobody can have")
	}
	s.Fills().Bodies(func(b *fill.Body) { t.Errorf("still there: %+v", b.Status()) })
	if err := s.Close(); err != nil {
		t.Error(err)
	}
}
