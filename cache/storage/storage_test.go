package storage_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/goleak"

	"preau/cache/fill"
	"preau/cache/object"
	"preau/cache/storage"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const mib = 1 << 20

// disk is a storage over a folder, and what its objects' bodies should be.
type disk struct {
	*storage.Storage
	t      *testing.T
	dir    string
	budget int64
	stop   func()
}

func open(t *testing.T, dir string, budget int64) *disk {
	t.Helper()
	return openWith(t, storage.DefaultConfig(dir, budget))
}

func openWith(t *testing.T, cfg storage.Config) *disk {
	t.Helper()
	s, err := storage.Open(cfg, slog.New(slog.DiscardHandler), prometheus.NewRegistry())
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	d := &disk{Storage: s, t: t, dir: cfg.Dir, budget: cfg.BudgetBytes}
	d.stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(d.stop)
	return d
}

func (d *disk) reopen() *disk {
	d.t.Helper()
	d.stop()
	return open(d.t, d.dir, d.budget)
}

// content is what the object named name holds.
func content(name string, size int) []byte {
	seed := [32]byte{}
	copy(seed[:], name)
	b := make([]byte, size)
	_, _ = rand.NewChaCha8(seed).Read(b) // never fails
	return b
}

// source gives the content, or nothing while the line is down.
type source struct {
	data  []byte
	down  bool
	asked *int
}

func (s source) Ranges() bool { return true }

func (s source) Ready() <-chan struct{} {
	c := make(chan struct{})
	close(c)
	return c
}

func (s source) Open(_ context.Context, from, to int64) (*fill.Stream, error) {
	if s.down {
		return nil, fmt.Errorf("%w: the line is down", fill.ErrChanged)
	}
	if s.asked != nil {
		*s.asked++
	}
	if to < 0 {
		to = int64(len(s.data))
	}
	return &fill.Stream{Body: io.NopCloser(bytes.NewReader(s.data[from:to])), From: from, To: to, Total: int64(len(s.data)), Proven: true}, nil
}

func (d *disk) key(name string) object.Key { return d.Key("site", name) }

// put stores the object name and reads it once.
func (d *disk) put(name string, size int) {
	d.t.Helper()
	d.Touch(d.key(name))
	o := &object.Object{
		ID: object.NewID(), Key: d.key(name), Site: "site", Status: 200, Length: int64(size), Ranges: true,
		Header: http.Header{"Etag": {`"` + name + `"`}}, RequestTime: time.Now(), ResponseTime: time.Now(),
	}
	src := source{data: content(name, size)}
	body, err := d.Create(d.t.Context(), o, src, nil)
	if err != nil {
		d.t.Fatal(err)
	}
	defer body.Release()
	d.read(o, src)
}

// read reads all of o and compares it; false if it can't be had.
func (d *disk) read(o *object.Object, src source) bool {
	d.t.Helper()
	b, err := d.Body(o, src)
	if err != nil {
		d.t.Errorf("open body: %v", err)
		return false
	}
	defer b.Release()
	r := b.NewReader(0, -1)
	defer r.Close()
	var got bytes.Buffer
	_, err = r.CopyTo(d.t.Context(), &got)
	if err == nil && !bytes.Equal(got.Bytes(), src.data) {
		d.t.Errorf("wrong bytes were served: %d of %d", got.Len(), len(src.data))
	}
	if err != nil && !bytes.HasPrefix(src.data, got.Bytes()) {
		d.t.Error("wrong bytes were served before the break")
	}
	return err == nil
}

// stored looks name up.
func (d *disk) stored(name string) *object.Object {
	d.t.Helper()
	set, err := d.Objects().Lookup(d.key(name))
	if err != nil {
		d.t.Fatal(err)
	}
	if len(set) == 0 {
		return nil
	}
	return set[0]
}

func (d *disk) settle() {
	d.t.Helper()
	for end := time.Now().Add(time.Minute); ; time.Sleep(2 * time.Millisecond) {
		busy := false
		d.Fills().Bodies(func(*fill.Body) { busy = true })
		if !busy {
			return
		}
		if time.Now().After(end) {
			d.t.Fatal("bodies stay in use")
		}
	}
}

// onDisk is what the folder takes, in bytes of disk. What goes and what comes
// while it is read may both count, so it is the least of three.
func onDisk(t *testing.T, dir string) int64 {
	t.Helper()
	return min(onDiskOnce(t, dir), onDiskOnce(t, dir), onDiskOnce(t, dir))
}

