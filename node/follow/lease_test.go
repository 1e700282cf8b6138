package follow

import (
	"testing"
	"time"
)

func TestALeaseCountsTheTimeWithoutTheRegion(t *testing.T) {
	const day = 24 * time.Hour
	start := time.Now()
	tests := map[string]struct {
		lease lease
		after time.Duration
		over  bool
	}{
		"a week without the region":     {lease{since: start}, 7 * day, false},
		"the default is thirty days":    {lease{since: start}, 31 * day, true},
		"what IT set":                   {lease{since: start, lasts: day}, 2 * day, true},
		"counted over restarts":         {lease{since: start, lasts: 10 * day, alone: 9 * day}, 2 * day, true},
		"not over to the last minute":   {lease{since: start, lasts: 10 * day, alone: 9 * day}, day, false},
		"never run, never away":         {lease{lasts: day}, 100 * day, false},
		"never run, but away before it": {lease{lasts: day, alone: 2 * day}, 0, true},
	}
	for name, tt := range tests {
		if got := tt.lease.over(start.Add(tt.after)); got != tt.over {
			t.Errorf("%s: over = %v, want %v", name, got, tt.over)
		}
	}
}
