package storage_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"preau/cache/fill"
	"preau/cache/object"
	"preau/cache/storage"
)

// marked stores an object under path with marks.
func (d *disk) marked(path string, asked time.Time) *object.Object {
	d.t.Helper()
	o := &object.Object{
		ID: object.NewID(), Key: d.key(path), Site: "site", Status: 200, Length: 1000, Ranges: true,
		Header: http.Header{"Surrogate-Key": {"all"}}, RequestTime: asked, ResponseTime: asked,
	}
	o.SetMarks(d.Marker(), path, "")
	body, err := d.Create(d.t.Context(), o, source{data: content(path, 1000)}, nil)
	if err != nil {
		d.t.Fatal(err)
	}
	defer body.Release()
	d.read(o, source{data: content(path, 1000)})
	return o
}

func (d *disk) purge(want int, specs ...storage.PurgeSpec) {
	d.t.Helper()
	if n, err := d.Purge(d.t.Context(), specs); err != nil || n != want {
		d.t.Errorf("purged %d, want %d; %v", n, want, err)
	}
}

func TestPurges(t *testing.T) {
	d := open(t, t.TempDir(), 96*mib)
	m := d.Marker()
	now := time.Now()
	for _, p := range []string{"/a/1", "/a/2", "/b/1", "/b/2"} {
		d.marked(p, now)
	}
	spec := func(marks ...object.Mark) storage.PurgeSpec { return storage.PurgeSpec{Site: "site", Marks: marks} }
	d.purge(0)
	d.purge(0, spec(m.Exact("site", "/c")), storage.PurgeSpec{Site: "other"})
	d.purge(1, spec(m.Exact("site", "/a/1")))
	if d.stored("/a/1") != nil || d.stored("/a/2") == nil {
		t.Error("the wrong one went")
	}
	old := spec(m.Prefix("site", "/b"))
	old.Before = now.Add(-time.Hour)
	d.purge(0, old)
	old.Before = now.Add(time.Millisecond)
	d.purge(2, old)
	d.purge(1, spec(m.Exact("site", "/x"), m.Tag("site", "all")))
	if d.stored("/a/2") != nil {
		t.Error("a tagged one is left")
	}
}

func TestOldRecordsAndOtherKeysAreMeant(t *testing.T) {
	d := open(t, t.TempDir(), 96*mib)
	d.put("no marks", 1000)
	d.marked("/own", time.Now())
	if err := d.SetMarkKey([]byte("0123456789abcdef0123456789abcdef")); err != nil {
		t.Fatal(err)
	}
	d.marked("/region", time.Now())
	d.purge(2, storage.PurgeSpec{Site: "site", Marks: []object.Mark{d.Marker().Exact("site", "/none")}})
	if d.stored("/region") == nil {
		t.Error("an object whose marks are known went with the others")
	}
	if err := d.SetMarkKey(nil); err == nil {
		t.Error("an empty key is taken")
	}
}

func TestWhatIsOlderThanAPurgeIsNotStored(t *testing.T) {
	d := open(t, t.TempDir(), 96*mib)
	before := time.Now()
	epoch := d.PurgeEpoch("site")
	d.purge(0, storage.PurgeSpec{Site: "site", Marks: []object.Mark{d.Marker().Exact("site", "/x")}})
	if d.PurgeEpoch("site") == epoch || d.PurgeEpoch("other") != 0 {
		t.Error("the epoch does not tell of the purge")
	}
	try := func(path string, asked time.Time, age string) error {
		o := &object.Object{ID: object.NewID(), Key: d.key(path), Site: "site", Status: 200, Length: 10, RequestTime: asked, ResponseTime: time.Now(), Header: http.Header{}}
		if age != "" {
			o.Header.Set("Age", age)
		}
		o.SetMarks(d.Marker(), path, "")
		body, err := d.Create(t.Context(), o, source{data: content(path, 10)}, nil)
		if err == nil {
			body.Release()
		}
		return err
	}
	for range 2 {
		if err := try("/x", before, ""); !errors.Is(err, storage.ErrPurged) {
			t.Errorf("an answer from before the purge: %v", err)
		}
		if err := try("/x", time.Now(), "3600"); !errors.Is(err, storage.ErrPurged) {
			t.Errorf("a parent's answer from before the purge: %v", err)
		}
		if err := try("/y", before, "3600"); err != nil {
			t.Errorf("another URL: %v", err)
		}
		if err := try("/x", time.Now(), ""); err != nil {
			t.Errorf("an answer from after the purge: %v", err)
		}
		d.settle()
		d = d.reopen()
	}
}

