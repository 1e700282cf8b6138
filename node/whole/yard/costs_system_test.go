//go:build system && linux

package yard_test

import (
	"fmt"
	"maps"
	"slices"
	"sync"
	"syscall"
	"testing"
	"time"
)

// cost is what it took to give files to devices.
type cost struct {
	bytes float64
	took  time.Duration
	cpu   [3]time.Duration // the box that has it, the one that is asked, the devices
	from  map[string]int
	said  []string // by the box, once
	lined int64    // bytes of bodies that crossed the line
}

// rate is in MB/s, of all devices together.
func (c cost) rate() float64 { return c.bytes / 1e6 / c.took.Seconds() }

// perGB are seconds of CPU for each GB that devices got.
func (c cost) perGB(i int) float64 { return c.cpu[i].Seconds() / (c.bytes / 1e9) }

// and is both costs together.
func (c cost) and(o cost) cost {
	sum := cost{c.bytes + o.bytes, c.took + o.took, c.cpu, map[string]int{}, o.said, c.lined + o.lined}
	for i := range o.cpu {
		sum.cpu[i] += o.cpu[i]
	}
	for _, from := range []map[string]int{c.from, o.from} {
		for what, n := range from {
			sum.from[what] += n
		}
	}
	return sum
}

func (c cost) String() string {
	return fmt.Sprintf("%.0f MB/s; CPU s/GB: asked box %.2f, holder %.2f, devices %.2f; said %v, such as %q; over the line: %d bytes of bodies",
		c.rate(), c.perGB(1), c.perGB(0), c.perGB(2), c.from, c.said, c.lined)
}

// read has devices ask a box for files, all of them the same ones in the same
// order, or each file once.
func (y *yard) read(t *testing.T, holder, asked *box, files []string, devices int, same bool) cost {
	t.Helper()
	c := cost{from: map[string]int{}}
	before := y.carried(t)
	used := func() (cpu [3]time.Duration) {
		for i, b := range []*box{holder, asked} {
			at, err := b.cpu()
			if err != nil {
				t.Fatal(err)
			}
			cpu[i] = at
		}
		var mine syscall.Rusage
		if err := syscall.Getrusage(syscall.RUSAGE_SELF, &mine); err != nil {
			t.Fatal(err)
		}
		cpu[2] = time.Duration(mine.Utime.Nano() + mine.Stime.Nano())
		return cpu
	}
	var mu sync.Mutex
	var wg sync.WaitGroup
	all := make(chan string, len(files))
	for _, f := range files {
		all <- f
	}
	close(all)
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
				g, err := d.whole(t.Context(), y, asked.host.Addr.String(), f)
				mu.Lock()
				if err != nil {
					t.Error(err)
				}
				c.bytes += float64(g.n)
				c.from[g.from()]++
				c.said = g.header.Values("Cache-Status")
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	c.took = time.Since(began)
	for i, at := range used() {
		c.cpu[i] = at - cpu[i]
	}
	profiles()
	c.lined = y.carried(t).since(before).bodies
	return c
}

// onlyAt has a box fetch files of one size, until there are n that no other box
// has: what is another's to fetch lies there too.
func (y *yard) onlyAt(t *testing.T, holder, asked *box, name string, n, size int) (only []string) {
	t.Helper()
	d := y.device(0)
	defer d.close()
	for i := range 8 * n {
		file := path(t, fmt.Sprint(name, i), size)
		if _, err := d.whole(t.Context(), y, holder.host.Addr.String(), file); err != nil {
			t.Fatal(err)
		}
		g, err := d.get(t.Context(), asked.host.Addr.String(), file, "Cache-Control", "only-if-cached")
		if err != nil {
			t.Fatal(err)
		}
		if g.status == 504 {
			only = append(only, file)
		}
		if len(only) == n {
			return only
		}
	}
	t.Fatalf("%d files of %d lie on one box only", len(only), 8*n)
	return nil
}

