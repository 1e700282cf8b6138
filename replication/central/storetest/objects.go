package storetest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"preau/replication/central/store"
)

func putAndGet(t *testing.T, s shop) {
	for _, n := range []int{0, 1, 2, 4095, 4096, 256<<10 - 1, 256 << 10, 256<<10 + 1, 1<<20 + 17} {
		key := fmt.Sprintf("size/%d", n)
		o := store.Options{ContentType: "application/x-test", Meta: map[string]string{"title": "a size", "n": fmt.Sprint(n)}}
		p := Bytes(uint64(n), n)
		s.put(t, key, p, o)
		head := s.has(t, key, p)
		if head.ETag != ETag(p) || head.ContentType != o.ContentType || !cmp.Equal(head.Meta, o.Meta) {
			t.Errorf("Head %q = %+v, want ETag %s and %+v", key, head, ETag(p), o)
		}
		if _, info := s.get(t, key, 0, 0); !cmp.Equal(info.Meta, o.Meta) || info.ContentType != o.ContentType {
			t.Errorf("Get %q says %+v, want %+v", key, info, o)
		}
	}
}

func overwritten(t *testing.T, s shop) {
	s.put(t, "k", Bytes(1, 100_000), store.Options{ContentType: "text/a", Meta: map[string]string{"a": "1"}})
	s.put(t, "k", Bytes(2, 10), store.Options{ContentType: "text/b", Meta: map[string]string{"b": "2"}})
	head := s.has(t, "k", Bytes(2, 10))
	if head.ContentType != "text/b" || !cmp.Equal(head.Meta, map[string]string{"b": "2"}) {
		t.Errorf("Head = %+v: metadata of the first version is left", head)
	}
	if all := s.list(t, ""); len(all) != 1 || all[0].ETag != ETag(Bytes(2, 10)) || all[0].Size != 10 {
		t.Errorf("listed are %+v, want the new version alone", all)
	}
}

func deleted(t *testing.T, s shop) {
	s.put(t, "k", Bytes(1, 10), store.Options{})
	s.put(t, "k2", Bytes(2, 10), store.Options{})
	for range 2 {
		if err := s.Delete(t.Context(), s.bucket, "k"); err != nil {
			t.Errorf("Delete: %v", err)
		}
		s.gone(t, "k")
	}
	s.has(t, "k2", Bytes(2, 10))
	s.put(t, "k", Bytes(3, 10), store.Options{})
	s.has(t, "k", Bytes(3, 10))
}

func absent(t *testing.T, s shop) {
	ctx, none := t.Context(), "no-"+s.bucket
	_, err := s.Head(ctx, s.bucket, "none")
	wants(t, "Head of no object", err, store.ErrNotFound)
	_, _, err = s.Get(ctx, s.bucket, "none", 0, -1, "")
	wants(t, "Get of no object", err, store.ErrNotFound)
	_, _, err = s.Get(ctx, s.bucket, "none", 5, 0, "")
	wants(t, "Get of nothing of no object", err, store.ErrNotFound)
	_, err = s.Head(ctx, none, "k")
	wants(t, "Head in no bucket", err, store.ErrNotFound)
	_, _, err = s.Get(ctx, none, "k", 0, -1, "")
	wants(t, "Get in no bucket", err, store.ErrNotFound)
	_, err = s.Put(ctx, none, "k", strings.NewReader("x"), 1, store.Options{}, store.Condition{})
	wants(t, "Put in no bucket", err, store.ErrNotFound)
	_, err = s.List(ctx, none, "", "", 1)
	wants(t, "List of no bucket", err, store.ErrNotFound)
	_, err = s.Begin(ctx, none, "k", store.Options{})
	wants(t, "Begin in no bucket", err, store.ErrNotFound)
	wants(t, "Delete in no bucket", s.Delete(ctx, none, "k"), store.ErrNotFound)
	wants(t, "Ready of no bucket", s.Ready(ctx, none), store.ErrNotFound)
	if err := s.Ready(ctx, s.bucket); err != nil {
		t.Errorf("Ready: %v", err)
	}
}

