package find_test

import (
	"fmt"
	"math/rand/v2"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"

	"preau/node/portal/find"
)

const many = 100_000

// crowd makes documents with as many different words as a real library has: few
// words are common, and most are rare (Zipf).
func crowd(n int, add func(find.Doc)) {
	dice := rand.New(rand.NewPCG(1, 2))
	often := rand.NewZipf(dice, 1.07, 4, 60_000)
	const letters = "etaoinsrhldcumfpgwybvk"
	word := func() string {
		n := often.Uint64()
		var b strings.Builder
		for k := n + 30; k > 0; k /= uint64(len(letters)) {
			b.WriteByte(letters[k%uint64(len(letters))])
		}
		return b.String() + letters[n%7:n%7+2]
	}
	text := func(least, most int) string {
		var words []string
		for range least + dice.IntN(most-least+1) {
			words = append(words, word())
		}
		return strings.Join(words, " ")
	}
	for i := range n {
		add(find.Doc{
			ID: fmt.Sprintf("resource-%06d", i), Kind: "r", Title: text(3, 8), Filename: word() + "-" + strconv.Itoa(i) + ".pdf",
			Description: text(10, 30), Collection: "Collection " + strconv.Itoa(i%300), At: time.Unix(int64(1.6e9)+int64(i)*60, 0),
		})
	}
}

func BenchmarkSearch(b *testing.B) {
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	x := find.New(many)
	start := time.Now()
	crowd(many, func(d find.Doc) {
		if err := x.Add(d); err != nil {
			b.Fatal(err)
		}
	})
	built := time.Since(start)
	runtime.GC()
	runtime.ReadMemStats(&after)
	for name, q := range map[string]string{
		"one word": "etan", "one letter": "e", "two words": "eta anta", "six words": "etaet tatae aeta oaet iaet naet", "pdf": "pdf", "collection": "collection 12", "nothing": "zzzz",
	} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				x.Search(q, 30)
			}
		})
	}
	b.Run("all of it", func(b *testing.B) {
		for b.Loop() {
			x.Len()
		}
		b.ReportMetric(float64(after.HeapAlloc-before.HeapAlloc)/1e6, "MB")
		b.ReportMetric(float64(built.Milliseconds()), "ms-to-build")
	})
	runtime.KeepAlive(x)
}
