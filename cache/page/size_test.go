package page_test

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"testing"

	"preau/cache/page"
)

func TestSize(t *testing.T) {
	tests := []struct {
		n               int64
		french, english string
	}{
		{0, "0 octet", "0 bytes"},
		{1, "1 octet", "1 byte"},
		{2, "2 octets", "2 bytes"},
		{999, "999 octets", "999 bytes"},
		{1000, "1,0 Ko", "1.0 KB"},
		{1049, "1,0 Ko", "1.0 KB"},
		{9_949, "9,9 Ko", "9.9 KB"},
		{9_960, "10 Ko", "10 KB"},
		{10_400, "10 Ko", "10 KB"},
		{999_499, "999 Ko", "999 KB"},
		{999_500, "1,0 Mo", "1.0 MB"},
		{1<<20 + 900, "1,0 Mo", "1.0 MB"},
		{734_003_200, "734 Mo", "734 MB"},
		{999_999_999, "1,0 Go", "1.0 GB"},
		{8 << 30, "8,6 Go", "8.6 GB"},
		{2_500_000_000_000, "2500 Go", "2500 GB"},
	}
	for _, tt := range tests {
		if got := page.Size(tt.n, page.French); got != tt.french {
			t.Errorf("%d in French: %q, want %q", tt.n, got, tt.french)
		}
		if got := page.Size(tt.n, page.English); got != tt.english {
			t.Errorf("%d in English: %q, want %q", tt.n, got, tt.english)
		}
	}
}

// No size is off by more than a twentieth, and none is longer than people read
// at a glance.
func TestSizesAreNearTheTruth(t *testing.T) {
	worth := map[string]float64{"byte": 1, "bytes": 1, "KB": 1e3, "MB": 1e6, "GB": 1e9}
	for n := int64(1); n < 1e12; n += 1 + n/97 {
		text := page.Size(n, page.English)
		number, unit, _ := strings.Cut(text, " ")
		v, err := strconv.ParseFloat(number, 64)
		if err != nil || worth[unit] == 0 || len(number) > 3 {
			t.Fatalf("%d is %q", n, text)
		}
		if off := math.Abs(v*worth[unit]-float64(n)) / float64(n); off > 0.051 {
			t.Fatalf("%d is %q: off by %.3f", n, text, off)
		}
	}
}

func ExampleSize() {
	fmt.Println(page.Size(3_460_000, page.French))
	fmt.Println(page.Size(3_460_000, page.English))
	// Output:
	// 3,5 Mo
	// 3.5 MB
}
