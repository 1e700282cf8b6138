package storetest

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"preau/replication/central/store"
)

func (s shop) begin(t *testing.T, key string) string {
	t.Helper()
	id, err := s.Begin(t.Context(), s.bucket, key, store.Options{ContentType: "text/parts", Meta: map[string]string{"p": "1"}})
	if err != nil {
		t.Fatalf("Begin %q: %v", key, err)
	}
	if id == "" {
		t.Fatalf("Begin %q: an upload without a name", key)
	}
	return id
}

func (s shop) part(t *testing.T, key, id string, number int, p []byte) store.Part {
	t.Helper()
	// A reader of nothing but Read, as bodies from a network are.
	got, err := s.PutPart(t.Context(), s.bucket, key, id, number, io.MultiReader(bytes.NewReader(p)), int64(len(p)))
	if err != nil {
		t.Fatalf("PutPart %d of %q: %v", number, key, err)
	}
	if want := (store.Part{Number: number, ETag: ETag(p), Size: int64(len(p))}); got != want {
		t.Fatalf("PutPart %d of %q = %+v, want %+v", number, key, got, want)
	}
	return got
}

func (s shop) complete(t *testing.T, key, id string, parts ...store.Part) store.Info {
	t.Helper()
	info, err := s.Complete(t.Context(), s.bucket, key, id, parts)
	if err != nil {
		t.Fatalf("Complete %q: %v", key, err)
	}
	etag, err := store.ETagOfParts(parts)
	if err != nil {
		t.Fatal(err)
	}
	var size int64
	for _, p := range parts {
		size += p.Size
	}
	if info.Key != key || info.ETag != etag || info.Size != size || info.Modified.IsZero() {
		t.Errorf("Complete %q = %+v, want ETag %q, %d bytes", key, info, etag, size)
	}
	return info
}

func parts(t *testing.T, s shop) {
	id := s.begin(t, "é/k")
	p1, p2, p3 := Bytes(1, store.MinPart), Bytes(2, store.MinPart+12345), Bytes(3, 777)
	// In any order.
	three := s.part(t, "é/k", id, 3, p3)
	one := s.part(t, "é/k", id, 1, p1)
	two := s.part(t, "é/k", id, 2, p2)
	listed, err := s.Parts(t.Context(), s.bucket, "é/k", id)
	if diff := cmp.Diff([]store.Part{one, two, three}, listed); err != nil || diff != "" {
		t.Errorf("Parts: %v (-want +got):\n%s", err, diff)
	}
	info := s.complete(t, "é/k", id, one, two, three)
	whole := slices.Concat(p1, p2, p3)
	head := s.has(t, "é/k", whole)
	if head.ETag != info.ETag || head.ContentType != "text/parts" || head.Meta["p"] != "1" {
		t.Errorf("Head = %+v, Complete said %+v", head, info)
	}
	all := s.list(t, "é/")
	if len(all) != 1 || all[0].ETag != info.ETag || all[0].Size != int64(len(whole)) {
		t.Errorf("listed is %+v, want ETag %q, %d bytes", all, info.ETag, len(whole))
	}
	off := int64(store.MinPart) - 10
	if got, _ := s.get(t, "é/k", off, 100); !bytes.Equal(got, whole[off:off+100]) {
		t.Error("a range across two parts is wrong")
	}
	if body, _, err := s.Get(t.Context(), s.bucket, "é/k", off, 100, info.ETag); err != nil {
		t.Errorf("Get with the ETag of Complete: %v", err)
	} else if err := body.Close(); err != nil {
		t.Error(err)
	}
}

func partOver(t *testing.T, s shop) {
	id := s.begin(t, "k")
	old := s.part(t, "k", id, 1, Bytes(1, 1000))
	now := s.part(t, "k", id, 1, Bytes(2, 500))
	listed, err := s.Parts(t.Context(), s.bucket, "k", id)
	if diff := cmp.Diff([]store.Part{now}, listed); err != nil || diff != "" {
		t.Errorf("Parts: %v (-want +got):\n%s", err, diff)
	}
	_, err = s.Complete(t.Context(), s.bucket, "k", id, []store.Part{old})
	wants(t, "Complete of a part that was put over", err, store.ErrInvalid)
	s.complete(t, "k", id, now)
	s.has(t, "k", Bytes(2, 500))
}

