package popular_test

import (
	"bytes"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"preau/cache/popular"
)

var start = time.Date(2026, 9, 1, 8, 0, 0, 0, time.UTC)

const day = 24 * time.Hour

func counter(tb testing.TB, change ...func(*popular.Config)) *popular.Counter {
	tb.Helper()
	cfg := popular.DefaultConfig()
	for _, c := range change {
		c(&cfg)
	}
	c, err := popular.New(cfg)
	if err != nil {
		tb.Fatal(err)
	}
	return c
}

func add(c *popular.Counter, key string, n int, at time.Time) {
	for range n {
		c.Add(key, at)
	}
}

func tell(d popular.Digest, ok bool) string {
	out := fmt.Sprint(ok, " ", d.Seq)
	for _, e := range d.Entries {
		out += fmt.Sprintf(" %s:%d:%.2f", e.Key, e.Hits, e.Weight)
	}
	return out
}

func want(t *testing.T, got, want string) {
	t.Helper()
	if got != want {
		t.Errorf("digest %q, want %q", got, want)
	}
}

func TestOnlyWhatManyAskedForIsTold(t *testing.T) {
	c := counter(t)
	add(c, "four", 4, start)
	add(c, "five", 5, start)
	add(c, "nine", 9, start)
	want(t, tell(c.Digest(start, popular.Threshold)), "true 1 nine:9:9.00 five:5:5.00")
	c = counter(t)
	add(c, "", 9, start)
	add(c, strings.Repeat("x", 2000), 9, start)
	add(c, "four", 4, start)
	want(t, tell(c.Digest(start, popular.Threshold)), "false 0")
}

func TestHitsAreThoseOfTheWindow(t *testing.T) {
	c := counter(t)
	now := time.Unix(1_700_000_000, 0)
	add(c, "a", 3, now)
	add(c, "b", 1, now)
	for _, tt := range []struct {
		key   string
		after time.Duration
		want  uint64
	}{{"a", 0, 3}, {"b", time.Hour, 1}, {"c", 0, 0}, {"a", popular.DefaultConfig().Window + time.Hour, 0}} {
		if got := c.Hits(tt.key, now.Add(tt.after)); got != tt.want {
			t.Errorf("%q after %v: %d hits, want %d", tt.key, tt.after, got, tt.want)
		}
	}
}

func TestNothingIsToldTwice(t *testing.T) {
	c := counter(t)
	add(c, "a", 6, start)
	add(c, "b", 3, start)
	want(t, tell(c.Digest(start, 5)), "true 1 a:6:6.00")
	add(c, "a", 5, start)
	add(c, "b", 3, start)
	want(t, tell(c.Digest(start, 5)), "true 1 a:6:6.00") // the same until it has arrived
	c.Ack(7)
	want(t, tell(c.Digest(start, 5)), "true 1 a:6:6.00")
	c.Ack(1)
	want(t, tell(c.Digest(start.Add(time.Hour), 5)), "true 2 b:6:6.00 a:5:5.00")
	c.Ack(2)
	c.Ack(2)
	want(t, tell(c.Digest(start, 5)), "false 0")
	if c.Len() != 0 {
		t.Errorf("%d keys are left", c.Len())
	}
}

func TestOldRequestsCountForLess(t *testing.T) {
	c := counter(t)
	add(c, "a", 8, start)
	want(t, tell(c.Digest(start.Add(7*day), 5)), "true 1 a:8:4.00")
	c = counter(t)
	add(c, "a", 4, start)
	add(c, "a", 4, start.Add(10*day))
	want(t, tell(c.Digest(start.Add(20*day), 5)), "false 0") // but four in the window
	c = counter(t)
	add(c, "a", 8, start)
	want(t, tell(c.Digest(start.Add(40*day), 5)), "false 0")
	add(c, "a", 4, start.Add(40*day))
	want(t, tell(c.Digest(start.Add(40*day), 5)), "false 0")
}

func TestAClockThatJumps(t *testing.T) {
	c := counter(t)
	add(c, "a", 3, start.Add(400*day))
	add(c, "a", 3, start)
	want(t, tell(c.Digest(start, 5)), "true 1 a:6:6.00")
	c = counter(t)
	add(c, "b", 6, start.Add(2*day))
	want(t, tell(c.Digest(start, 5)), "true 1 b:6:6.00")
	c.Ack(1)
	want(t, tell(c.Digest(start, 5)), "false 0")
}

