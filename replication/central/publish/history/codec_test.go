package history

import (
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"

	"preau/cache/block"
)

func someRows() []Named {
	return []Named{
		{Key: "a", Row: Row{Seq: 1, ETag: "0123456789abcdef0123456789abcdef", Size: 3, Modified: 1767322800123, List: block.Sum([]byte("l")), Meta: 5, Place: 6}},
		{Key: "a/b", Row: Row{Seq: 2, ETag: "0123456789abcdef0123456789abcdef-7", Size: 0, Modified: -5, Place: 1}},
		{Key: "a/bé", Row: Row{Seq: 3, ETag: "", Size: 1 << 50, Held: true, Place: 1 << 63}},
		{Key: "b", Row: Row{Seq: 4, ETag: "0123456789ABCDEF0123456789ABCDEF", Size: 1, List: block.Sum(nil), Place: 1}},
	}
}

func TestPagesComeBack(t *testing.T) {
	for _, want := range [][]Named{nil, someRows()[:1], someRows()} {
		got, err := decodePage(encodePage(want))
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(len(want), len(got)); diff != "" {
			t.Fatal(diff)
		}
		for i := range want {
			if want[i] != got[i] {
				t.Errorf("row %d is %+v, want %+v", i, got[i], want[i])
			}
		}
	}
}

func FuzzDecodePage(f *testing.F) {
	f.Add(encodePage(someRows()))
	f.Add(encodePage(nil))
	f.Fuzz(func(t *testing.T, p []byte) {
		rows, err := decodePage(p)
		if err != nil {
			return
		}
		again, err := decodePage(encodePage(rows))
		if err != nil || len(again) != len(rows) {
			t.Fatalf("%d rows come back as %d, %v", len(rows), len(again), err)
		}
		for i := range rows {
			if rows[i] != again[i] || i > 0 && rows[i-1].Key >= rows[i].Key {
				t.Errorf("row %d is %+v, then %+v", i, rows[i], again[i])
			}
		}
	})
}

func FuzzDecodeRoot(f *testing.F) {
	p, err := encode(root{Version: version, Epoch: "aa", Applied: 9, Pages: []pageRef{{First: "a", Name: "00", Rows: 3}, {First: "b", Name: "01", Rows: 3}}})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(p)
	e, err := encode(epoch{Version: version, ID: "aa", Key: make([]byte, 32)})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(e)
	f.Fuzz(func(t *testing.T, p []byte) {
		if r, err := decodeRoot(p); err == nil {
			for _, key := range []string{"", "a", "b", "\xff"} {
				if i := r.find(key); i < 0 || i > 0 && i >= len(r.Pages) {
					t.Errorf("%q is on page %d of %d", key, i, len(r.Pages))
				}
			}
		}
		if e, err := decodeEpoch(p); err == nil && (e.ID == "" || len(e.ID) > 64) {
			t.Errorf("epoch %q", e.ID)
		}
	})
}

func TestPageCacheIsBounded(t *testing.T) {
	c := pageCache{limit: 2}
	for i := range 5 {
		c.put(fmt.Sprint(i), nil)
		c.get("0")
	}
	if _, ok := c.get("0"); !ok || len(c.rows) != 2 || len(c.names) != 2 {
		t.Errorf("it keeps %v", c.names)
	}
}
