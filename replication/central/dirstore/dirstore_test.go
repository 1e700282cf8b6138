package dirstore_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"preau/replication/central/dirstore"
	"preau/replication/central/store"
	"preau/replication/central/storetest"
)

const bucket = "books"

func TestMain(m *testing.M) {
	if dir := os.Getenv(childDir); dir != "" {
		os.Exit(child(dir))
	}
	goleak.VerifyTestMain(m)
}

func open(tb testing.TB, dir string) *dirstore.Store {
	tb.Helper()
	s, err := dirstore.Open(dir, slog.New(slog.DiscardHandler))
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { closed(tb, s) })
	return s
}

func closed(tb testing.TB, s *dirstore.Store) {
	tb.Helper()
	if err := s.Close(); err != nil {
		tb.Error(err)
	}
}

func withBucket(tb testing.TB, dir string) *dirstore.Store {
	tb.Helper()
	s := open(tb, dir)
	if err := s.MakeBucket(tb.Context(), bucket); err != nil {
		tb.Fatal(err)
	}
	return s
}

func put(ctx context.Context, s store.Store, key string, p []byte, c store.Condition) error {
	_, err := s.Put(ctx, bucket, key, bytes.NewReader(p), int64(len(p)), store.Options{Meta: map[string]string{"a": "b"}}, c)
	return err
}

func get(ctx context.Context, s store.Store, key string) ([]byte, store.Info, error) {
	body, info, err := s.Get(ctx, bucket, key, 0, -1, "")
	if err != nil {
		return nil, info, err
	}
	p, err := io.ReadAll(body)
	return p, info, errors.Join(err, body.Close())
}

func TestDirstore(t *testing.T) {
	storetest.Run(t, func(t *testing.T) store.Store {
		t.Helper()
		return open(t, filepath.Join(t.TempDir(), "s"))
	})
}

func TestObjectsOutliveARestart(t *testing.T) {
	dir := t.TempDir()
	s := withBucket(t, dir)
	var keys []string
	for i, key := range storetest.Keys() {
		if err := put(t.Context(), s, key, storetest.Bytes(uint64(i), i*1000), store.Condition{}); err != nil {
			t.Fatal(err)
		}
		keys = append(keys, key)
	}
	before, err := s.List(t.Context(), bucket, "", "", store.MaxPage)
	if err != nil {
		t.Fatal(err)
	}
	closed(t, s)
	if err := s.Ready(t.Context(), bucket); !errors.Is(err, store.ErrUnavailable) {
		t.Errorf("Ready of a closed store: %v, want ErrUnavailable", err)
	}
	s = open(t, dir)
	after, err := s.List(t.Context(), bucket, "", "", store.MaxPage)
	if err != nil || !slices.EqualFunc(before.Objects, after.Objects, func(a, b store.Info) bool {
		return a.Key == b.Key && a.ETag == b.ETag && a.Size == b.Size && a.Modified.Equal(b.Modified)
	}) {
		t.Errorf("listed after a restart: %+v, %v, before: %+v", after, err, before)
	}
	for i, key := range keys {
		p, info, err := get(t.Context(), s, key)
		if err != nil || !bytes.Equal(p, storetest.Bytes(uint64(i), i*1000)) || info.Meta["a"] != "b" {
			t.Errorf("%q after a restart: %d bytes, %+v, %v", key, len(p), info, err)
		}
	}
	// No key made a path of its own.
	err = filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() && strings.Contains(path, "buckets") && len(d.Name()) != 64 {
			t.Errorf("a file named %q", path)
		}
		return err
	})
	if err != nil {
		t.Error(err)
	}
}