// given is how many bodies the box has passed on and kept nothing of.
func (b *box) given(t *testing.T) float64 {
	t.Helper()
	n, err := b.metric("preau_object_removed_total", `cause="lent"`)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// TestWhatLiesNextDoorIsNotFetchedAgain reads what only the box next door has,
// twice, once more, so that it is kept, and then what the own box has: film by
// film, picture by picture, and with a class of 35. All are read in turns, as the
// machine has other work to do.
//
// What a neighbour keeps is passed on twice, and kept the third time. Seconds of CPU
// for each GB, of files of 32 MiB that each of two devices takes once, on two shared
// cores of an EPYC with SHA-NI that had much else to do (rates say little then):
//
//	                       passed on    kept too    local
//	asked box                2.5–2.7     5.6–6.8     0.5–0.8
//	holder                   1.8–2.0     1.8–2.6     0.0–0.1
//	devices, with a digest   1.0–1.1     1.1–1.2     1.5–1.6
//
// Of what passing on costs the asked box, by the shares in its profile, system calls
// are four tenths (records of TLS in, the device's answer out), the one digest of
// each block a quarter, deciphering an eighth, and copies within the process, of
// which three are left, all of them the network library's, an eighth.
//
// All of it shares the two cores, so where they are what is short, rates are as the
// sums: (0.5 + 1.5) / (2.5 + 1.8 + 1.0) = 0.38. For 0.8 both boxes together would
// have to do with 1.5, and with nothing compared they would still take 3.7. By the same sums a box with two cores of its
// own has enough for 800 MB/s from next door (2 / 2.5): a network of 1 Gbit/s carries
// 118, and is the bound of both kinds of reading. A small file also waits for the
// authority's word, a round trip of the line in which nothing flows. A class of 35
// that follows one fetch is as fast as one that is given what is kept.
func TestWhatLiesNextDoorIsNotFetchedAgain(t *testing.T) {
	y := pool(t, stage{boxes: 2, rate: 1_000_000_000})
	holder, asked := y.boxes[0], y.boxes[1]
	small := y.onlyAt(t, holder, asked, "small", 8, 4*mib)
	films := y.onlyAt(t, holder, asked, "film", 4, 32*mib)
	for _, part := range []struct {
		name    string
		files   []string
		turns   int
		devices int
		same    bool
	}{
		{"two devices, each file of 32 MiB once", films, 2, 2, false},
		{"two devices, each file of 4 MiB once", small[:len(small)-2], 2, 2, false},
		{"a class of 35, all the same files of 4 MiB", small[len(small)-2:], 1, 35, true},
	} {
		var next, kept, local cost
		per := (len(part.files) + part.turns - 1) / part.turns
		for files := range slices.Chunk(part.files, per) {
			read := func() cost { return y.read(t, holder, asked, files, part.devices, part.same) }
			before := asked.given(t)
			next = next.and(read())
			if !part.same { // a class is often at once
				next = next.and(read())
				within(t, 30*time.Second, func() error {
					if n := asked.given(t) - before; n != 2*float64(len(files)) {
						return fmt.Errorf("%s: %v of %d files are not kept after they were asked for twice", part.name, n/2, len(files))
					}
					return nil
				})
				kept = kept.and(read())
			}
			local = local.and(read())
		}
		figure(t, part.name+", next door", "%v", next)
		if kept.bytes > 0 {
			figure(t, part.name+", next door and kept", "%v", kept)
		}
		figure(t, part.name+", local", "%v", local)
		figure(t, part.name+": next door against local", "%.2f of the rate", next.rate()/local.rate())
		if most := 0.01 * next.bytes; float64(next.lined) > most {
			t.Errorf("%s: what lies next door crossed the line: %v; %s", part.name, next.lined, asked.series("preau_pool_"))
		}
		if local.from["local"] == 0 || local.lined > 10_000 {
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
	time.Sleep(35 * time.Second) // what comes with a start is over, the first look at copies too
	var before []time.Duration
	var taps []*tap
	for _, b := range y.boxes {
		cpu, err := b.cpu()
		if err != nil {
			t.Fatal(err)
		}
		before, taps = append(before, cpu), append(taps, listenIn(t, b.host))
	}
	line := y.line.Crossed(t)
	// Whatever they do now and then, they do as often in this time as all day: one
	// of them looks around by multicast every 45 to 60 seconds, each is to prove
	// itself once a minute, and is asked every other minute which copies it has.
	const watch = 2 * time.Minute
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
	crossed := y.line.Crossed(t).Since(line)
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
	figure(t, "nine idle boxes' line", "down %.0f bytes/s, up %.0f bytes/s", float64(crossed.Down)/watch.Seconds(), float64(crossed.Up)/watch.Seconds())
	if more, most := mean(cpu[:6])-mean(cpu[6:]), 2*bound(time.Second).Seconds(); more > most {
		t.Errorf("neighbours cost %.1f ms of CPU a second", more)
	}
	// Bytes are no matter of the machine's speed.
	if rate := float64(found.bytes) / (6 * watch).Seconds(); rate > 1000 {
		t.Errorf("neighbours cost each box %.0f bytes/s", rate)
	}
}
