package keep_test

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"preau/node/keep"
)

type record struct{ Word string }

func TestWhatIsWrittenIsRead(t *testing.T) {
	name := filepath.Join(t.TempDir(), "record")
	for _, word := range []string{"one", "another, and longer", ""} {
		if err := keep.Write(name, record{word}); err != nil {
			t.Fatal(err)
		}
		var got record
		if err := keep.Read(name, 1000, &got); err != nil || got.Word != word {
			t.Errorf("%q, %v; want %q", got.Word, err, word)
		}
	}
	info, err := os.Stat(name)
	if err != nil {
		t.Fatal(err)
	}
	if info.Mode().Perm() != 0o600 {
		t.Errorf("others can look at it: %v", info.Mode())
	}
	if _, err := os.Stat(name + keep.Half); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("half a record is left: %v", err)
	}
}

func TestADamagedRecordIsKnown(t *testing.T) {
	name := filepath.Join(t.TempDir(), "record")
	if err := keep.Write(name, record{"one"}); err != nil {
		t.Fatal(err)
	}
	whole, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	var got record
	for i := range whole {
		flipped := append([]byte(nil), whole...)
		flipped[i] ^= 1
		if err := os.WriteFile(name, flipped, 0o600); err != nil {
			t.Fatal(err)
		}
		if err := keep.Read(name, 1000, &got); !errors.Is(err, keep.ErrDamaged) {
			t.Errorf("bit of byte %d: %v", i, err)
		}
		if err := os.WriteFile(name, whole[:i], 0o600); err != nil {
			t.Fatal(err)
		}
		if err := keep.Read(name, 1000, &got); !errors.Is(err, keep.ErrDamaged) {
			t.Errorf("cut at %d: %v", i, err)
		}
	}
	if err := os.WriteFile(name, whole, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := keep.Read(name, int64(len(whole)-1), &got); !errors.Is(err, keep.ErrDamaged) {
		t.Errorf("too long: %v", err)
	}
	if err := keep.Remove(name); err != nil {
		t.Error(err)
	}
	if err := keep.Remove(name); err != nil {
		t.Error(err)
	}
	if err := keep.Read(name, 1000, &got); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("%v", err)
	}
}

func FuzzDecode(f *testing.F) {
	f.Add([]byte(""))
	f.Add([]byte("e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855\n"))
	f.Fuzz(func(t *testing.T, p []byte) {
		var got record
		if err := keep.Decode(p, &got); err != nil && !errors.Is(err, keep.ErrDamaged) {
			t.Errorf("%v", err)
		}
	})
}
