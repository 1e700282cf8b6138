package badgerblock

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"testing"

	"preau/cache/block"
)

// FuzzScan reads value logs that no Badger wrote.
func FuzzScan(f *testing.F) {
	one := []byte{0, 0, 9, 3, 0, 'b', 0, 0, 0, 0, 0, 0, 0, 1, 'x', 'y', 'z', 1, 2, 3, 4}
	f.Add(one, uint8(200))
	f.Add(append(bytes.Clone(one), one...), uint8(130))
	f.Add(make([]byte, 100), uint8(0))
	f.Add([]byte{0, 0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff}, uint8(1))
	f.Fuzz(func(t *testing.T, log []byte, window uint8) {
		// The window must not change what is found.
		var want []int64
		note := func(list *[]int64) func(entry) error {
			return func(e entry) error {
				if e.start < 0 || e.value <= e.start || e.end() > int64(len(log)) || len(e.key) == 0 {
					t.Fatalf("entry %+v of a log of %d bytes", e, len(log))
				}
				*list = append(*list, e.start)
				return nil
			}
		}
		end, err := scan(bytes.NewReader(log), make([]byte, scanBuffer), 0, int64(len(log)), note(&want))
		if err != nil || end > int64(len(log)) {
			t.Fatalf("scan = %d, %v", end, err)
		}
		var got []int64
		end2, err := scan(bytes.NewReader(log), make([]byte, commitBuffer+int(window)), 0, int64(len(log)), note(&got))
		if err != nil || end2 != end || len(got) != len(want) {
			t.Fatalf("scan = %d, %v with another buffer, was %d", end2, err, end)
		}
	})
}

// FuzzIndex opens indexes that nobody wrote.
func FuzzIndex(f *testing.F) {
	dir := f.TempDir()
	list := []indexed{{block.Sum([]byte("a")), place{off: 77, len: 1}}, {block.Sum([]byte("b")), place{off: 99, len: 5}}}
	if err := writeIndex(dir, list, 200); err != nil {
		f.Fatal(err)
	}
	good, err := os.ReadFile(filepath.Join(dir, indexName))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(good)
	f.Add(good[:len(good)-1])
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, p []byte) {
		dir := t.TempDir()
		if err := os.WriteFile(filepath.Join(dir, indexName), p, 0o600); err != nil {
			t.Fatal(err)
		}
		x, err := openIndex(dir)
		if err != nil {
			if !errors.Is(err, errBadIndex) {
				t.Errorf("openIndex: %v", err)
			}
			return
		}
		defer x.f.Close()
		for _, e := range list {
			x.find(e.digest)
		}
	})
}

func TestIndexFindsAll(t *testing.T) {
	for _, n := range []int{0, 1, 2, 199, 200, 201, 1000, 20_000} {
		if testing.Short() && n > 1000 {
			continue
		}
		var list []indexed
		for i := range n {
			list = append(list, indexed{block.Sum([]byte{byte(i), byte(i >> 8), byte(i >> 16)}), place{off: uint32(i), len: 7}})
		}
		// Digests that are not spread evenly must be found too.
		for i := range n / 10 {
			list = append(list, indexed{block.Digest{31: byte(i), 30: byte(i >> 8), 0: 0xff, 1: 0xff}, place{off: uint32(n + i)}})
		}
		dir := t.TempDir()
		if err := writeIndex(dir, list, mib); err != nil {
			t.Fatal(err)
		}
		x, err := openIndex(dir)
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range list {
			if p, ok := x.find(e.digest); !ok || p.off != e.place.off || p.len != e.place.len {
				t.Fatalf("of %d: find(%s) = %+v, %v", n, e.digest, p, ok)
			}
		}
		wrong := 0
		for i := range 1000 {
			d := block.Sum([]byte{1, 2, 3, byte(i), byte(i >> 8)})
			if x.count > 0 && x.filter.has(d[:]) {
				wrong++
			}
			if _, ok := x.find(d); ok {
				t.Error("found what is not there")
			}
		}
		if wrong > 50 {
			t.Errorf("of %d: the filter lets %d of 1000 absent blocks through", n, wrong)
		}
		if err := x.f.Close(); err != nil {
			t.Error(err)
		}
	}
}
