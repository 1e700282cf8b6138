package object

import (
	"testing"

	"preau/cache/block"
)

// FuzzDecodeSet: whatever lies under a key, it is a sound set or an error. The
// checksum is put right, so that what comes behind it is reached.
func FuzzDecodeSet(f *testing.F) {
	k := Key{1}
	b, err := encodeSet(k, Set{{ID: ID{2}, Key: k, Status: 200, Length: 5}})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(b[:len(b)-8])
	f.Add([]byte{0x80})
	f.Add([]byte{0x81, 0xf6})
	f.Fuzz(func(t *testing.T, value []byte) {
		if _, err := decodeSet(k, value); err == nil {
			t.Error("a value without a checksum was read")
		}
		set, err := decodeSet(k, seal(setKey(k), append([]byte(nil), value...)))
		if err != nil {
			return
		}
		for _, o := range set {
			if o == nil || o.Key != k || o.Length < block.UnknownLength {
				t.Errorf("unsound: %+v", o)
			}
		}
		if _, err := encodeSet(k, set); err != nil {
			t.Errorf("can't be written again: %v", err)
		}
	})
}

// FuzzDecodeRecord is the same for what lies beside the bodies.
func FuzzDecodeRecord(f *testing.F) {
	o := &Object{ID: ID{2}, Key: Key{1}, Status: 200, Length: 5}
	key, b, err := EncodeRecord(o, block.Manifest{Length: 5, Blocks: []block.Digest{block.Sum([]byte("x"))}})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(b[:len(b)-8])
	f.Add([]byte{0xa0})
	f.Fuzz(func(t *testing.T, value []byte) {
		o, m, err := DecodeRecord(key, seal(key, append([]byte(nil), value...)))
		if err != nil {
			return
		}
		if err := m.Validate(); err != nil || o.Status < 100 || o.Length < block.UnknownLength {
			t.Errorf("unsound: %+v, %v", o, err)
		}
	})
}