// TestPurgedIsGoneAfterAKill opens a copy of the folder as it is when Purge
// returns, which is what a kill leaves.
func TestPurgedIsGoneAfterAKill(t *testing.T) {
	for _, lost := range []bool{false, true} {
		t.Run(fmt.Sprint("metadata lost: ", lost), func(t *testing.T) {
			d := open(t, t.TempDir(), 96*mib)
			d.marked("/gone", time.Now())
			d.marked("/stays", time.Now())
			d.settle()
			d.purge(1, storage.PurgeSpec{Site: "site", Marks: []object.Mark{d.Marker().Exact("site", "/gone")}})
			dir := t.TempDir()
			copyTree(t, d.dir, dir)
			if lost {
				if err := os.RemoveAll(filepath.Join(dir, "objects")); err != nil {
					t.Fatal(err)
				}
			}
			after := open(t, dir, 96*mib)
			if after.stored("/gone") != nil {
				t.Error("a purged object is back")
			}
			if after.stored("/stays") == nil {
				t.Error("another one is lost")
			}
		})
	}
}

func copyTree(t *testing.T, from, to string) {
	t.Helper()
	err := filepath.WalkDir(from, func(p string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(from, p)
		if err != nil {
			return err
		}
		if e.IsDir() {
			return os.MkdirAll(filepath.Join(to, rel), 0o700)
		}
		in, err := os.Open(p)
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		} else if err != nil {
			return err
		}
		defer func() { _ = in.Close() }()
		out, err := os.Create(filepath.Join(to, rel))
		if err != nil {
			return err
		}
		_, err = io.Copy(out, in)
		return errors.Join(err, out.Close())
	})
	if err != nil {
		t.Fatal(err)
	}
}

// TestAFillGoesOnForItsReadersAndIsNotKept purges an object in the middle of
// its fill.
func TestAFillGoesOnForItsReadersAndIsNotKept(t *testing.T) {
	d := open(t, t.TempDir(), 96*mib)
	data := content("film", 3*mib)
	half, rest := make(chan struct{}), make(chan struct{})
	r, w := io.Pipe()
	go func() {
		_, _ = w.Write(data[:mib+9])
		close(half)
		<-rest
		_, _ = w.Write(data[mib+9:])
		_ = w.Close()
	}()
	o := &object.Object{ID: object.NewID(), Key: d.key("film"), Site: "site", Status: 200, Length: int64(len(data)), RequestTime: time.Now(), ResponseTime: time.Now(), Header: http.Header{}}
	o.SetMarks(d.Marker(), "/film", "")
	body, err := d.Create(t.Context(), o, source{data: data, down: true}, &fill.Stream{Body: r, To: o.Length, Total: o.Length, Proven: true})
	if err != nil {
		t.Fatal(err)
	}
	reader := body.NewReader(0, -1)
	var got bytes.Buffer
	done := make(chan error, 1)
	go func() { _, err := reader.CopyTo(t.Context(), &got); done <- err }()
	<-half
	d.purge(1, storage.PurgeSpec{Site: "site", Marks: []object.Mark{d.Marker().Prefix("site", "/film")}})
	close(rest)
	if err := <-done; err != nil || !bytes.Equal(got.Bytes(), data) {
		t.Errorf("who had it already got %d bytes, %v", got.Len(), err)
	}
	reader.Close()
	body.Release()
	d.settle()
	if d.stored("film") != nil {
		t.Error("the fill has stored it again")
	}
	if d = d.reopen(); d.stored("film") != nil {
		t.Error("it is back after a restart")
	}
}

func TestPurgesWaitForAStorage(t *testing.T) {
	d := open(t, t.TempDir(), 96*mib)
	d.marked("/a", time.Now())
	d.marked("/b", time.Now())
	var w storage.Waiting
	w.Add(storage.PurgeSpec{Site: "site", Marks: []object.Mark{d.Marker().Exact("site", "/a")}})
	if n, err := w.Apply(t.Context(), d.Storage); err != nil || n != 1 || w.Len() != 0 {
		t.Errorf("%d removed, %d wait, %v", n, w.Len(), err)
	}
	for range 5000 {
		w.Add(storage.PurgeSpec{Site: "site", Marks: []object.Mark{{1}}})
	}
	if w.Len() > 4096 {
		t.Errorf("%d wait", w.Len())
	}
	if n, err := w.Apply(t.Context(), d.Storage); err != nil || n != 1 {
		t.Errorf("%d removed, %v", n, err)
	}
}

func TestManyPurgesAreRemembered(t *testing.T) {
	d := open(t, t.TempDir(), 96*mib)
	before := time.Now()
	var specs []storage.PurgeSpec
	for i := range 30_000 {
		specs = append(specs, storage.PurgeSpec{Site: "site", Marks: []object.Mark{d.Marker().Exact("site", fmt.Sprint("/", i))}})
	}
	d.purge(0, specs[:25_000]...)
	d.purge(0, specs[25_000:]...)
	o := &object.Object{ID: object.NewID(), Key: d.key("x"), Site: "site", Status: 200, Length: 1, RequestTime: before, ResponseTime: before, Header: http.Header{}}
	o.SetMarks(d.Marker(), "/17", "")
	if _, err := d.Create(t.Context(), o, source{data: []byte("x")}, nil); !errors.Is(err, storage.ErrPurged) {
		t.Errorf("after very many purges one is forgotten: %v", err)
	}
	d = d.reopen()
	if _, err := d.Create(t.Context(), o, source{data: []byte("x")}, nil); !errors.Is(err, storage.ErrPurged) {
		t.Errorf("after a restart one is forgotten: %v", err)
	}
}