func invalid(t *testing.T, s shop) {
	ctx := t.Context()
	put := func(bucket, key string, size int64, o store.Options, c store.Condition) error {
		_, err := s.Put(ctx, bucket, key, strings.NewReader("x"), size, o, c)
		return err
	}
	meta := func(name, value string) store.Options {
		return store.Options{Meta: map[string]string{name: value}}
	}
	for what, err := range map[string]error{
		"key of spaces":         put(s.bucket, "  ", 1, store.Options{}, store.Condition{}),
		"metadata like a word":  put(s.bucket, "k", 1, meta("t", "=?utf-8?q?=41?="), store.Condition{}),
		"empty key":             put(s.bucket, "", 1, store.Options{}, store.Condition{}),
		"key too long":          put(s.bucket, strings.Repeat("k", store.MaxKey+1), 1, store.Options{}, store.Condition{}),
		"key not UTF-8":         put(s.bucket, "a\xffb", 1, store.Options{}, store.Condition{}),
		"key with a newline":    put(s.bucket, "a\nb", 1, store.Options{}, store.Condition{}),
		"negative size":         put(s.bucket, "k", -1, store.Options{}, store.Condition{}),
		"bucket with a /":       put("../"+s.bucket, "k", 1, store.Options{}, store.Condition{}),
		"empty bucket":          put("", "k", 1, store.Options{}, store.Condition{}),
		"bucket of dots":        put("...", "k", 1, store.Options{}, store.Condition{}),
		"metadata in capitals":  put(s.bucket, "k", 1, meta("Title", "x"), store.Condition{}),
		"metadata with é":       put(s.bucket, "k", 1, meta("é", "x"), store.Condition{}),
		"metadata with newline": put(s.bucket, "k", 1, meta("t", "a\r\nb"), store.Condition{}),
		"metadata too long":     put(s.bucket, "k", 1, meta("t", strings.Repeat("x", store.MaxMeta)), store.Condition{}),
		"type with newline":     put(s.bucket, "k", 1, store.Options{ContentType: "a\nb"}, store.Condition{}),
		"absent with an ETag":   put(s.bucket, "k", 1, store.Options{}, store.Condition{Absent: true, ETag: ETag(nil)}),
		"an ETag with quotes":   put(s.bucket, "k", 1, store.Options{}, store.Condition{ETag: `"` + ETag(nil) + `"`}),
	} {
		wants(t, "Put with "+what, err, store.ErrInvalid)
	}
	for _, limit := range []int{-1, 0, store.MaxPage + 1} {
		_, err := s.List(ctx, s.bucket, "", "", limit)
		wants(t, fmt.Sprintf("List with limit %d", limit), err, store.ErrInvalid)
	}
	_, err := s.Begin(ctx, s.bucket, "", store.Options{})
	wants(t, "Begin of an empty key", err, store.ErrInvalid)
	wants(t, "Delete of an empty key", s.Delete(ctx, s.bucket, ""), store.ErrInvalid)
	wants(t, "MakeBucket with a slash", s.MakeBucket(ctx, "a/b/c"), store.ErrInvalid)
	if all := s.list(t, ""); len(all) != 0 {
		t.Errorf("refused, and there all the same: %+v", all)
	}
}

// Keys is keys that stores are known to trip over, in the order of their bytes.
func Keys() []string {
	return []string{
		" leading", "!", "#hash?query=1&a%20b", "%2e%2e/%2f", "+plus+and space",
		"..", "../../etc/passwd", ".hidden", "//two", "/absolute", "<xml>&amp;\"'",
		"A", "Zebra", "\\back\\slash", "a", "a/", "a//b", "a/b", "a/b/../c", "a/b/./d", "ab",
		"con", "e\u0301te\u0301", strings.Repeat("long/", 204) + "long", "tilde~", "trailing ", "z",
		"\u00e9t\u00e9", "\u0440\u0443\u0441", "\u2028x", "\u4e2d\u6587", "\uff21", "\U0001f600",
	}
}

