package outbox_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/iotest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/goleak"

	"preau/cache/block"
	"preau/replication/outbox"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var quiet = slog.New(slog.DiscardHandler)

func noise(seed byte, n int) []byte {
	b := make([]byte, n)
	_, _ = rand.NewChaCha8([32]byte{seed}).Read(b) // never fails
	return b
}

func open(t *testing.T, cfg outbox.Config) *outbox.Outbox {
	t.Helper()
	cfg.ReserveBytes = 1
	o, err := outbox.Open(cfg, quiet, prometheus.NewRegistry())
	if err != nil {
		t.Fatal(err)
	}
	return o
}

func add(t *testing.T, o *outbox.Outbox, name string, body []byte) outbox.Deposit {
	t.Helper()
	d, err := o.Add(t.Context(), bytes.NewReader(body), int64(len(body)), outbox.Words{Filename: name})
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func content(t *testing.T, o *outbox.Outbox, id string) []byte {
	t.Helper()
	f, _, err := o.Open(id)
	if err != nil {
		t.Fatal(err)
	}
	got, err := io.ReadAll(f)
	if err != nil {
		t.Fatal(err)
	}
	return got
}

func TestWhatWasAddedIsThereAfterARestart(t *testing.T) {
	dir := t.TempDir()
	files := map[string][]byte{"empty.txt": {}, "a.txt": []byte("a"), "film.mp4": noise(1, 3<<20+17)}
	ids, was := make(map[string]string), make(map[string]outbox.Deposit)
	o := open(t, outbox.Config{Dir: dir})
	for name, body := range files {
		d := add(t, o, name, body)
		if d.State != outbox.OnBox || d.Length != int64(len(body)) || d.SHA256 != block.Sum(body) {
			t.Errorf("%+v", d)
		}
		ids[name], was[name] = d.ID, d
	}
	if err := o.Close(); err != nil {
		t.Fatal(err)
	}
	o = open(t, outbox.Config{Dir: dir})
	defer o.Close()
	for name, body := range files {
		if !bytes.Equal(content(t, o, ids[name]), body) {
			t.Errorf("%s is not what was added", name)
		}
		before := was[name]
		if d, err := o.Get(ids[name]); err != nil || !d.Same(&before) || d.Nonce != before.Nonce || d.List != before.List {
			t.Errorf("%+v is read as %+v, %v", before, d, err)
		}
	}
	f, d, err := o.Open(ids["film.mp4"])
	if err != nil || d.ContentType != "video/mp4" {
		t.Fatal(d.ContentType, err)
	}
	for range 50 {
		off := rand.Int64N(d.Length)
		if _, err := f.Seek(off, io.SeekStart); err != nil {
			t.Fatal(err)
		}
		p := make([]byte, 1+rand.IntN(2<<20))
		n, err := io.ReadFull(f, p)
		if err != nil && !errors.Is(err, io.ErrUnexpectedEOF) {
			t.Fatal(err)
		}
		if !bytes.Equal(p[:n], files["film.mp4"][off:off+int64(n)]) {
			t.Fatalf("%d bytes at %d are others", n, off)
		}
	}
}

func TestASecondCopyTakesNoRoom(t *testing.T) {
	o := open(t, outbox.Config{Dir: t.TempDir(), Budget: 12 << 20})
	defer o.Close()
	body := noise(2, 4<<20)
	first := add(t, o, "a.pdf", body)
	second := add(t, o, "b.pdf", body)
	if first.ID == second.ID || len(o.List()) != 2 {
		t.Error("the second is not a deposit of its own")
	}
	if !bytes.Equal(content(t, o, second.ID), body) {
		t.Error("other bytes")
	}
	if _, err := o.Add(t.Context(), bytes.NewReader(noise(3, 9<<20)), -1, outbox.Words{Filename: "c"}); !errors.Is(err, outbox.ErrFull) {
		t.Errorf("more than there is room for: %v", err)
	}
	if _, err := o.Add(t.Context(), bytes.NewReader(nil), 9<<20, outbox.Words{Filename: "c"}); !errors.Is(err, outbox.ErrFull) {
		t.Errorf("announced as more than there is room for: %v", err)
	}
	add(t, o, "d.pdf", noise(4, 3<<20)) // what was refused holds no room
}

func TestTheRoomThereIsCanBeTaken(t *testing.T) {
	const budget = 12 << 20
	o := open(t, outbox.Config{Dir: t.TempDir(), Budget: budget})
	defer o.Close()
	if n := o.Room(); n != budget {
		t.Errorf("there is room for %d of %d", n, budget)
	}
	kept := add(t, o, "a.pdf", noise(2, 8<<20))
	room := o.Room()
	if room > 4<<20 || room < 3<<20 {
		t.Errorf("beside 8 MiB there is room for %d of %d", room, budget)
	}
	if _, err := o.Add(t.Context(), bytes.NewReader(nil), room+1, outbox.Words{Filename: "b"}); !errors.Is(err, outbox.ErrFull) {
		t.Errorf("a byte more than there is room for: %v", err)
	}
	if err := o.Learn(kept.ID, outbox.InCentral, "bucket", "key", "etag", ""); err != nil {
		t.Fatal(err)
	}
	if n := o.Room(); n < 11<<20 || n > budget {
		t.Errorf("with what the centre keeps given up there is room for %d of %d", n, budget)
	}
}

func TestWhatDoesNotComeWholeIsNotSeen(t *testing.T) {
	o := open(t, outbox.Config{Dir: t.TempDir()})
	defer o.Close()
	broken := errors.New("cable pulled")
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	tests := map[string]struct {
		ctx  context.Context
		r    io.Reader
		size int64
		name string
		want error
	}{
		"short":       {t.Context(), strings.NewReader("half"), 8, "a", outbox.ErrShort},
		"long":        {t.Context(), strings.NewReader("twice that"), 5, "a", outbox.ErrShort},
		"broken":      {t.Context(), iotest.ErrReader(broken), -1, "a", broken},
		"given up":    {gone, strings.NewReader("x"), 1, "a", context.Canceled},
		"no name":     {t.Context(), strings.NewReader("x"), 1, "", outbox.ErrName},
		"a folder":    {t.Context(), strings.NewReader("x"), 1, "..", outbox.ErrName},
		"a path":      {t.Context(), strings.NewReader("x"), 1, "a/b", outbox.ErrName},
		"controls":    {t.Context(), strings.NewReader("x"), 1, "a\nb", outbox.ErrName},
		"far too big": {t.Context(), strings.NewReader("x"), outbox.MaxSize + 1, "a", outbox.ErrTooLarge},
	}
	for name, tt := range tests {
		if _, err := o.Add(tt.ctx, tt.r, tt.size, outbox.Words{Filename: tt.name}); !errors.Is(err, tt.want) {
			t.Errorf("%s: %v, want %v", name, err, tt.want)
		}
	}
	if n := len(o.List()); n != 0 {
		t.Errorf("%d deposits can be seen", n)
	}
}

func TestADamagedRecordIsPutAside(t *testing.T) {
	dir := t.TempDir()
	o := open(t, outbox.Config{Dir: dir})
	good, bad := add(t, o, "good", []byte("good")), add(t, o, "bad", []byte("bad"))
	if err := o.Close(); err != nil {
		t.Fatal(err)
	}
	name := filepath.Join(dir, "deposits", bad.ID)
	raw, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	raw[len(raw)-1] ^= 1
	if err := os.WriteFile(name, raw, 0o600); err != nil {
		t.Fatal(err)
	}
	o = open(t, outbox.Config{Dir: dir})
	defer o.Close()
	if list := o.List(); len(list) != 1 || list[0].ID != good.ID {
		t.Errorf("%+v", list)
	}
	if got, err := os.ReadFile(name + ".damaged"); err != nil || !bytes.Equal(got, raw) {
		t.Error("what could not be read was thrown away", err)
	}
}

// region is a region that fails now and then.
type region struct {
	mu        sync.Mutex
	blocks    map[block.Digest][]byte
	committed map[string]outbox.Deposit
	fail      func() error
	barred    string
}

func (r *region) failing() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.fail == nil {
		return nil
	}
	return r.fail()
}