func TestUploadsOutliveARestart(t *testing.T) {
	dir := t.TempDir()
	s := withBucket(t, dir)
	id, err := s.Begin(t.Context(), bucket, "k", store.Options{ContentType: "text/x"})
	if err != nil {
		t.Fatal(err)
	}
	p := storetest.Bytes(1, 1000)
	one, err := s.PutPart(t.Context(), bucket, "k", id, 1, bytes.NewReader(p), 1000)
	if err != nil {
		t.Fatal(err)
	}
	closed(t, s)
	s = open(t, dir)
	parts, err := s.Parts(t.Context(), bucket, "k", id)
	if err != nil || !slices.Equal(parts, []store.Part{one}) {
		t.Fatalf("parts after a restart: %+v, %v", parts, err)
	}
	if _, err := s.Complete(t.Context(), bucket, "k", id, parts); err != nil {
		t.Fatal(err)
	}
	closed(t, s)
	s = open(t, dir)
	if got, info, err := get(t.Context(), s, "k"); err != nil || !bytes.Equal(got, p) || info.ContentType != "text/x" {
		t.Errorf("after both: %d bytes, %+v, %v", len(got), info, err)
	}
	if _, err := s.Complete(t.Context(), bucket, "k", id, parts); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("Complete after it was completed and restarted: %v, want ErrNotFound", err)
	}
	if left, err := os.ReadDir(filepath.Join(dir, "uploads")); err != nil || len(left) != 0 {
		t.Errorf("left of the upload: %v, %v", left, err)
	}
}

// A crash between making the object and removing the upload must not have it made
// a second time, over what came later.
func TestAnUploadThatWasCompletedIsNotCompletedAfterACrash(t *testing.T) {
	dir := t.TempDir()
	s := withBucket(t, dir)
	id, err := s.Begin(t.Context(), bucket, "k", store.Options{})
	if err != nil {
		t.Fatal(err)
	}
	one, err := s.PutPart(t.Context(), bucket, "k", id, 1, strings.NewReader("x"), 1)
	if err != nil {
		t.Fatal(err)
	}
	kept := t.TempDir()
	if err := os.CopyFS(kept, os.DirFS(filepath.Join(dir, "uploads"))); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Complete(t.Context(), bucket, "k", id, []store.Part{one}); err != nil {
		t.Fatal(err)
	}
	closed(t, s)
	if err := os.CopyFS(filepath.Join(dir, "uploads"), os.DirFS(kept)); err != nil {
		t.Fatal(err)
	}
	s = open(t, dir)
	if _, err := s.Complete(t.Context(), bucket, "k", id, []store.Part{one}); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("Complete after the crash: %v, want ErrNotFound", err)
	}
}

func TestUploadsLeftLyingAreRemoved(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		s := withBucket(t, dir)
		begin := func() string {
			id, err := s.Begin(t.Context(), bucket, "k", store.Options{})
			if err != nil {
				t.Fatal(err)
			}
			return id
		}
		left, used := begin(), begin()
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error)
		go func() { done <- s.Run(ctx) }()
		<-time.After(6 * 24 * time.Hour)
		if _, err := s.PutPart(ctx, bucket, "k", used, 1, strings.NewReader("x"), 1); err != nil {
			t.Errorf("PutPart after six days: %v", err)
		}
		<-time.After(25*time.Hour + time.Minute)
		if _, err := s.Parts(ctx, bucket, "k", left); !errors.Is(err, store.ErrNotFound) {
			t.Errorf("an upload left for a week: %v, want ErrNotFound", err)
		}
		if parts, err := s.Parts(ctx, bucket, "k", used); err != nil || len(parts) != 1 {
			t.Errorf("an upload used yesterday: %v, %v", parts, err)
		}
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Run: %v", err)
		}
		if names, err := os.ReadDir(filepath.Join(dir, "uploads")); err != nil || len(names) != 1 {
			t.Errorf("folders of uploads: %v, %v, want one", names, err)
		}
	})
}

func TestOneAtATime(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir)
	_, err := dirstore.Open(dir, slog.New(slog.DiscardHandler))
	if !errors.Is(err, store.ErrUnavailable) || !strings.Contains(err.Error(), "another process") {
		t.Errorf("Open of a folder that is open: %v, want ErrUnavailable and why", err)
	}
	closed(t, s)
	open(t, dir)
}

