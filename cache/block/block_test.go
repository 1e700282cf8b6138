package block_test

import (
	"errors"
	"strings"
	"testing"

	"preau/cache/block"
)

func TestParseDigest(t *testing.T) {
	const abc = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
	if got := block.Sum([]byte("abc")).String(); got != abc {
		t.Errorf("Sum(abc) = %s", got)
	}
	tests := map[string]struct {
		in string
		ok bool
	}{
		"as printed":   {abc, true},
		"upper case":   {strings.ToUpper(abc), true},
		"empty":        {"", false},
		"one short":    {abc[1:], false},
		"one long":     {abc + "0", false},
		"no hex":       {"x" + abc[1:], false},
		"with a space": {" " + abc[1:], false},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			d, err := block.ParseDigest(tt.in)
			if (err == nil) != tt.ok {
				t.Fatalf("ParseDigest: %v", err)
			}
			if tt.ok && d.String() != abc {
				t.Errorf("ParseDigest = %s", d)
			}
			if !tt.ok && !d.IsZero() {
				t.Errorf("ParseDigest returned %s with an error", d)
			}
		})
	}
}

func TestCorruptIsNotFound(t *testing.T) {
	if !errors.Is(block.ErrCorrupt, block.ErrNotFound) {
		t.Error("ErrCorrupt does not match ErrNotFound")
	}
	if errors.Is(block.ErrNotFound, block.ErrCorrupt) {
		t.Error("ErrNotFound matches ErrCorrupt")
	}
}

func FuzzParseDigest(f *testing.F) {
	f.Add("")
	f.Add(block.Sum(nil).String())
	f.Add(strings.Repeat("0", 64))
	f.Add(strings.Repeat("é", 32))
	f.Fuzz(func(t *testing.T, s string) {
		d, err := block.ParseDigest(s)
		if err != nil {
			if !d.IsZero() {
				t.Errorf("%q: %s with error %v", s, d, err)
			}
			return
		}
		if d.String() != strings.ToLower(s) {
			t.Errorf("%q parsed as %s", s, d)
		}
	})
}
