package deposit_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"

	"preau/cache/block"
	"preau/replication/central"
	"preau/replication/central/deposit"
	"preau/replication/central/store"
	"preau/replication/central/storetest"
	"preau/replication/identity"
)

const (
	here   = identity.Region("0123456789abcdef")
	there  = identity.Region("fedcba9876543210")
	school = identity.School("0690001A")
)

var config = deposit.Config{Bucket: "deposits", System: "system"}

// nothing is a gateway that publishes nothing.
type nothing struct{}

func (nothing) Buckets() []string { return nil }
func (nothing) Key() []byte       { return nil }
func (nothing) Changes(context.Context, string, central.Cursor, int, time.Duration) (central.Changes, error) {
	return central.Changes{}, central.ErrNoBucket
}

func (nothing) List(context.Context, string, block.Digest) ([]byte, error) {
	return nil, block.ErrNotFound
}

func (nothing) Body(context.Context, string, block.Digest, int64, int64) (io.ReadCloser, error) {
	return nil, central.ErrGone
}

func memory(t *testing.T) store.Store {
	t.Helper()
	s := storetest.NewMemory()
	for _, b := range []string{config.Bucket, config.System} {
		if err := s.MakeBucket(t.Context(), b); err != nil {
			t.Fatal(err)
		}
	}
	return s
}