func (r *region) Missing(_ context.Context, digests []block.Digest) ([]block.Digest, error) {
	if err := r.failing(); err != nil {
		return nil, err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	var out []block.Digest
	for _, d := range digests {
		if r.blocks[d] == nil {
			out = append(out, d)
		}
	}
	return out, nil
}

func (r *region) Put(_ context.Context, d block.Digest, p []byte) error {
	if err := r.failing(); err != nil {
		return err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.blocks[d] = p
	return nil
}

func (r *region) Commit(_ context.Context, d outbox.Deposit) error {
	if err := r.failing(); err != nil {
		return err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.committed[d.ID] = d
	return nil
}

func (r *region) Barred(box string) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.barred == box && box != ""
}

func (r *region) all() map[string]outbox.Deposit {
	r.mu.Lock()
	defer r.mu.Unlock()
	return maps.Clone(r.committed)
}

func TestDepositsReachTheRegion(t *testing.T) {
	o := open(t, outbox.Config{Dir: t.TempDir()})
	defer o.Close()
	refused := add(t, o, "refused", []byte("refused"))
	r := &region{blocks: map[block.Digest][]byte{}, committed: map[string]outbox.Deposit{}}
	picky := &picky{region: r, refuse: refused.ID}
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- o.Run(ctx, picky) }()
	body := noise(5, 2<<20)
	film, text := add(t, o, "film", body), add(t, o, "text", nil)
	changed, end := o.Watch()
	defer end()
	for len(r.all()) < 2 {
		select {
		case <-changed:
		case <-time.After(50 * time.Millisecond):
		}
	}
	for _, id := range []string{film.ID, text.ID} {
		for d, err := o.Get(id); d.State != outbox.InRegion; d, err = o.Get(id) {
			if err != nil {
				t.Fatal(err)
			}
			<-changed
		}
	}
	for d, err := o.Get(refused.ID); d.Waiting == ""; d, err = o.Get(refused.ID) {
		if err != nil {
			t.Fatal(err)
		}
		<-changed
	}
	if d, err := o.Get(refused.ID); err != nil || d.State != outbox.OnBox || d.Waiting != "not today" {
		t.Errorf("%+v, %v", d, err)
	}
	stop()
	if err := <-done; err != nil {
		t.Error(err)
	}
	// What the region tells goes one way only.
	if err := errors.Join(
		o.Learn(film.ID, outbox.InCentral, "bucket", "key", "etag", ""),
		o.Learn(film.ID, outbox.InRegion, "", "", "", ""),
		o.Learn("d-elsewhere", outbox.InCentral, "b", "k", "e", ""),
	); err != nil {
		t.Error(err)
	}
	if d, err := o.Get(film.ID); err != nil || d.State != outbox.InCentral || d.Key != "key" {
		t.Errorf("%+v, %v", d, err)
	}
	// Only what the centre keeps is given up.
	freed, err := o.Free(1 << 40)
	if err != nil || freed < int64(len(body)) {
		t.Errorf("freed %d, %v", freed, err)
	}
	if _, _, err := o.Open(film.ID); !errors.Is(err, outbox.ErrNotFound) {
		t.Errorf("the film is still here: %v", err)
	}
	if !bytes.Equal(content(t, o, refused.ID), []byte("refused")) {
		t.Error("what nobody else has was given up")
	}
}

type picky struct {
	*region
	refuse string
}

func (p *picky) Commit(ctx context.Context, d outbox.Deposit) error {
	if d.ID == p.refuse {
		return &outbox.Refusal{Reason: "not today"}
	}
	return p.region.Commit(ctx, d)
}
