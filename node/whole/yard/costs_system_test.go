//go:build system && linux

package yard_test

import (
	"fmt"
	"maps"
	"slices"
	"sync"
	"testing"
	"time"
)

// cost is what it took to give files to devices.
type cost struct {
	rate  float64    // MB/s, of all devices together
	cpu   [2]float64 // seconds per GB that devices got: the box that has it, the one that is asked
	from  map[string]int
	said  []string // by the box, once
	lined carried
}

// read has devices ask a box for files, all of them the same ones in the same
// order, or each file once.
func (y *yard) read(t *testing.T, holder, asked *box, files []string, devices int, same bool) cost {
	t.Helper()
	c := cost{from: map[string]int{}}
	before := y.carried(t)
	used := func() (cpu [2]time.Duration) {
		for i, b := range []*box{holder, asked} {
			at, err := b.cpu()
			if err != nil {
				t.Fatal(err)
			}
			cpu[i] = at
		}
		return cpu
	}
	var mu sync.Mutex
	var wg sync.WaitGroup
	all := make(chan string, len(files))
	for _, f := range files {
		all <- f
	}
	close(all)
	var total float64
	profiles := profiled(t, holder, asked)
	cpu, began := used(), time.Now()
	for i := range devices {
		todo := all
		if same {
			todo = make(chan string, len(files))
			for _, f := range files {
				todo <- f
			}
			close(todo)
		}
		wg.Go(func() {
			d := y.device(i)
			defer d.close()
			for f := range todo {
				g, err := d.whole(t.Context(), y, asked.host.addr.String(), f)
				mu.Lock()
				if err != nil {
					t.Error(err)
				}
				total += float64(g.n)
				c.from[g.from()]++
				c.said = g.header.Values("Cache-Status")
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	c.rate = total / 1e6 / time.Since(began).Seconds()
	for i, at := range used() {
		c.cpu[i] = (at - cpu[i]).Seconds() / (total / 1e9)
	}
	profiles()
	c.lined = y.carried(t).since(before)
	return c
}

// TestWhatLiesNextDoorIsNotFetchedAgain reads what only the box next door has,
// and then what the own box has: file by file, and with a class of 35.
func TestWhatLiesNextDoorIsNotFetchedAgain(t *testing.T) {
	y := pool(t, stage{boxes: 2, rate: 1_000_000_000})
	holder, asked := y.boxes[0], y.boxes[1]
	const size, files = 4 * mib, 48
	d := y.device(0)
	defer d.close()
	var only []string
	for i := range files {
		file := path(t, fmt.Sprint(i), size)
		if _, err := d.whole(t.Context(), y, holder.host.addr.String(), file); err != nil {
			t.Fatal(err)
		}
		// What is the other's to fetch lies there too.
		g, err := d.get(t.Context(), asked.host.addr.String(), file, "Cache-Control", "only-if-cached")
		if err != nil {
			t.Fatal(err)
		}
		if g.status == 504 {
			only = append(only, file)
		}
	}
	if len(only) < 6 {
		t.Fatalf("%d files of %d lie on one box only", len(only), files)
	}
	class, single := only[:4], only[4:]
	for _, part := range []struct {
		name    string
		files   []string
		devices int
		same    bool
	}{
		{"two devices, each file once", single, 2, false},
		{"a class of 35, all the same files", class, 35, true},
	} {
		next := y.read(t, holder, asked, part.files, part.devices, part.same)
		local := y.read(t, holder, asked, part.files, part.devices, part.same)
		for _, c := range []struct {
			name string
			cost
		}{{"next door", next}, {"local", local}} {
			figure(t, part.name+", "+c.name, "%.0f MB/s; CPU s/GB: asked box %.2f, holder %.2f; said %v, such as %q; over the line: %v",
				c.rate, c.cpu[1], c.cpu[0], c.from, c.said, c.lined)
		}
		figure(t, part.name+": next door against local", "%.2f of the rate", next.rate/local.rate)
		if most := 0.01 * float64(len(part.files)) * size; float64(next.lined.bodies) > most {
			t.Errorf("%s: what lies next door crossed the line: %v; %s", part.name, next.lined, asked.series("preau_pool_"))
		}
		if local.from["local"] == 0 || local.lined.bodies > 10_000 {
			t.Errorf("%s: what was read is not kept: %v, %v", part.name, local.from, local.lined)
		}
	}
}

// TestSixIdleBoxesCostNextToNothing compares boxes that gossip with three that do
// not, on the same network at the same time.
func TestSixIdleBoxesCostNextToNothing(t *testing.T) {
	y := lay(t, stage{})
	y.found(t, 1)
	for i := range 9 {
		b := y.enrol(t, fmt.Sprintf("box-%d", i+1), "0690001A", i < 6, "")
		b.run(t)
	}
	for _, b := range y.boxes {
		y.ready(t, b)
	}
	y.acquainted(t, 45*time.Second, y.boxes[:6]...)
	time.Sleep(15 * time.Second) // what comes with a start is over
	var before []time.Duration
	var taps []*tap
	for _, b := range y.boxes {
		cpu, err := b.cpu()
		if err != nil {
			t.Fatal(err)
		}
		before, taps = append(before, cpu), append(taps, listenIn(t, b.host))
	}
	line := y.line.crossed(t)
	watch := 30 * time.Second
	if long() {
		watch = time.Minute
	}
	time.Sleep(watch)
	var cpu [9]float64
	six := map[string]load{}
	for i, b := range y.boxes {
		now, err := b.cpu()
		if err != nil {
			t.Fatal(err)
		}
		cpu[i] = (now - before[i]).Seconds() * 1000 / watch.Seconds()
		for what, n := range taps[i].heard(t) {
			if i < 6 {
				six[what] = six[what].plus(n)
			}
		}
	}
	crossed := y.line.crossed(t).since(line)
	mean := func(v []float64) (sum float64) {
		for _, x := range v {
			sum += x / float64(len(v))
		}
		return sum
	}
	var found load
	for _, what := range slices.Sorted(maps.Keys(six)) {
		figure(t, "six idle neighbours, each, in and out: "+what, "%s", six[what].over(6*watch))
		if what != elsewhere {
			found = found.plus(six[what])
		}
	}
	figure(t, "six idle neighbours, each, in and out: all that makes them neighbours", "%s", found.over(6*watch))
	figure(t, "six idle neighbours, each", "CPU %.2f ms/s more than the %.2f of a box without; %.1f", mean(cpu[:6])-mean(cpu[6:]), mean(cpu[6:]), cpu)
	figure(t, "nine idle boxes' line", "down %.0f bytes/s, up %.0f bytes/s", float64(crossed.down)/watch.Seconds(), float64(crossed.up)/watch.Seconds())
	if more, most := mean(cpu[:6])-mean(cpu[6:]), 2*bound(time.Second).Seconds(); more > most {
		t.Errorf("neighbours cost %.1f ms of CPU a second", more)
	}
	// Bytes are no matter of the machine's speed.
	if rate := float64(found.bytes) / (6 * watch).Seconds(); rate > 1000 {
		t.Errorf("neighbours cost each box %.0f bytes/s", rate)
	}
}
