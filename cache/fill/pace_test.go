package fill

import (
	"testing"
	"time"
)

// TestPace has a fetch read from a line that brings a packet of 1,500 bytes at
// a time into a socket's buffer of 128 KiB, which is what a connection begins
// with.
func TestPace(t *testing.T) {
	const packet, buffer = 1500, 128 << 10
	tests := map[string]struct {
		bps      float64
		size     int64
		maxReads float64 // of the packets there are
	}{
		"a quarter of a megabit": {256e3, 1 << 20, 1},
		"two megabits":           {2e6, 4 << 20, 0.7},
		"twenty megabits":        {20e6, 32 << 20, 0.08},
		"a hundred megabits":     {100e6, 64 << 20, 0.07},
		"a gigabit":              {1e9, 64 << 20, 1},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			var (
				p          pace
				now        = time.Unix(1000, 0)
				arrived    float64 // in the buffer and read
				read       int64
				reads      int
				full       bool
				longestOff time.Duration
			)
			pass := func(d time.Duration) {
				now = now.Add(d)
				arrived += d.Seconds() * tt.bps / 8
				if limit := float64(read + buffer); arrived > limit {
					arrived, full = limit, true // the line had to stop
				}
			}
			for read < tt.size {
				if int64(arrived)-read < packet { // what has not come whole can't be read
					pass(time.Duration((float64(read+packet) - arrived) / tt.bps * 8 * 1e9))
				}
				n := min(readSize, max(packet, (int64(arrived)-read)/packet*packet))
				read += n
				reads++
				d := p.rest(n, readSize, now)
				if read <= promptly && d != 0 {
					t.Fatalf("the beginning was kept for %v", d)
				}
				longestOff = max(longestOff, d)
				pass(d + 20*time.Microsecond)
			}
			if full {
				t.Error("the line stood still while the fetch rested")
			}
			if most := tt.maxReads * float64(tt.size) / packet; float64(reads) > most+promptly/packet {
				t.Errorf("%d reads, want at most %.0f", reads, most)
			}
			if longestOff > longestRest {
				t.Errorf("rested for %v", longestOff)
			}
		})
	}
}

// TestPaceAfterSilence: a source that was silent for long, and then is fast, is
// not slowed down by what was.
func TestPaceAfterSilence(t *testing.T) {
	var p pace
	now := time.Unix(1000, 0)
	p.rest(100<<10, readSize, now)
	now = now.Add(20 * time.Second)
	if d := p.rest(1000, readSize, now); d > longestRest {
		t.Errorf("rests for %v", d)
	}
	for range 40 { // a gigabit now
		now = now.Add(100 * time.Microsecond)
		if d := p.rest(12_500, readSize, now); d > longestRest {
			t.Errorf("rests for %v", d)
		}
	}
	if d := p.rest(readSize, readSize, now); d != 0 {
		t.Errorf("rests for %v though there is more to read", d)
	}
}