// gateway is one of any number over one store.
func gateway(t *testing.T, s store.Store, region identity.Region) *central.Client {
	t.Helper()
	d, err := deposit.New(config, s, slog.New(slog.DiscardHandler), prometheus.NewRegistry())
	if err != nil {
		t.Fatal(err)
	}
	who := func(*http.Request) (identity.Identity, bool) {
		return identity.Identity{Region: region, Role: identity.Server, Name: "alpha"}, true
	}
	srv, err := central.NewServer(central.About{}, nothing{}, d, who, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	mux := http.NewServeMux()
	srv.Register(mux)
	web := httptest.NewServer(mux)
	t.Cleanup(web.Close)
	rt := &http.Transport{}
	t.Cleanup(rt.CloseIdleConnections)
	c, err := central.NewClient(web.URL, rt)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func file(seed byte, n int) []byte {
	b := make([]byte, n)
	_, _ = rand.NewChaCha8([32]byte{seed}).Read(b) // never fails
	return b
}

func announce(id, name string, body []byte) central.Deposit {
	return central.Deposit{
		ID: id, Region: here, School: school, Box: "library", Name: name, Length: int64(len(body)), SHA256: block.Sum(body),
		At: time.UnixMilli(1e12).UTC(), Meta: central.Meta{Title: "Un préau", ContentType: "text/plain"},
	}
}

func reader(body []byte) func(context.Context, int64, int) ([]byte, error) {
	return func(_ context.Context, off int64, n int) ([]byte, error) { return body[off : off+int64(n)], nil }
}

// kept reads all that the bucket has.
func kept(t *testing.T, s store.Store) map[string][]byte {
	t.Helper()
	out := make(map[string][]byte)
	page, err := s.List(t.Context(), config.Bucket, "", "", store.MaxPage)
	if err != nil || page.Next != "" {
		t.Fatal(err, page.Next)
	}
	for _, o := range page.Objects {
		body, _, err := s.Get(t.Context(), config.Bucket, o.Key, 0, -1, "")
		if err != nil {
			t.Fatal(err)
		}
		if out[o.Key], err = io.ReadAll(body); err != nil || body.Close() != nil {
			t.Fatal(err)
		}
	}
	return out
}

func TestADepositIsKeptAsItWas(t *testing.T) {
	sizes := map[string]int{
		"empty": 0, "one byte": 1, "one part": central.PartSize, "two parts": central.PartSize + 1,
	}
	if !testing.Short() {
		sizes["many"] = 3*central.PartSize + 12345
	}
	for name, size := range sizes {
		t.Run(name, func(t *testing.T) {
			s := memory(t)
			c := gateway(t, s, here)
			body := file(1, size)
			d := announce("d-1", "Leçon d'été.txt", body)
			var heard []int64
			state, err := c.Push(t.Context(), d, reader(body), func(n int64) { heard = append(heard, n) })
			if err != nil || !state.Kept || state.Key != deposit.Key(d) || state.Bucket != config.Bucket || state.ETag == "" {
				t.Fatalf("%+v, %v", state, err)
			}
			if !slices.IsSorted(heard) || heard[len(heard)-1] != int64(size) {
				t.Errorf("progress: %v", heard)
			}
			if got := kept(t, s); len(got) != 1 || !bytes.Equal(got[deposit.Key(d)], body) {
				t.Error("what is kept is not what was deposited")
			}
			info, err := s.Head(t.Context(), config.Bucket, state.Key)
			if err != nil || info.ContentType != "text/plain" || info.Meta["sha256"] != d.SHA256.String() || info.Meta["title"] != "Un préau" {
				t.Errorf("%+v, %v", info, err)
			}
			// Once more, from another gateway: nothing is sent.
			again, err := gateway(t, s, here).Push(t.Context(), d, func(context.Context, int64, int) ([]byte, error) {
				return nil, errors.New("a kept deposit was read once more")
			}, nil)
			if diff := cmp.Diff(state, again); diff != "" || err != nil {
				t.Error(diff, err)
			}
		})
	}
}

func TestTwoDepositsNeverMeet(t *testing.T) {
	s := memory(t)
	c := gateway(t, s, here)
	push := func(d central.Deposit, body []byte) {
		t.Helper()
		if _, err := c.Push(t.Context(), d, reader(body), nil); err != nil {
			t.Fatal(err)
		}
	}
	one, two := []byte("one"), []byte("two")
	push(announce("d-1", "a.txt", one), one)
	push(announce("d-2", "a.txt", two), two) // same name
	push(announce("d-3", "b.txt", one), one) // same content
	elsewhere := announce("d-4", "a.txt", one)
	elsewhere.School = "0380001B"
	push(elsewhere, one)
	push(announce("d-5", "a.txt", one), one) // the same altogether
	if n := len(kept(t, s)); n != 4 {
		t.Errorf("%d files, want 4", n)
	}
	// An id belongs to one file.
	if _, err := c.Begin(t.Context(), announce("d-1", "a.txt", two)); !errors.Is(err, central.ErrInvalid) {
		t.Errorf("an id taken for another file: %v", err)
	}
}

func TestWhatIsNotAsAnnouncedIsRefused(t *testing.T) {
	s := memory(t)
	c := gateway(t, s, here)
	long := file(2, central.PartSize+5)
	lie := announce("d-1", "a", long)
	lie.SHA256 = block.Sum([]byte("something else"))
	if _, err := c.Push(t.Context(), lie, reader(long), nil); !errors.Is(err, central.ErrWrongBytes) {
		t.Errorf("a file that is another: %v", err)
	}
	if got := kept(t, s); len(got) != 0 {
		t.Error("it can be seen")
	}
	if _, err := c.Begin(t.Context(), announce("d-2", "a", long)); err != nil {
		t.Fatal(err)
	}
	tests := map[string]error{
		"foreign region": func() error {
			_, err := gateway(t, s, there).Begin(t.Context(), announce("d-3", "a", long))
			return err
		}(),
		"foreign part":   gateway(t, s, there).PutPart(t.Context(), "d-2", 1, long[:central.PartSize]),
		"unknown id":     c.PutPart(t.Context(), "d-9", 1, long[:5]),
		"wrong length":   c.PutPart(t.Context(), "d-2", 1, long[:5]),
		"beyond the end": c.PutPart(t.Context(), "d-2", 3, long[:5]),
		"path as a name": func() error { _, err := c.Begin(t.Context(), announce("d-4", "../x", long)); return err }(),
		"path as an id":  func() error { _, err := c.Begin(t.Context(), announce("../x", "x", long)); return err }(),
	}
	for name, err := range tests {
		if !errors.Is(err, central.ErrInvalid) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := c.Complete(t.Context(), "d-2"); !errors.Is(err, central.ErrIncomplete) {
		t.Errorf("completed with nothing there: %v", err)
	}
	small := []byte("small")
	if _, err := c.Begin(t.Context(), announce("d-5", "s", small)); err != nil {
		t.Fatal(err)
	}
	if err := c.PutPart(t.Context(), "d-5", 1, []byte("smell")); !errors.Is(err, central.ErrWrongBytes) {
		t.Errorf("other bytes: %v", err)
	}
	if got := kept(t, s); len(got) != 0 {
		t.Errorf("%d files can be seen that were not completed", len(got))
	}
}

// The part of a file of several is not seen before all is there.
func TestNothingHalfDoneIsSeen(t *testing.T) {
	s := memory(t)
	c := gateway(t, s, here)
	body := file(3, 2*central.PartSize)
	d := announce("d-1", "a", body)
	if _, err := c.Begin(t.Context(), d); err != nil {
		t.Fatal(err)
	}
	if err := c.PutPart(t.Context(), d.ID, 2, body[central.PartSize:]); err != nil {
		t.Fatal(err)
	}
	if got := kept(t, s); len(got) != 0 {
		t.Error("a file with a hole can be seen")
	}
	read := 0
	_, err := gateway(t, s, here).Push(t.Context(), d, func(_ context.Context, off int64, n int) ([]byte, error) {
		read += n
		return body[off : off+int64(n)], nil
	}, nil)
	if err != nil || read != central.PartSize {
		t.Errorf("read %d bytes, want the half that was missing (%v)", read, err)
	}
	if !bytes.Equal(kept(t, s)[deposit.Key(d)], body) {
		t.Error("not what was deposited")
	}
}