func TestOtherFoldersAreRefused(t *testing.T) {
	for what, name := range map[string]string{"a stranger's file": "thesis.odt", "another format": "format"} {
		dir := t.TempDir()
		if err := os.WriteFile(filepath.Join(dir, name), []byte("something else\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := dirstore.Open(dir, slog.New(slog.DiscardHandler)); err == nil {
			t.Errorf("a folder with %s: no error", what)
		}
		if text, err := os.ReadFile(filepath.Join(dir, name)); err != nil || string(text) != "something else\n" {
			t.Errorf("a folder with %s was changed: %q, %v", what, text, err)
		}
	}
	// A format that a crash cut short is written again.
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "format"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	open(t, dir)
}

// files lists the objects' files.
func files(tb testing.TB, dir string) []string {
	tb.Helper()
	all, err := filepath.Glob(filepath.Join(dir, "buckets", bucket, "*", "*"))
	if err != nil {
		tb.Fatal(err)
	}
	return all
}

// Whatever is changed in a file, nobody gets other bytes than were put.
func TestDamageIsNoticed(t *testing.T) {
	dir := t.TempDir()
	s := withBucket(t, dir)
	p := storetest.Bytes(1, 300_000)
	if err := put(t.Context(), s, "k", p, store.Condition{}); err != nil {
		t.Fatal(err)
	}
	path := files(t, dir)[0]
	good, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	damaged := func(what string, bad []byte) {
		t.Helper()
		if err := os.WriteFile(path, bad, 0o600); err != nil {
			t.Fatal(err)
		}
		got, _, err := get(t.Context(), s, "k")
		if !bytes.HasPrefix(p, got) {
			t.Errorf("%s: wrong bytes", what)
		}
		if !errors.Is(err, dirstore.ErrDamaged) || !errors.Is(err, store.ErrUnavailable) {
			t.Errorf("%s: %v, want ErrDamaged", what, err)
		}
	}
	for _, at := range []int{0, 1, 262_143, 262_144, 299_999, 300_000, 300_050, len(good) - 24, len(good) - 20, len(good) - 16, len(good) - 9, len(good) - 1} {
		bad := bytes.Clone(good)
		bad[at] ^= 0x10
		damaged(fmt.Sprintf("a bit of byte %d", at), bad)
	}
	for _, n := range []int{0, 1, 10, 24, 262_144, 300_000, len(good) - 1} {
		damaged(fmt.Sprintf("cut to %d bytes", n), good[:n])
	}
	damaged("longer", append(bytes.Clone(good), 0))
	damaged("longer in front", append([]byte{0}, good...))

	// After a restart it is still damaged, and not simply absent.
	closed(t, s)
	s = open(t, dir)
	damaged("after a restart", good[:10])
	closed(t, s)
	s = open(t, dir)
	if _, err := s.Head(t.Context(), bucket, "k"); !errors.Is(err, dirstore.ErrDamaged) {
		t.Errorf("Head after a restart: %v, want ErrDamaged", err)
	}
	if err := put(t.Context(), s, "k", p, store.Condition{Absent: true}); !errors.Is(err, dirstore.ErrDamaged) {
		t.Errorf("a conditional Put: %v, want ErrDamaged", err)
	}
	if err := put(t.Context(), s, "k", p, store.Condition{}); err != nil {
		t.Errorf("Put over it: %v", err)
	}
	if got, _, err := get(t.Context(), s, "k"); err != nil || !bytes.Equal(got, p) {
		t.Errorf("after it was put again: %d bytes, %v", len(got), err)
	}
	// Another object's file in its place.
	if err := put(t.Context(), s, "other", []byte("other"), store.Condition{}); err != nil {
		t.Fatal(err)
	}
	for _, f := range files(t, dir) {
		if f != path {
			text, err := os.ReadFile(f)
			if err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(path, text, 0o600); err != nil {
				t.Fatal(err)
			}
		}
	}
	if _, err := s.Head(t.Context(), bucket, "k"); !errors.Is(err, dirstore.ErrDamaged) {
		t.Errorf("another's file in its place: %v, want ErrDamaged", err)
	}
	if err := s.Delete(t.Context(), bucket, "k"); err != nil {
		t.Errorf("Delete of a damaged object: %v", err)
	}
	if _, err := s.Head(t.Context(), bucket, "k"); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("after it was deleted: %v, want ErrNotFound", err)
	}
}