func TestMemoryIsBoundedAndThePopularStay(t *testing.T) {
	c := counter(t, func(c *popular.Config) { c.Keys, c.Entries = 1000, 10 })
	for i := range 20 {
		add(c, fmt.Sprint("popular", i), 50, start)
	}
	for i := range 50_000 {
		c.Add(fmt.Sprint("once", i), start)
	}
	if c.Len() != 1000 {
		t.Errorf("%d keys are kept", c.Len())
	}
	d, _ := c.Digest(start, 5)
	if len(d.Entries) != 10 {
		t.Errorf("%d entries", len(d.Entries))
	}
	for _, e := range d.Entries {
		if !strings.HasPrefix(e.Key, "popular") || e.Hits != 50 {
			t.Errorf("entry %+v", e)
		}
	}
}

func TestManyCountAtOnce(t *testing.T) {
	c := counter(t)
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			for range 1000 {
				c.Add("a", start)
				if d, ok := c.Digest(start, 5); ok && d.Seq == 0 {
					t.Error("a digest without a number")
				}
			}
		})
	}
	all.Wait()
	c.Ack(1)
	d, _ := c.Digest(start, 1)
	if first := uint64(8000) - d.Entries[0].Hits; first < 1 || first > 8000 {
		t.Errorf("told %d and then %d", first, d.Entries[0].Hits)
	}
}

func TestWhatIsWrittenIsRead(t *testing.T) {
	c := counter(t)
	add(c, "a", 6, start)
	add(c, "b", 2, start.Add(3*day))
	c.Digest(start, 5)
	add(c, "a", 7, start.Add(day))
	b, err := c.MarshalBinary()
	if err != nil {
		t.Fatal(err)
	}
	back := counter(t)
	if err := back.UnmarshalBinary(b); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		want(t, tell(back.Digest(start, 5)), "true 1 a:6:6.00")
	}
	back.Ack(1)
	want(t, tell(back.Digest(start.Add(day), 2)), "true 2 a:7:7.00 b:2:2.00")
	for i := range b {
		if i%7 == 0 {
			bad := bytes.Clone(b)
			bad[i] ^= 4
			if back.UnmarshalBinary(bad) == nil {
				t.Errorf("a flipped bit in byte %d is not seen", i)
			}
		}
	}
	if back.UnmarshalBinary(b[:len(b)-1]) == nil || back.UnmarshalBinary(nil) == nil {
		t.Error("a cut end is not seen")
	}
	other := counter(t, func(c *popular.Config) { c.Window = day })
	if err := other.UnmarshalBinary(b); err != nil || other.Len() != 0 {
		t.Errorf("with another window: %d keys, %v", other.Len(), err)
	}
	if _, ok := other.Digest(start, 1); ok {
		t.Error("with another window there is a digest")
	}
}

func TestBadConfig(t *testing.T) {
	for name, change := range map[string]func(*popular.Config){
		"half-life": func(c *popular.Config) { c.HalfLife = 0 },
		"window":    func(c *popular.Config) { c.Window = 1 },
		"keys":      func(c *popular.Config) { c.Keys = 0 },
		"entries":   func(c *popular.Config) { c.Entries = -1 },
	} {
		cfg := popular.DefaultConfig()
		change(&cfg)
		if _, err := popular.New(cfg); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}

func FuzzLoad(f *testing.F) {
	c := counter(f)
	add(c, "a", 6, start)
	c.Digest(start, 5)
	add(c, "b", 6, start)
	b, err := c.MarshalBinary()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(b[9:])
	f.Fuzz(func(t *testing.T, b []byte) {
		c := counter(t, func(c *popular.Config) { c.Keys = 50 })
		if c.Load(b) != nil {
			return
		}
		if c.Len() > 50 {
			t.Errorf("%d keys", c.Len())
		}
		c.Add("x", start)
		d, _ := c.Digest(start, 5)
		c.Ack(d.Seq)
		if _, err := c.MarshalBinary(); err != nil {
			t.Error(err)
		}
	})
}

func BenchmarkAdd(b *testing.B) {
	c := counter(b)
	b.ReportAllocs()
	for b.Loop() {
		c.Add("a", start)
	}
}
