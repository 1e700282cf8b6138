package portal

import (
	"fmt"
	"slices"
	"testing"
	"time"
)

// What one change costs where fifty thousand things are published: all of it is
// put in order anew.
func BenchmarkArrange(b *testing.B) {
	l := newLibrary(100_000)
	for i := range 50_000 {
		_, err := l.put(Entry{
			Kind: Published, ID: fmt.Sprint("r-", i), Title: fmt.Sprintf("L’été, chapitre %d", i*7919%50_000), Filename: "f.pdf",
			Collection: fmt.Sprint("Collection ", i%300), Bytes: 10, At: time.Unix(int64(i), 0),
		})
		if err != nil {
			b.Fatal(err)
		}
	}
	for b.Loop() {
		l.arrange(true)
	}
}

// However things come and go, they stand as if all had been put in order at once.
func TestTheOrderIsTheSameHoweverItCame(t *testing.T) {
	l := newLibrary(1000)
	put := func(i, round int) {
		e := Entry{Kind: Published, ID: fmt.Sprint("r-", i), Title: fmt.Sprintf("Été %d", (i*37+round*round)%101), Collection: fmt.Sprint("C", i%3), At: time.Unix(int64(i*31%97), 0)}
		if _, err := l.put(e); err != nil {
			t.Fatal(err)
		}
	}
	for i := range 200 {
		put(i, 0)
	}
	for round := range 40 {
		put(round*7%200, round)
		put(200+round, round)
		l.mu.Lock()
		l.remove(thing{Published, fmt.Sprint("r-", round*11%200)})
		l.mu.Unlock()
		l.arrange(true)
		n := 0
		for _, c := range l.now().collections {
			n += len(c.Entries)
			want := slices.Clone(c.Entries)
			inOrder(want)
			if !slices.Equal(c.Entries, want) {
				t.Fatalf("round %d: %s is out of order", round, c.Name)
			}
		}
		recent := l.now().recent
		if !slices.IsSortedFunc(recent, func(a, b *Entry) int { return b.At.Compare(a.At) }) || len(recent) != mostRecent || n != len(l.things) || l.now().total != n {
			t.Fatalf("round %d: %d things of %d, %d recent", round, n, len(l.things), len(recent))
		}
	}
}
