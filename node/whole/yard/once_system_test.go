//go:build system && linux

package yard_test

import (
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"
)

// crossesOnce downloads one film with 60 devices over three boxes. Bytes are counted twice: bodies, as the region's server and
// the site gave them away, and packets, whose overhead is that of one device's
// download at one box.
func crossesOnce(t *testing.T, y *yard) {
	const small, size = 6 * mib, 50 * mib

	before := y.carried(t)
	alone, errs := y.class(t, 1, path(t, "one", small), y.boxes[0])
	if len(errs) > 0 {
		t.Fatal(errs)
	}
	one := y.carried(t).since(before)
	overhead := float64(one.Down) / small
	figure(t, "one device, one file of 6 MiB", "%.4f of bodies, %.4f of packets over the line in %v, which takes the line %v",
		float64(one.bodies)/small, overhead, round(alone[0]), round(time.Duration(float64(one.Down)*8/float64(y.line.Is().Rate)*float64(time.Second))))
	// What the line itself needs for one copy, with the overhead of its packets.
	ideal := time.Duration(size * overhead * 8 / float64(y.line.Is().Rate) * float64(time.Second))

	judge := func(t *testing.T, c carried, times []time.Duration, most float64, late float64) {
		t.Helper()
		bodies, packets := float64(c.bodies)/size, float64(c.Down)/(size*overhead)
		last := quantile(times, 1)
		figure(t, t.Name(), "bodies %.4f, packets %.4f of one copy; last device after %.2f s, %.3f of the ideal %.2f s; up %.1f kB",
			bodies, packets, last.Seconds(), last.Seconds()/ideal.Seconds(), ideal.Seconds(), float64(c.Up)/1000)
		if bodies > most {
			t.Errorf("%.4f copies crossed the line, at most %.2f may", bodies, most)
		}
		// The figure is what counts; a busy machine is no fault of the boxes.
		if last > bound(time.Duration(float64(ideal)*late)) {
			t.Errorf("the last device was done after %v, the line needs %v", last, ideal)
		}
	}

	t.Run("all boxes live", func(t *testing.T) {
		file := path(t, "film", size)
		before, watched := y.carried(t), y.line.Watch(t)
		times, errs := y.class(t, 60, file, y.boxes...)
		t.Logf("the line, second by second, in percent: %s", watched())
		for _, err := range errs {
			t.Error(err)
		}
		judge(t, y.carried(t).since(before), times, 1.01, 1.25)
	})

	t.Run("the box that fetches is killed in the middle", func(t *testing.T) {
		file := path(t, "film", size)
		fetched := make([]float64, 3)
		for i, b := range y.boxes {
			fetched[i] = b.count(t, "preau_parent_received_bytes_total")
		}
		before, watched := y.carried(t), y.line.Watch(t)
		var mu sync.Mutex
		var times []time.Duration
		var wg sync.WaitGroup
		lost := make([]int, 3)
		ended := make([][]error, 3)
		for i := range 60 {
			d, n := y.device(i), i%3
			b := y.boxes[n]
			wg.Go(func() {
				defer d.close()
				g, err := d.whole(t.Context(), y, b.host.Addr.String(), file)
				mu.Lock()
				defer mu.Unlock()
				if err != nil {
					lost[n]++
					ended[n] = append(ended[n], err)
					return
				}
				times = append(times, g.took)
			})
		}
		time.Sleep(ideal / 2)
		victim := -1
		for i, b := range y.boxes {
			if fetched[i] = b.count(t, "preau_parent_received_bytes_total") - fetched[i]; victim < 0 || fetched[i] > fetched[victim] {
				victim = i
			}
		}
		y.boxes[victim].kill(t)
		t.Logf("%s is killed; from the region so far: %.0f", y.boxes[victim].name, fetched)
		wg.Wait()
		t.Logf("the line, second by second, in percent: %s", watched())
		for i, errs := range ended {
			if i == victim {
				continue
			}
			for _, err := range errs {
				t.Errorf("a device at %s, which lives: %v", y.boxes[i].name, err)
			}
		}
		if !slices.ContainsFunc(ended[victim], func(err error) bool { return err != nil }) {
			t.Errorf("nobody was cut off at %s: it was killed too late", y.boxes[victim].name)
		}
		for _, err := range ended[victim] {
			if wrong(err) {
				t.Errorf("a device at %s, which was killed: %v", y.boxes[victim].name, err)
			}
		}
		judge(t, y.carried(t).since(before), times, 1.15, 1.4)
		y.boxes[victim].run(t)
		at := y.acquainted(t, 30*time.Second, y.boxes...)
		figure(t, "the killed box is known again", "%v after its start", at.Round(time.Millisecond))
	})
	if t.Failed() {
		for _, b := range y.boxes {
			t.Log(b.name, tell(b.neighbours()))
		}
	}
}

// tell is for logs.
func tell(v any, err error) string {
	if err != nil {
		return err.Error()
	}
	return fmt.Sprintf("%+v", v)
}