func oddKeys(t *testing.T, s shop) {
	keys := Keys()
	for i, key := range keys {
		s.put(t, key, Bytes(uint64(i), 100+i), store.Options{})
	}
	for i, key := range keys {
		s.has(t, key, Bytes(uint64(i), 100+i))
	}
	var listed []string
	for _, o := range s.list(t, "") {
		listed = append(listed, o.Key)
	}
	if diff := cmp.Diff(keys, listed); diff != "" {
		t.Errorf("keys listed (-want +got):\n%s", diff)
	}
	for i, key := range keys {
		page, err := s.List(t.Context(), s.bucket, "", key, 1)
		switch {
		case err != nil:
			t.Errorf("List after %q: %v", key, err)
		case i == len(keys)-1 && len(page.Objects) != 0, i < len(keys)-1 && (len(page.Objects) != 1 || page.Objects[0].Key != keys[i+1]):
			t.Errorf("List after %q = %+v", key, page.Objects)
		}
	}
	for _, key := range keys {
		if err := s.Delete(t.Context(), s.bucket, key); err != nil {
			t.Errorf("Delete %q: %v", key, err)
		}
	}
	if all := s.list(t, ""); len(all) != 0 {
		t.Errorf("left after all were deleted: %+v", all)
	}
}

func oddMeta(t *testing.T, s shop) {
	o := store.Options{ContentType: "text/plain; charset=utf-8", Meta: map[string]string{
		"plain": "a title", "accents": "L'été à l'école", "nbsp": "Quoi\u00a0?", "two": "two  spaces",
		"edges": "  at both ends ", "empty": "", "cjk": "中文", "emoji": "😀",
		"quote": `"quoted", with; signs=`, "a-b-9": "x", "long": strings.Repeat("é", 200),
	}}
	s.put(t, "k", []byte("x"), o)
	head := s.has(t, "k", []byte("x"))
	if diff := cmp.Diff(o.Meta, head.Meta); diff != "" {
		t.Errorf("metadata after Put (-want +got):\n%s", diff)
	}
	id, err := s.Begin(t.Context(), s.bucket, "parts", o)
	if err != nil {
		t.Fatalf("Begin: %v", err)
	}
	p := s.part(t, "parts", id, 1, []byte("y"))
	if _, err := s.Complete(t.Context(), s.bucket, "parts", id, []store.Part{p}); err != nil {
		t.Fatalf("Complete: %v", err)
	}
	head = s.has(t, "parts", []byte("y"))
	if diff := cmp.Diff(o.Meta, head.Meta); diff != "" || head.ContentType != o.ContentType {
		t.Errorf("type %q; metadata after Complete (-want +got):\n%s", head.ContentType, diff)
	}
}

func ranges(t *testing.T, s shop) {
	const size = 300_000
	p := Bytes(7, size)
	s.put(t, "k", p, store.Options{ContentType: "text/x", Meta: map[string]string{"a": "b"}})
	s.put(t, "empty", nil, store.Options{})
	edges := []int64{0, 1, 256<<10 - 1, 256 << 10, 256<<10 + 1, size - 1, size}
	for _, off := range edges {
		for _, length := range []int64{-1, 0, 1, 256 << 10, size, 1<<63 - 1} {
			got, info := s.get(t, "k", off, length)
			want := p[off:]
			if length >= 0 && length < int64(len(want)) {
				want = want[:length]
			}
			if !bytes.Equal(got, want) {
				t.Errorf("Get from %d, %d bytes: %d bytes, want %d, or other ones", off, length, len(got), len(want))
			}
			if info.Size != size || info.ETag != ETag(p) || info.ContentType != "text/x" || info.Meta["a"] != "b" {
				t.Errorf("Get from %d, %d bytes says %+v", off, length, info)
			}
		}
	}
	for _, length := range []int64{-1, 0, 1} {
		if got, info := s.get(t, "empty", 0, length); len(got) != 0 || info.Size != 0 {
			t.Errorf("Get of the empty object, %d bytes: %d bytes, %+v", length, len(got), info)
		}
	}
	for _, tt := range []struct {
		key         string
		off, length int64
	}{{"k", size + 1, -1}, {"k", size + 1, 0}, {"k", size + 1, 10}, {"k", 1 << 50, 1}, {"k", -1, 1}, {"empty", 1, -1}, {"empty", 1, 0}} {
		_, _, err := s.Get(t.Context(), s.bucket, tt.key, tt.off, tt.length, "")
		wants(t, fmt.Sprintf("Get %q from %d, %d bytes", tt.key, tt.off, tt.length), err, store.ErrInvalid)
	}
}