func onePart(t *testing.T, s shop) {
	s.put(t, "k", []byte("before"), store.Options{})
	id := s.begin(t, "k")
	s.complete(t, "k", id, s.part(t, "k", id, 1, []byte("x")))
	s.has(t, "k", []byte("x"))
}

func badParts(t *testing.T, s shop) {
	ctx := t.Context()
	id := s.begin(t, "k")
	one := s.part(t, "k", id, 1, []byte("small"))
	two := s.part(t, "k", id, 2, []byte("last"))
	fake := store.Part{Number: 2, ETag: ETag([]byte("other")), Size: 4}
	missing := store.Part{Number: 2, ETag: ETag([]byte("x")), Size: 1}
	for what, list := range map[string][]store.Part{
		"no part": nil, "the second alone": {two}, "twice the first": {one, one}, "the wrong order": {two, one},
		"a small part before the last": {one, two}, "an ETag that is another part's": {{Number: 1, ETag: fake.ETag, Size: 5}},
		"an ETag that is none": {{Number: 1, ETag: "x", Size: 5}},
	} {
		_, err := s.Complete(ctx, s.bucket, "k", id, list)
		wants(t, "Complete of "+what, err, store.ErrInvalid)
	}
	big := s.begin(t, "k")
	first := s.part(t, "k", big, 1, Bytes(1, store.MinPart))
	_, err := s.Complete(ctx, s.bucket, "k", big, []store.Part{first, missing})
	wants(t, "Complete with a part that was not put", err, store.ErrInvalid)
	s.gone(t, "k")
	// A refused Complete spoils nothing.
	s.complete(t, "k", big, first)
	s.has(t, "k", Bytes(1, store.MinPart))
	for _, number := range []int{-1, 0, store.MaxParts + 1} {
		_, err := s.PutPart(ctx, s.bucket, "k", id, number, strings.NewReader("x"), 1)
		wants(t, fmt.Sprintf("PutPart %d", number), err, store.ErrInvalid)
	}
	_, err = s.PutPart(ctx, s.bucket, "k", id, 1, strings.NewReader("x"), -1)
	wants(t, "PutPart of -1 bytes", err, store.ErrInvalid)
}

func completedTwice(t *testing.T, s shop) {
	id := s.begin(t, "k")
	p := s.part(t, "k", id, 1, []byte("x"))
	info := s.complete(t, "k", id, p)
	_, err := s.Complete(t.Context(), s.bucket, "k", id, []store.Part{p})
	wants(t, "the second Complete", err, store.ErrNotFound)
	_, err = s.PutPart(t.Context(), s.bucket, "k", id, 1, strings.NewReader("x"), 1)
	wants(t, "PutPart after Complete", err, store.ErrNotFound)
	_, err = s.Parts(t.Context(), s.bucket, "k", id)
	wants(t, "Parts after Complete", err, store.ErrNotFound)
	if err := s.Abort(t.Context(), s.bucket, "k", id); err != nil {
		t.Errorf("Abort after Complete: %v", err)
	}
	if head := s.has(t, "k", []byte("x")); head.ETag != info.ETag {
		t.Errorf("Head = %+v, want ETag %q", head, info.ETag)
	}
}

func aborted(t *testing.T, s shop) {
	id := s.begin(t, "k")
	p := s.part(t, "k", id, 1, []byte("x"))
	for range 2 {
		if err := s.Abort(t.Context(), s.bucket, "k", id); err != nil {
			t.Errorf("Abort: %v", err)
		}
	}
	_, err := s.Complete(t.Context(), s.bucket, "k", id, []store.Part{p})
	wants(t, "Complete after Abort", err, store.ErrNotFound)
	_, err = s.PutPart(t.Context(), s.bucket, "k", id, 1, strings.NewReader("x"), 1)
	wants(t, "PutPart after Abort", err, store.ErrNotFound)
	_, err = s.Parts(t.Context(), s.bucket, "k", id)
	wants(t, "Parts after Abort", err, store.ErrNotFound)
	s.gone(t, "k")
}