func TestADamagedPartIsNotMadeAnObject(t *testing.T) {
	dir := t.TempDir()
	s := withBucket(t, dir)
	id, err := s.Begin(t.Context(), bucket, "k", store.Options{})
	if err != nil {
		t.Fatal(err)
	}
	one, err := s.PutPart(t.Context(), bucket, "k", id, 1, strings.NewReader("bytes"), 5)
	if err != nil {
		t.Fatal(err)
	}
	f, err := os.OpenFile(filepath.Join(dir, "uploads", id, "part-00001"), os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.WriteAt([]byte("B"), 0); err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Complete(t.Context(), bucket, "k", id, []store.Part{one}); !errors.Is(err, dirstore.ErrDamaged) {
		t.Errorf("Complete: %v, want ErrDamaged", err)
	}
	if _, err := s.Head(t.Context(), bucket, "k"); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("Head after it: %v, want ErrNotFound", err)
	}
	if left, err := os.ReadDir(filepath.Join(dir, "tmp")); err != nil || len(left) != 0 {
		t.Errorf("left in tmp: %v, %v", left, err)
	}
}

func FuzzOpenDamaged(f *testing.F) {
	f.Add(0, []byte{1})
	f.Add(20, []byte("\x00\x00\x00\x00"))
	f.Fuzz(func(t *testing.T, back int, over []byte) {
		dir := t.TempDir()
		s := withBucket(t, dir)
		p := []byte("what was put")
		if err := put(t.Context(), s, "k", p, store.Condition{}); err != nil {
			t.Fatal(err)
		}
		path := files(t, dir)[0]
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if back < 0 || back > len(text) {
			return
		}
		if err := os.WriteFile(path, append(text[:len(text)-back], over...), 0o600); err != nil {
			t.Fatal(err)
		}
		closed(t, s)
		s = open(t, dir)
		switch got, _, err := get(t.Context(), s, "k"); {
		case err == nil && !bytes.Equal(got, p):
			t.Errorf("wrong bytes: %q", got)
		case err != nil && !errors.Is(err, dirstore.ErrDamaged):
			t.Errorf("%v, want ErrDamaged", err)
		}
	})
}

// BenchmarkOpen measures what a folder of 20,000 objects costs.
func BenchmarkOpen(b *testing.B) {
	const n = 20_000
	dir := b.TempDir()
	s := withBucket(b, dir)
	var writers sync.WaitGroup
	for w := range 16 {
		writers.Go(func() {
			for i := w; i < n; i += 16 {
				if err := put(b.Context(), s, fmt.Sprintf("school/%05d/deposit-%d.pdf", i%3000, i), []byte("x"), store.Condition{}); err != nil {
					b.Error(err)
					return
				}
			}
		})
	}
	writers.Wait()
	closed(b, s)
	b.ReportAllocs()
	for b.Loop() {
		var before, after runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&before)
		s := open(b, dir)
		runtime.GC()
		runtime.ReadMemStats(&after)
		b.ReportMetric(float64(after.HeapAlloc-before.HeapAlloc)/n, "heap_bytes/object")
		began := time.Now()
		for after := ""; ; {
			page, err := s.List(b.Context(), bucket, "", after, store.MaxPage)
			if err != nil {
				b.Fatal(err)
			}
			if after = page.Next; after == "" {
				break
			}
		}
		b.ReportMetric(float64(time.Since(began).Milliseconds()), "list_all_ms")
		closed(b, s)
	}
}