func wrongSizes(t *testing.T, s shop) {
	p := Bytes(3, 700_000)
	for _, announced := range []int{0, 1, len(p) - 1, len(p) + 1, 2 * len(p)} {
		for what, body := range map[string]io.Reader{
			"a seeker": bytes.NewReader(p), "a stream": io.MultiReader(bytes.NewReader(p[:1000]), bytes.NewReader(p[1000:])),
		} {
			_, err := s.Put(t.Context(), s.bucket, "k", body, int64(announced), store.Options{}, store.Condition{})
			wants(t, fmt.Sprintf("Put of %s of %d bytes as %d", what, len(p), announced), err, store.ErrInvalid)
			s.gone(t, "k")
		}
	}
	s.put(t, "k", p, store.Options{})
	_, err := s.Put(t.Context(), s.bucket, "k", strings.NewReader("ab"), 3, store.Options{}, store.Condition{})
	wants(t, "Put over an object, too short", err, store.ErrInvalid)
	s.has(t, "k", p)
	// A body that stands where its bytes begin is read from there.
	r := bytes.NewReader(p)
	if _, err := r.Seek(1000, io.SeekStart); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Put(t.Context(), s.bucket, "k", r, int64(len(p)-1000), store.Options{}, store.Condition{}); err != nil {
		t.Errorf("Put of a body from its middle on: %v", err)
	}
	s.has(t, "k", p[1000:])
}

var errBody = errors.New("this body breaks")

func failingBody(t *testing.T, s shop) {
	p := Bytes(4, 500_000)
	for _, good := range []int{0, 1, 400_000, len(p) - 1, len(p)} {
		body := io.MultiReader(bytes.NewReader(p[:good]), broken{})
		_, err := s.Put(t.Context(), s.bucket, "k", body, int64(len(p)), store.Options{}, store.Condition{})
		wants(t, fmt.Sprintf("Put of a body that breaks after %d bytes", good), err, errBody)
		s.gone(t, "k")
	}
}

type broken struct{}

func (broken) Read([]byte) (int, error) { return 0, errBody }

func otherETag(t *testing.T, s shop) {
	p := Bytes(1, 5000)
	s.put(t, "k", p, store.Options{})
	for _, off := range []int64{0, 10, 5000} {
		for _, length := range []int64{-1, 0, 10} {
			_, _, err := s.Get(t.Context(), s.bucket, "k", off, length, ETag([]byte("other")))
			wants(t, fmt.Sprintf("Get of another version from %d, %d bytes", off, length), err, store.ErrChanged)
			body, _, err := s.Get(t.Context(), s.bucket, "k", off, length, ETag(p))
			if err != nil {
				t.Errorf("Get of the right version from %d, %d bytes: %v", off, length, err)
				continue
			}
			if err := body.Close(); err != nil {
				t.Errorf("close: %v", err)
			}
		}
	}
	_, _, err := s.Get(t.Context(), s.bucket, "none", 0, -1, ETag(p))
	wants(t, "Get of no object with an ETag", err, store.ErrNotFound)
}

// A body is of one version: what happens to the object meanwhile may break it off
// but not mix it.
func keepsVersion(t *testing.T, s shop) {
	n := 4 << 20
	if testing.Short() {
		n = 1 << 20
	}
	p := Bytes(1, n)
	s.put(t, "k", p, store.Options{})
	body, _, err := s.Get(t.Context(), s.bucket, "k", 0, -1, "")
	if err != nil {
		t.Fatal(err)
	}
	defer body.Close()
	first := make([]byte, 1000)
	if _, err := io.ReadFull(body, first); err != nil {
		t.Fatal(err)
	}
	s.put(t, "k", Bytes(2, n), store.Options{})
	rest, err := io.ReadAll(body)
	if got := append(first, rest...); !bytes.Equal(got, p[:len(got)]) {
		t.Error("a body has bytes of two versions")
	} else if err == nil && len(got) != len(p) {
		t.Errorf("a body ends after %d bytes of %d without an error", len(got), len(p))
	}
}