func TestPinsAreKeptAndBounded(t *testing.T) {
	t.Parallel()
	const budget = 48 * mib
	d := open(t, t.TempDir(), budget)
	for i := range 4 {
		if err := d.Pin(d.key(fmt.Sprint("pin", i)), 3*mib); err != nil {
			t.Fatal(err)
		}
	}
	if err := d.Pin(d.key("large"), budget); !errors.Is(err, storage.ErrPinsFull) {
		t.Errorf("error %v", err)
	}
	_, _, most := d.PinUsage()
	if err := d.Pin(d.key("pin0"), most); !errors.Is(err, storage.ErrPinsFull) {
		t.Errorf("error %v", err)
	}
	for i := range 4 {
		d.put(fmt.Sprint("pin", i), 3*mib)
	}
	d.settle()
	d = d.reopen()
	films := 26 // more than the budget
	if testing.Short() {
		films = 2
	}
	for i := range films { // nobody touches what is pinned
		d.put(fmt.Sprint("film", i), 3*mib)
	}
	d.settle()
	for i := range 4 {
		name := fmt.Sprint("pin", i)
		asked := 0
		o := d.stored(name)
		if o == nil {
			t.Errorf("%s is gone", name)
		} else if !d.read(o, source{data: content(name, 3*mib), asked: &asked}) || asked > 0 {
			t.Errorf("blocks of %s are gone", name)
		}
	}
	if n, bytes, _ := d.PinUsage(); n != 4 || bytes != 12*mib {
		t.Errorf("%d pins of %d bytes", n, bytes)
	}
	if err := d.Unpin(d.key("pin0")); err != nil || d.Pinned(d.key("pin0")) {
		t.Errorf("still pinned, %v", err)
	}
	d = d.reopen()
	if d.Pinned(d.key("pin0")) || !d.Pinned(d.key("pin1")) || len(d.PinnedKeys()) != 3 {
		t.Error("pins are others after a restart")
	}
}

func TestWhatIsHeldStaysForAsLong(t *testing.T) {
	t.Parallel()
	const budget = 48 * mib
	d := open(t, t.TempDir(), budget)
	_, _, most := d.PinUsage()
	hold := func(name string, n int64) storage.Holding { return storage.Holding{Key: d.key(name), Bytes: n} }
	if err := d.Pin(d.key("pinned"), 3*mib); err != nil {
		t.Fatal(err)
	}
	room := d.Room()
	if room != most-3*mib {
		t.Errorf("there is room for %d of %d", room, most)
	}
	left := d.Hold([]storage.Holding{hold("kept", 3*mib), hold("pinned", most), hold("large", most), hold("kept", most), hold("small", 1)})
	if len(left) != 1 || left[0].Key != d.key("large") || d.Room() != room-3*mib-1 {
		t.Errorf("no room for %v; %d of %d is left", left, d.Room(), room)
	}
	if err := d.Pin(d.key("more"), d.Room()+1); !errors.Is(err, storage.ErrPinsFull) {
		t.Errorf("what is held leaves pins all room: %v", err)
	}
	if d.Pinned(d.key("kept")) || len(d.PinnedKeys()) != 1 {
		t.Error("what is held is pinned")
	}
	d.put("kept", 3*mib)
	d.settle()
	if !testing.Short() {
		for i := range 26 { // more than the budget
			d.put(fmt.Sprint("film", i), 3*mib)
		}
		d.settle()
		asked := 0
		if o := d.stored("kept"); o == nil || !d.read(o, source{data: content("kept", 3*mib), asked: &asked}) || asked > 0 {
			t.Error("what is held is gone")
		}
	}
	if d.Hold(nil); d.Room() != room {
		t.Errorf("there is room for %d of %d", d.Room(), room)
	}
	if err := d.Unpin(d.key("pinned")); err != nil || d.Room() != most {
		t.Errorf("%d of %d, %v", d.Room(), most, err)
	}
}

func FuzzLedger(f *testing.F) {
	dir := f.TempDir()
	s, err := storage.Open(storage.DefaultConfig(dir, 96*mib), slog.New(slog.DiscardHandler), prometheus.NewRegistry())
	if err != nil {
		f.Fatal(err)
	}
	if _, err := s.Purge(f.Context(), []storage.PurgeSpec{{Site: "site", Marks: []object.Mark{{1}, {2}}}}); err != nil {
		f.Fatal(err)
	}
	if err := s.Close(); err != nil {
		f.Fatal(err)
	}
	b, err := os.ReadFile(filepath.Join(dir, "purges"))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(b)
	f.Add(b[:len(b)-3])
	f.Fuzz(func(t *testing.T, b []byte) {
		if n := storage.ReadLedger(bytes.NewReader(b)); n > len(b)/12 {
			t.Errorf("%d entries in %d bytes", n, len(b))
		}
	})
}