func onDiskOnce(t *testing.T, dir string) int64 {
	t.Helper()
	var n int64
	err := filepath.WalkDir(dir, func(_ string, e fs.DirEntry, err error) error {
		if err != nil {
			return nil // removed meanwhile
		}
		if info, err := e.Info(); err == nil {
			n += info.Sys().(*syscall.Stat_t).Blocks * 512
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func TestEvictionKeepsToTheBudgetAndTellsTheTruth(t *testing.T) {
	t.Parallel()
	budget, least, step := int64(96*mib), 1_500_000, 60_000
	if testing.Short() { // a third of everything
		budget, least, step = 32*mib, 500_000, 20_000
	}
	d := open(t, t.TempDir(), budget)
	sizes := map[string]int{}
	for i := range 50 {
		name := fmt.Sprint("o", i)
		sizes[name] = least + i*step
		d.put(name, sizes[name])
		d.Touch(d.key("o0"))
		if i%3 > 0 {
			continue
		}
		if used := onDisk(t, d.dir); used > budget*105/100 {
			t.Fatalf("after %d objects %d bytes on disk, the budget is %d", i, used, budget)
		}
	}
	d.settle()
	for range 2 {
		kept, missing := 0, 0
		for name, size := range sizes {
			o := d.stored(name)
			if o == nil {
				continue
			}
			kept++
			asked := 0
			if !d.read(o, source{data: content(name, size), asked: &asked}) {
				t.Errorf("%s can't be read", name)
			}
			if asked > 0 {
				missing++
			}
		}
		if kept < 6 || kept == len(sizes) {
			t.Errorf("%d of %d objects are kept", kept, len(sizes))
		}
		if missing > kept/10 {
			t.Errorf("%d of %d objects that are said to be stored are not", missing, kept)
		}
		d.settle()
		d = d.reopen()
	}
}

func TestLostMetadataIsFoundAgain(t *testing.T) {
	for name, spoil := range map[string]func(dir string) error{
		"removed": os.RemoveAll,
		"garbage": func(dir string) error {
			return filepath.WalkDir(dir, func(p string, e fs.DirEntry, err error) error {
				if err != nil || e.IsDir() {
					return err
				}
				return os.WriteFile(p, []byte("garbage"), 0o600)
			})
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			d := open(t, t.TempDir(), 96*mib)
			sizes := map[string]int{"small": 1000, "page": 300_000, "large": 5*mib + 17, "huge": 9 * mib}
			if testing.Short() {
				sizes["large"], sizes["huge"] = 2*mib+17, 3*mib
			}
			for name, size := range sizes {
				d.put(name, size)
			}
			d.put("page", sizes["page"]) // a second version: the older is not to come back
			newest := d.stored("page").ID
			d.settle()
			d.stop()
			if err := spoil(filepath.Join(d.dir, "objects")); err != nil {
				t.Fatal(err)
			}
			d = open(t, d.dir, d.budget)
			for name, size := range sizes {
				o := d.stored(name)
				if o == nil {
					t.Errorf("%s is lost", name)
					continue
				}
				if o.Doubt != object.Restored {
					t.Errorf("%s is not in doubt", name)
				}
				if !d.read(o, source{data: content(name, size), down: true}) {
					t.Errorf("%s can't be read while the line is down", name)
				}
			}
			if d.stored("page").ID != newest {
				t.Error("an older version came back")
			}
		})
	}
}

func TestDamagedSideFiles(t *testing.T) {
	d := open(t, t.TempDir(), 96*mib)
	d.put("a", 1000)
	d.settle()
	for _, name := range []string{"secret", "secret.copy", "popularity"} {
		d.stop()
		path := filepath.Join(d.dir, name)
		b, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		b[len(b)/2] ^= 1
		if err := os.WriteFile(path, b, 0o600); err != nil {
			t.Fatal(err)
		}
		d = open(t, d.dir, d.budget)
		if d.stored("a") == nil {
			t.Errorf("with %s damaged the object is lost", name)
		}
	}
}

// TestFlippedBits damages one bit of every file and reads everything: a wrong
// byte must never come out, and nothing may keep the storage from opening.
func TestFlippedBits(t *testing.T) {
	t.Parallel()
	d := open(t, t.TempDir(), 96*mib)
	sizes := map[string]int{"s1": 900, "s2": 70_000, "l1": 2*mib + 5}
	for name, size := range sizes {
		d.put(name, size)
	}
	d.settle()
	d.stop()
	var files []string
	if err := filepath.WalkDir(d.dir, func(p string, e fs.DirEntry, err error) error {
		if err == nil && !e.IsDir() {
			files = append(files, p)
		}
		return err
	}); err != nil {
		t.Fatal(err)
	}
	rnd := rand.New(rand.NewPCG(1, 2))
	for round := range 9 {
		for i, path := range files {
			if round == 8 || i%8 == round { // some, and at last all of them at once
				flip(t, path, rnd)
			}
		}
		d = open(t, d.dir, d.budget)
		for name, size := range sizes {
			if o := d.stored(name); o == nil {
				d.put(name, size)
			} else if !d.read(o, source{data: content(name, size)}) {
				t.Errorf("%s can't be had though the line is up", name)
			}
		}
		d.settle()
		d.stop()
		if t.Failed() {
			t.Fatalf("in round %d", round)
		}
	}
}

// flip changes one bit of the part of the file that holds anything.
func flip(t *testing.T, path string, rnd *rand.Rand) {
	t.Helper()
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return // replaced since
	}
	defer func() { _ = f.Close() }()
	info, err := f.Stat()
	if err != nil || info.Size() == 0 {
		return
	}
	at := rnd.Int64N(min(info.Size(), 8*mib))
	var b [1]byte
	if _, err := f.ReadAt(b[:], at); err != nil {
		t.Fatal(err)
	}
	b[0] ^= 1 << rnd.IntN(8)
	if _, err := f.WriteAt(b[:], at); err != nil {
		t.Fatal(err)
	}
}