func endedContext(t *testing.T, s shop) {
	s.put(t, "k", []byte("x"), store.Options{})
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := s.Put(ctx, s.bucket, "new", strings.NewReader("x"), 1, store.Options{}, store.Condition{})
	wants(t, "Put", err, context.Canceled)
	_, err = s.Head(ctx, s.bucket, "k")
	wants(t, "Head", err, context.Canceled)
	_, _, err = s.Get(ctx, s.bucket, "k", 0, -1, "")
	wants(t, "Get", err, context.Canceled)
	wants(t, "Delete", s.Delete(ctx, s.bucket, "k"), context.Canceled)
	_, err = s.List(ctx, s.bucket, "", "", 1)
	wants(t, "List", err, context.Canceled)
	_, err = s.Begin(ctx, s.bucket, "new", store.Options{})
	wants(t, "Begin", err, context.Canceled)
	wants(t, "MakeBucket", s.MakeBucket(ctx, s.bucket), context.Canceled)
	wants(t, "Ready", s.Ready(ctx, s.bucket), context.Canceled)
	s.gone(t, "new")
	s.has(t, "k", []byte("x"))
}

func cancelledMidway(t *testing.T, s shop) {
	size := 8 << 20
	if testing.Short() {
		size = 2 << 20
	}
	ctx, cancel := context.WithCancel(t.Context())
	body := io.MultiReader(bytes.NewReader(Bytes(1, size/2)), after(cancel), bytes.NewReader(Bytes(2, size/2)))
	_, err := s.Put(ctx, s.bucket, "k", body, int64(size), store.Options{}, store.Condition{})
	wants(t, "Put whose context ends in the middle", err, context.Canceled)
	s.gone(t, "k")

	s.put(t, "k", Bytes(3, size), store.Options{})
	ctx, cancel = context.WithTimeout(t.Context(), time.Hour)
	defer cancel()
	got, _, err := s.Get(ctx, s.bucket, "k", 0, -1, "")
	if err != nil {
		t.Fatal(err)
	}
	defer got.Close()
	if _, err := io.ReadFull(got, make([]byte, 1000)); err != nil {
		t.Fatal(err)
	}
	cancel()
	if n, err := io.Copy(io.Discard, got); err == nil {
		t.Errorf("a body gave all its %d bytes after its context had ended", n)
	} else {
		wants(t, "a body whose context ends", err, context.Canceled)
	}
}

// after is a body of no bytes that calls f when it is reached.
func after(f func()) io.Reader { return &calls{f: f} }

type calls struct{ f func() }

func (c *calls) Read([]byte) (int, error) {
	c.f()
	return 0, io.EOF
}

func concurrent(t *testing.T, s shop) {
	var all sync.WaitGroup
	for w := range 8 {
		all.Go(func() {
			for i := range 6 {
				key := fmt.Sprintf("w%d/%d", w, i)
				p := Bytes(uint64(w*100+i), 3000+i)
				if _, err := s.Put(t.Context(), s.bucket, key, bytes.NewReader(p), int64(len(p)), store.Options{}, store.Condition{}); err != nil {
					t.Errorf("Put %q: %v", key, err)
					return
				}
				body, _, err := s.Get(t.Context(), s.bucket, key, 10, 2000, "")
				if err != nil {
					t.Errorf("Get %q: %v", key, err)
					return
				}
				got, err := io.ReadAll(body)
				if err != nil || !bytes.Equal(got, p[10:2010]) {
					t.Errorf("Get %q: %d bytes, %v, or other ones", key, len(got), err)
				}
				if err := body.Close(); err != nil {
					t.Errorf("close %q: %v", key, err)
				}
				if i%2 == 1 {
					if err := s.Delete(t.Context(), s.bucket, key); err != nil {
						t.Errorf("Delete %q: %v", key, err)
					}
				}
				if _, err := s.List(t.Context(), s.bucket, fmt.Sprintf("w%d/", w), "", 10); err != nil {
					t.Errorf("List: %v", err)
				}
			}
		})
	}
	all.Wait()
	if n := len(s.list(t, "")); n != 24 {
		t.Errorf("%d objects at the end, want 24", n)
	}
}

func bucketTwice(t *testing.T, s shop) {
	s.put(t, "k", []byte("x"), store.Options{})
	if err := s.MakeBucket(t.Context(), s.bucket); err != nil {
		t.Errorf("MakeBucket of a bucket that is there: %v", err)
	}
	s.has(t, "k", []byte("x"))
}
