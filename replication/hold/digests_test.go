package hold_test

import (
	"bytes"
	"errors"
	"slices"
	"testing"

	"preau/cache/block"
	"preau/replication/hold"
)

func TestAManifestComesBackAsItWas(t *testing.T) {
	digests, _ := blocks(20, 9)
	for _, n := range []int{1, 9} {
		p, err := hold.EncodeManifest(digests[:n])
		if err != nil || len(p) != 32*n {
			t.Fatalf("encode %d: %d bytes, %v", n, len(p), err)
		}
		if back, err := hold.DecodeManifest(p); err != nil || !slices.Equal(back, digests[:n]) {
			t.Errorf("decode %d: %d digests, %v", n, len(back), err)
		}
	}
	largest := slices.Repeat(digests[:1], hold.MaxDigests)
	if p, err := hold.EncodeManifest(largest); err != nil || len(p) != block.Size {
		t.Errorf("the largest manifest has %d bytes, %v, want one block", len(p), err)
	}
	if _, err := hold.EncodeManifest(append(largest, digests[0])); !errors.Is(err, hold.ErrTooLarge) {
		t.Errorf("one too many: %v, want ErrTooLarge", err)
	}
	for name, list := range map[string][]block.Digest{"empty": nil, "a hole": {digests[0], {}}} {
		if _, err := hold.EncodeManifest(list); err == nil {
			t.Errorf("%s manifest was encoded", name)
		}
	}
	for name, p := range map[string][]byte{
		"empty": nil, "cut": digests[0][:31], "a hole": make([]byte, 32), "too long": make([]byte, block.Size+32),
	} {
		if _, err := hold.DecodeManifest(p); err == nil {
			t.Errorf("%s manifest was decoded", name)
		}
	}
}

// The list of POST /blocks/missing and of its answer is read by the same parser,
// which also takes an empty one.
func FuzzDecodeManifest(f *testing.F) {
	digests, _ := blocks(21, 2)
	f.Add([]byte{})
	f.Add(digests[0][:])
	f.Add(append(digests[0][:], digests[1][:]...))
	f.Add(make([]byte, 64))
	f.Fuzz(func(t *testing.T, p []byte) {
		list, err := hold.DecodeManifest(p)
		if err != nil {
			return
		}
		back, err := hold.EncodeManifest(list)
		if err != nil || !bytes.Equal(back, p) {
			t.Errorf("%d digests read as %d bytes, %v", len(list), len(back), err)
		}
	})
}

func FuzzMissingRequest(f *testing.F) {
	digests, bodies := blocks(22, 2)
	f.Add([]byte{})
	f.Add(digests[0][:])
	f.Add(append(digests[0][:], digests[1][:]...))
	f.Add(digests[0][:7])
	f.Fuzz(func(t *testing.T, p []byte) {
		s := newServer(t, "a", newDisk(0))
		put(t, s, bodies[0])
		w := request(t, s, "server", "POST", "/blocks/missing", p, "Content-Type", listType)
		switch {
		case w.Code == 200 && (len(p)%32 != 0 || w.Body.Len() > len(p) || bytes.Contains(w.Body.Bytes(), digests[0][:])):
			t.Errorf("a list of %d bytes was answered with %d bytes", len(p), w.Body.Len())
		case w.Code != 200 && w.Code != 400 && w.Code != 413:
			t.Errorf("status %d", w.Code)
		}
	})
}