func absentUpload(t *testing.T, s shop) {
	ctx := t.Context()
	mine := s.begin(t, "k")
	p := s.part(t, "k", mine, 1, []byte("x"))
	for _, tt := range []struct{ what, key, id string }{
		{"an upload that never was", "k", "2~never-was-one"},
		{"an upload with a path in its name", "k", "../" + mine},
		{"another key's upload", "other", mine},
		{"an upload without a name", "k", ""},
	} {
		_, err := s.PutPart(ctx, s.bucket, tt.key, tt.id, 1, strings.NewReader("x"), 1)
		wants(t, "PutPart to "+tt.what, err, store.ErrNotFound)
		_, err = s.Parts(ctx, s.bucket, tt.key, tt.id)
		wants(t, "Parts of "+tt.what, err, store.ErrNotFound)
		_, err = s.Complete(ctx, s.bucket, tt.key, tt.id, []store.Part{p})
		wants(t, "Complete of "+tt.what, err, store.ErrNotFound)
		if err := s.Abort(ctx, s.bucket, tt.key, tt.id); err != nil {
			t.Errorf("Abort of %s: %v", tt.what, err)
		}
	}
	s.complete(t, "k", mine, p)
}

func twoUploads(t *testing.T, s shop) {
	a, b := s.begin(t, "k"), s.begin(t, "k")
	if a == b {
		t.Fatalf("two uploads are both named %q", a)
	}
	pa, pb := s.part(t, "k", a, 1, []byte("of a")), s.part(t, "k", b, 1, []byte("of b"))
	s.complete(t, "k", b, pb)
	s.has(t, "k", []byte("of b"))
	s.complete(t, "k", a, pa)
	s.has(t, "k", []byte("of a"))
}

func unseen(t *testing.T, s shop) {
	id := s.begin(t, "new")
	s.part(t, "new", id, 1, []byte("x"))
	s.gone(t, "new")
	s.put(t, "old", []byte("old"), store.Options{})
	id = s.begin(t, "old")
	s.part(t, "old", id, 1, []byte("x"))
	s.has(t, "old", []byte("old"))
	if all := s.list(t, ""); len(all) != 1 || all[0].Key != "old" {
		t.Errorf("listed are %+v, want the old object alone", all)
	}
	if err := s.Delete(t.Context(), s.bucket, "old"); err != nil {
		t.Fatal(err)
	}
	if listed, err := s.Parts(t.Context(), s.bucket, "old", id); err != nil || len(listed) != 1 {
		t.Errorf("Parts after the object was deleted = %v, %v", listed, err)
	}
}

func partWrongSize(t *testing.T, s shop) {
	id := s.begin(t, "k")
	good := s.part(t, "k", id, 1, []byte("good"))
	for _, announced := range []int64{0, 2, 4, 100_000} {
		for _, number := range []int{1, 2} {
			_, err := s.PutPart(t.Context(), s.bucket, "k", id, number, strings.NewReader("abc"), announced)
			wants(t, fmt.Sprintf("PutPart of 3 bytes as %d", announced), err, store.ErrInvalid)
		}
	}
	_, err := s.PutPart(t.Context(), s.bucket, "k", id, 1, io.MultiReader(strings.NewReader("abc"), broken{}), 5)
	wants(t, "PutPart of a body that breaks", err, errBody)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err = s.PutPart(ctx, s.bucket, "k", id, 1, strings.NewReader("abc"), 3)
	wants(t, "PutPart in a context that has ended", err, context.Canceled)
	listed, err := s.Parts(t.Context(), s.bucket, "k", id)
	if diff := cmp.Diff([]store.Part{good}, listed); err != nil || diff != "" {
		t.Errorf("Parts: %v (-want +got):\n%s", err, diff)
	}
	s.complete(t, "k", id, good)
	s.has(t, "k", []byte("good"))
}
