// Package storetest holds the suite that every store.Store must pass; Memory, a
// store in memory that passes it; and Faulty, which breaks calls of a store in
// ways that tests choose.
//
// What is peculiar to one store (crashes, damage on disk, a server that hangs) is
// tested beside that store.
package storetest

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"crypto/md5"
	"crypto/rand"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"io"
	"strings"
	"testing"
	"time"

	"preau/replication/central/store"
)

// Run checks that the stores which open returns keep store.Store's promises.
// They may hold other buckets already: the suite makes its own, which it does not
// remove. It writes less than 100 MiB.
func Run(t *testing.T, open func(*testing.T) store.Store) {
	tests := []struct {
		name string
		run  func(*testing.T, shop)
	}{
		{"what was put comes back", putAndGet},
		{"an overwritten object is the new one", overwritten},
		{"a deleted object is gone", deleted},
		{"what is not there", absent},
		{"what can't be", invalid},
		{"keys of any text", oddKeys},
		{"metadata of any text", oddMeta},
		{"ranges", ranges},
		{"a body of another size", wrongSizes},
		{"a body that fails", failingBody},
		{"a body under another version's ETag", otherETag},
		{"a reader keeps its version", keepsVersion},
		{"Absent", conditionAbsent},
		{"an ETag that must match", conditionETag},
		{"of 8 writers who want none to be there one wins", manyAbsent},
		{"of 8 writers who replace one version one wins", manyETag},
		{"listings are in order", listOrder},
		{"listings have pages", listPages},
		{"listings by prefix", listPrefix},
		{"listings show what is there", listFresh},
		{"an object of parts", parts},
		{"a part over another", partOver},
		{"one small part", onePart},
		{"parts that make no object", badParts},
		{"an upload is completed once", completedTwice},
		{"an upload given up", aborted},
		{"uploads that are not there", absentUpload},
		{"two uploads of a key", twoUploads},
		{"nothing is seen of an upload", unseen},
		{"a part of another size", partWrongSize},
		{"contexts that have ended", endedContext},
		{"a context that ends in the middle", cancelledMidway},
		{"many at once", concurrent},
		{"making a bucket twice", bucketTwice},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s := shop{Store: open(t), bucket: "suite-" + strings.ToLower(rand.Text())}
			if err := s.MakeBucket(t.Context(), s.bucket); err != nil {
				t.Fatalf("MakeBucket: %v", err)
			}
			tt.run(t, s)
		})
	}
}

// Bytes returns n bytes that look random and are the same for the same seed.
func Bytes(seed uint64, n int) []byte {
	var key [16]byte
	binary.LittleEndian.PutUint64(key[:], seed)
	p := make([]byte, n)
	block, err := aes.NewCipher(key[:])
	if err != nil {
		// Only a key of another length has one.
		panic(err) //nolint:forbidigo // can't be
	}
	// A cipher is many times quicker than a generator under the race detector.
	cipher.NewCTR(block, make([]byte, aes.BlockSize)).XORKeyStream(p, p)
	return p
}

// ETag is the ETag of an object that was put in one piece.
func ETag(p []byte) string {
	sum := md5.Sum(p)
	return hex.EncodeToString(sum[:])
}

// shop is a store and the bucket of one test.
type shop struct {
	store.Store
	bucket string
}

// put puts an object without conditions and checks what is said of it.
func (s shop) put(t *testing.T, key string, p []byte, o store.Options) store.Info {
	t.Helper()
	began := time.Now()
	info, err := s.Put(t.Context(), s.bucket, key, bytes.NewReader(p), int64(len(p)), o, store.Condition{})
	if err != nil {
		t.Fatalf("Put %q: %v", key, err)
	}
	if info.Key != key || info.Size != int64(len(p)) || info.ETag != ETag(p) {
		t.Fatalf("Put %q says %q, %d bytes, ETag %q; want %d bytes, ETag %q", key, info.Key, info.Size, info.ETag, len(p), ETag(p))
	}
	if off := info.Modified.Sub(began); off < -time.Hour || off > time.Hour {
		t.Errorf("Put %q says it was modified at %v, now is %v", key, info.Modified, began)
	}
	return info
}

// has checks that an object is there and is p, and returns what Head tells.
func (s shop) has(t *testing.T, key string, p []byte) store.Info {
	t.Helper()
	head, err := s.Head(t.Context(), s.bucket, key)
	if err != nil {
		t.Fatalf("Head %q: %v", key, err)
	}
	if head.Key != key || head.Size != int64(len(p)) {
		t.Errorf("Head %q says %q, %d bytes, want %d", key, head.Key, head.Size, len(p))
	}
	got, info := s.get(t, key, 0, -1)
	if !bytes.Equal(got, p) {
		t.Errorf("Get %q: other bytes than were put (%d, want %d)", key, len(got), len(p))
	}
	if info.Key != key || info.ETag != head.ETag || info.Size != head.Size || info.ContentType != head.ContentType {
		t.Errorf("Get %q says %+v, Head %+v", key, info, head)
	}
	return head
}

func (s shop) get(t *testing.T, key string, off, length int64) ([]byte, store.Info) {
	t.Helper()
	body, info, err := s.Get(t.Context(), s.bucket, key, off, length, "")
	if err != nil {
		t.Fatalf("Get %q from %d, %d bytes: %v", key, off, length, err)
	}
	p, err := io.ReadAll(body)
	if err != nil {
		t.Fatalf("read %q from %d, %d bytes: %v", key, off, length, err)
	}
	if err := body.Close(); err != nil {
		t.Errorf("close %q: %v", key, err)
	}
	return p, info
}

// gone checks that there is no such object, whoever asks.
func (s shop) gone(t *testing.T, key string) {
	t.Helper()
	if info, err := s.Head(t.Context(), s.bucket, key); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("Head %q = %+v, %v, want ErrNotFound", key, info, err)
	}
	for _, o := range s.list(t, key) {
		if o.Key == key {
			t.Errorf("%q is listed, though it is not there", key)
		}
	}
}

// list lists everything under a prefix, page by page.
func (s shop) list(t *testing.T, prefix string) []store.Info {
	t.Helper()
	var all []store.Info
	after := ""
	for {
		page, err := s.List(t.Context(), s.bucket, prefix, after, store.MaxPage)
		if err != nil {
			t.Fatalf("List %q after %q: %v", prefix, after, err)
		}
		all = append(all, page.Objects...)
		if page.Next == "" {
			return all
		}
		if page.Next <= after {
			t.Fatalf("List %q after %q goes on after %q", prefix, after, page.Next)
		}
		after = page.Next
	}
}

// wants checks an error's kind.
func wants(t *testing.T, what string, err, want error) {
	t.Helper()
	if !errors.Is(err, want) {
		t.Errorf("%s: %v, want %v", what, err, want)
	}
}
