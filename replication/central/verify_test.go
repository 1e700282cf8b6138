package central_test

import (
	"bytes"
	"crypto/ed25519"
	"errors"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"preau/cache/block"
	"preau/replication/central"
	"preau/replication/identity"
)

func signer(b byte) ed25519.PrivateKey {
	return ed25519.NewKeyFromSeed(bytes.Repeat([]byte{b}, ed25519.SeedSize))
}

func publicOf(key ed25519.PrivateKey) ed25519.PublicKey { return key.Public().(ed25519.PublicKey) }

func atlas() central.Object {
	return central.Object{
		Bucket: "maps", Key: "monde/été.zim", ETag: "0123456789abcdef0123456789abcdef-3", Length: 3 << 20,
		Modified: time.Date(2026, 3, 4, 5, 6, 7, 89e6, time.UTC), SHA256: block.Sum([]byte("atlas")), List: block.Sum([]byte("list")),
		Meta: central.Meta{Title: "Atlas", Language: "fr", ContentType: "application/zim", Audience: []identity.School{"0690001A", "0690002B"}},
	}
}

func TestVerifyReturnsWhatWasSigned(t *testing.T) {
	key := signer(1)
	c, err := central.Sign(key, atlas())
	if err != nil {
		t.Fatal(err)
	}
	got, err := central.Verify(publicOf(key), c)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(atlas(), got); diff != "" {
		t.Error(diff)
	}
	gone, err := central.SignDeleted(key, "maps", "monde/été.zim")
	if err != nil {
		t.Fatal(err)
	}
	got, err = central.Verify(publicOf(key), gone)
	if want := (central.Object{Bucket: "maps", Key: "monde/été.zim"}); err != nil || !gone.Deleted || !cmp.Equal(got, want) {
		t.Errorf("a deletion says %+v, %v", got, err)
	}
}

func TestVerifyRefuses(t *testing.T) {
	key := signer(1)
	sound, err := central.Sign(key, atlas())
	if err != nil {
		t.Fatal(err)
	}
	gone, err := central.SignDeleted(key, "maps", "k")
	if err != nil {
		t.Fatal(err)
	}
	// A signature over the same bytes for another purpose.
	bare := sound
	bare.Signature = ed25519.Sign(key, sound.Signed)
	tests := map[string]struct {
		key    ed25519.PublicKey
		change func(central.Change) central.Change
		of     central.Change
	}{
		"another key":           {key: publicOf(signer(2)), of: sound},
		"no key":                {key: nil, of: sound},
		"no signature":          {of: sound, change: func(c central.Change) central.Change { c.Signature = nil; return c }},
		"another purpose":       {of: bare},
		"a version as deletion": {of: sound, change: func(c central.Change) central.Change { c.Deleted = true; return c }},
		"a deletion as version": {of: gone, change: func(c central.Change) central.Change { c.Deleted = false; return c }},
		"a changed byte": {of: sound, change: func(c central.Change) central.Change {
			c.Signed = bytes.Clone(c.Signed)
			c.Signed[10] ^= 1
			return c
		}},
		"trailing bytes, signed": {of: sound, change: func(c central.Change) central.Change {
			c.Signed = append(bytes.Clone(c.Signed), 0xf6)
			c.Signature = ed25519.Sign(key, append([]byte(central.SignContext), c.Signed...))
			return c
		}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			if tt.key == nil && name != "no key" {
				tt.key = publicOf(key)
			}
			if tt.change != nil {
				tt.of = tt.change(tt.of)
			}
			if o, err := central.Verify(tt.key, tt.of); !errors.Is(err, central.ErrUnsigned) {
				t.Errorf("Verify = %+v, %v", o, err)
			}
		})
	}
}

func TestSignRefusesWhatNobodyCouldRead(t *testing.T) {
	tests := map[string]func(*central.Object){
		"no key":             func(o *central.Object) { o.Key = "" },
		"no SHA-256":         func(o *central.Object) { o.SHA256 = block.Digest{} },
		"no list":            func(o *central.Object) { o.List = block.Digest{} },
		"audience unordered": func(o *central.Object) { o.Meta.Audience = []identity.School{"0690002B", "0690001A"} },
		"local time":         func(o *central.Object) { o.Modified = o.Modified.In(time.FixedZone("x", 3600)) },
	}
	for name, spoil := range tests {
		t.Run(name, func(t *testing.T) {
			o := atlas()
			spoil(&o)
			if _, err := central.Sign(signer(1), o); err == nil {
				t.Error("it is signed")
			}
		})
	}
	if _, err := central.Sign(nil, atlas()); err == nil {
		t.Error("signed with no key")
	}
}

// What passes is in its one form, whoever signed it: here the fuzzer has the key.
func FuzzVerify(f *testing.F) {
	key := signer(1)
	c, err := central.Sign(key, atlas())
	if err != nil {
		f.Fatal(err)
	}
	f.Add(c.Signed, false)
	gone, err := central.SignDeleted(key, "maps", "k")
	if err != nil {
		f.Fatal(err)
	}
	f.Add(gone.Signed, true)
	f.Fuzz(func(t *testing.T, p []byte, deleted bool) {
		c := central.Change{Deleted: deleted, Signed: p, Signature: ed25519.Sign(key, append([]byte(central.SignContext), p...))}
		o, err := central.Verify(publicOf(key), c)
		if err != nil {
			return
		}
		again, err := central.Encode(o)
		if err != nil || !bytes.Equal(again, p) {
			t.Errorf("%x passes as %+v, which is %x, %v", p, o, again, err)
		}
		if deleted != o.SHA256.IsZero() {
			t.Error("a deletion passes as a version, or the other way round")
		}
	})
}
