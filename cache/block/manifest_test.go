package block_test

import (
	"bytes"
	"testing"

	"github.com/google/go-cmp/cmp"

	"preau/cache/block"
)

func TestManifestRoundTrip(t *testing.T) {
	d := block.Sum([]byte("x"))
	tests := map[string]block.Manifest{
		"empty body":     {Length: 0},
		"unknown length": {Length: block.UnknownLength, Blocks: []block.Digest{d}},
		"partial":        {Length: 3*block.Size + 5, Blocks: []block.Digest{d, {}, d}, Pieces: []block.Piece{{Off: block.Size + 7, Len: 11, Digest: d}}},
		"complete":       {Length: block.Size + 1, Blocks: []block.Digest{d, d}, SHA256: d},
	}
	for name, m := range tests {
		t.Run(name, func(t *testing.T) {
			b, err := m.MarshalBinary()
			if err != nil {
				t.Fatal(err)
			}
			var got block.Manifest
			if err := got.UnmarshalBinary(b); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(m, got); diff != "" {
				t.Errorf("round trip (-want +got):\n%s", diff)
			}
			for n := range b {
				if got.UnmarshalBinary(b[:n]) == nil {
					t.Fatalf("first %d of %d bytes decode without an error", n, len(b))
				}
			}
			if got.UnmarshalBinary(append(b, 0)) == nil {
				t.Error("a byte too many is accepted")
			}
		})
	}
}

func TestManifestCompleteAndHeld(t *testing.T) {
	d := block.Sum(nil)
	tests := map[string]struct {
		m        block.Manifest
		complete bool
		held     int64
	}{
		"nothing of nothing":   {block.Manifest{Length: 0}, true, 0},
		"nothing of something": {block.Manifest{Length: 1}, false, 0},
		"one short block":      {block.Manifest{Length: 5, Blocks: []block.Digest{d}}, true, 5},
		"a hole":               {block.Manifest{Length: block.Size + 5, Blocks: []block.Digest{{}, d}}, false, 5},
		"end unknown":          {block.Manifest{Length: -1, Blocks: []block.Digest{d}}, false, block.Size},
		"a piece":              {block.Manifest{Length: 100, Pieces: []block.Piece{{Off: 10, Len: 20, Digest: d}}}, false, 20},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			if got := tt.m.Complete(); got != tt.complete {
				t.Errorf("Complete() = %v, want %v", got, tt.complete)
			}
			if got := tt.m.Held(); got != tt.held {
				t.Errorf("Held() = %d, want %d", got, tt.held)
			}
		})
	}
}

func TestManifestRefusesWhatCannotBe(t *testing.T) {
	d := block.Sum(nil)
	tests := map[string]block.Manifest{
		"negative length":        {Length: -2},
		"too many blocks":        {Length: 5, Blocks: []block.Digest{d, d}},
		"piece over two blocks":  {Length: 3 * block.Size, Pieces: []block.Piece{{Off: block.Size - 1, Len: 2}}},
		"piece beyond the end":   {Length: 10, Pieces: []block.Piece{{Off: 5, Len: 6}}},
		"piece of nothing":       {Length: 10, Pieces: []block.Piece{{Off: 5}}},
		"piece before the start": {Length: 10, Pieces: []block.Piece{{Off: -1, Len: 2}}},
	}
	for name, m := range tests {
		t.Run(name, func(t *testing.T) {
			if _, err := m.MarshalBinary(); err == nil {
				t.Error("encoded without an error")
			}
		})
	}
}

func FuzzManifest(f *testing.F) {
	d := block.Sum([]byte("y"))
	for _, m := range []block.Manifest{{}, {Length: -1}, {Length: 9, Blocks: []block.Digest{d}, SHA256: d}, {Length: 9, Pieces: []block.Piece{{Off: 1, Len: 2, Digest: d}}}} {
		b, err := m.MarshalBinary()
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		var m block.Manifest
		if m.UnmarshalBinary(b) != nil {
			return
		}
		again, err := m.MarshalBinary()
		if err != nil {
			t.Fatalf("what was decoded can't be encoded: %v", err)
		}
		var back block.Manifest
		if err := back.UnmarshalBinary(again); err != nil || !cmp.Equal(m, back) {
			t.Fatalf("not stable: %v", err)
		}
		if len(again) > len(b) && !bytes.Equal(again, b) {
			t.Fatalf("canonical form is longer than the input")
		}
	})
}
