//go:build system && linux

package yard_test

import (
	"fmt"
	"sync"
	"testing"
	"time"
)

// mib is a mebibyte.
const mib = 1 << 20

// class downloads a file with n devices spread over the boxes, at once, and
// gives each device's time. Errors are those of any device.
func (y *yard) class(t *testing.T, n int, path string, boxes ...*box) (times []time.Duration, errs []error) {
	t.Helper()
	if _, _, err := y.site.file(path); err != nil { // make it before the clock runs
		t.Fatal(err)
	}
	var mu sync.Mutex
	var wg sync.WaitGroup
	for i := range n {
		d, b := y.device(i), boxes[i%len(boxes)]
		wg.Go(func() {
			defer d.close()
			g, err := d.whole(t.Context(), y, b.host.Addr.String(), path)
			mu.Lock()
			defer mu.Unlock()
			times = append(times, g.took)
			if err != nil {
				errs = append(errs, fmt.Errorf("a device at %s: %w", b.name, err))
			}
		})
	}
	wg.Wait()
	return times, errs
}

// ideal is how long a line takes for so many bytes of TCP's payload: packets of
// 1,500 bytes carry 1,448 of them.
func (y *yard) ideal(size int64) time.Duration {
	return time.Duration(float64(size) * 1500 / 1448 * 8 / float64(y.line.Is().Rate) * float64(time.Second))
}

// TestBoxesThatAreNoNeighboursCarryEverythingOnce each is what the pool is
// compared with: as many copies cross the line as there are boxes.
func TestBoxesThatAreNoNeighboursCarryEverythingOnceEach(t *testing.T) {
	s := stage{boxes: 3, alone: true}
	if long() {
		s.servers = 3
	}
	y := raise(t, s)
	const size = 3 * mib
	file := path(t, "film", size)
	before := y.carried(t)
	times, errs := y.class(t, 12, file, y.boxes...)
	for _, err := range errs {
		t.Error(err)
	}
	c := y.carried(t).since(before)
	ratio := float64(c.bodies) / size
	figure(t, "3 boxes without neighbours, 12 devices, one file of 3 MiB", "%.3f times over the line (packets %.3f), last after %v, the line needs %v for one",
		ratio, float64(c.Down)/size, round(quantile(times, 1)), round(y.ideal(size)))
	if ratio < 2.9 || ratio > 3.3 {
		t.Errorf("the file crossed the line %.3f times", ratio)
	}
}
