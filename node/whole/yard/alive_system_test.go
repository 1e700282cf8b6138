//go:build system && linux

package yard_test

import (
	"errors"
	"fmt"
	"os/exec"
	"regexp"
	"strconv"
	"sync"
	"testing"
	"time"
)

// unknown reports whether the box no longer takes another for alive.
func (b *box) unknown(name string) error {
	if err := b.knows(name); err == nil {
		return fmt.Errorf("%s still takes %s for alive", b.name, name)
	}
	if _, err := b.neighbours(); err != nil {
		return err
	}
	return nil
}

// knownSoon starts a box again and again.
func knownSoon(t *testing.T, y *yard) {
	last := y.boxes[2]
	starts := 5
	if long() {
		starts = 50
	}
	var known, used []time.Duration
	for i := range starts {
		last.stop(t)
		within(t, 30*time.Second, func() error {
			return errors.Join(y.boxes[0].unknown(last.name), y.boxes[1].unknown(last.name))
		})
		began := time.Now()
		last.run(t)
		if _, err := took(30*time.Second, 10*time.Millisecond, func() error {
			for _, b := range y.boxes[:2] {
				if err := b.knows(last.name); err != nil {
					return err
				}
			}
			return nil
		}); err != nil {
			t.Fatal(err)
		}
		known = append(known, time.Since(began))
		// New files are asked for at box-1, six at a time as each third one is the new
		// box's to fetch, until one of them comes by it.
		at, err := took(30*time.Second, 0, func() error {
			was := last.count(t, "preau_parent_received_bytes_total")
			errs := make([]error, 6)
			var wg sync.WaitGroup
			for n := range errs {
				wg.Go(func() {
					d := y.device(n)
					defer d.close()
					file := path(t, fmt.Sprintf("%d.%d", time.Now().UnixNano(), n), 8<<10)
					_, errs[n] = d.whole(t.Context(), y, y.boxes[0].host.Addr.String(), file)
				})
			}
			wg.Wait()
			if err := errors.Join(errs...); err != nil {
				return err
			}
			if last.count(t, "preau_parent_received_bytes_total") == was {
				return fmt.Errorf("%s was not asked to fetch anything", last.name)
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		used = append(used, known[i]+at)
		if used[i] > 1500*time.Millisecond {
			t.Logf("start %d at %v: known after %v, used after %v", i, began.UTC(), round(known[i]), round(used[i]))
		}
	}
	figure(t, "start of a box until the others know it", "%s", spread(known))
	figure(t, "start of a box until it fetches for another", "%s", spread(used))
	if p99 := quantile(used, 0.99); p99 > bound(2*time.Second) {
		t.Errorf("a new box was known and used after %v", p99)
	}
}

// spread is what is told of durations.
func spread(d []time.Duration) string {
	return fmt.Sprintf("p50 %v, p99 %v, most %v of %d", round(quantile(d, 0.5)), round(quantile(d, 0.99)), round(quantile(d, 1)), len(d))
}

func round(d time.Duration) time.Duration { return d.Round(time.Millisecond) }

var packets = regexp.MustCompile(`packets (\d+)`)

// knocks is how many connections others have begun to the box's face for
// neighbours since watch.
func (b *box) knocks(t *testing.T) int {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), "ip", "netns", "exec", b.host.NS, "nft", "list", "counter", "inet", "test", "knocks").Output()
	found := packets.FindSubmatch(out)
	if err != nil || found == nil {
		t.Fatalf("count who knocks at %s: %v: %s", b.name, err, out)
	}
	n, err := strconv.Atoi(string(found[1]))
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func (b *box) watch(t *testing.T) {
	t.Helper()
	b.host.Filter(t, "counter knocks { }",
		fmt.Sprintf("chain in { type filter hook input priority 0; tcp dport %d tcp flags syn / syn,ack counter name knocks; }", nearPort))
}

// missed is how long it is until the first two boxes no longer take the third for
// alive.
func (y *yard) missed(t *testing.T) time.Duration {
	t.Helper()
	at, err := took(30*time.Second, 10*time.Millisecond, func() error {
		return errors.Join(y.boxes[0].unknown(y.boxes[2].name), y.boxes[1].unknown(y.boxes[2].name))
	})
	if err != nil {
		t.Error(err)
	}
	if at > bound(6*time.Second) {
		t.Errorf("a box that was gone was taken for alive for %v", at)
	}
	return at
}

// missedSoon has a box go of which nobody wants anything: its process dies, and
// then its cable is pulled out.
func missedSoon(t *testing.T, y *yard) {
	victim := y.boxes[2]
	var killed, pulled []time.Duration
	for range 3 {
		victim.kill(t)
		killed = append(killed, y.missed(t))
		victim.run(t)
		y.acquainted(t, 30*time.Second, y.boxes...)
		y.school.IP(t, "link", "set", "p-b3", "down")
		pulled = append(pulled, y.missed(t))
		y.school.IP(t, "link", "set", "p-b3", "up")
		y.acquainted(t, 60*time.Second, y.boxes...)
	}
	figure(t, "kill of an idle box until the others know", "%s", spread(killed))
	figure(t, "cable of an idle box pulled out until the others know", "%s", spread(pulled))
}

// leftAloneSoon kills a box while devices ask the others for new files all the
// time.
func leftAloneSoon(t *testing.T, y *yard) {
	victim := y.boxes[2]
	var gone, quiet, waits []time.Duration
	late := 0
	watch := bound(7 * time.Second)
	defer victim.host.Filter(t)
	for round := range 2 {
		victim.watch(t)
		var mu sync.Mutex
		var wg sync.WaitGroup
		stop := make(chan struct{})
		for i := range 5 {
			b := y.boxes[i%2]
			wg.Go(func() {
				d := y.device(i)
				defer d.close()
				for n := 0; ; n++ {
					select {
					case <-stop:
						return
					case <-time.After(150 * time.Millisecond):
					}
					g, err := d.whole(t.Context(), y, b.host.Addr.String(), path(t, fmt.Sprintf("%d.%d.%d", round, i, n), 24<<10))
					mu.Lock()
					waits = append(waits, g.took)
					if err != nil {
						t.Errorf("a device at %s: %v", b.name, err)
					}
					mu.Unlock()
				}
			})
		}
		time.Sleep(time.Second)
		began := time.Now()
		victim.kill(t)
		lastKnock, knocks, known := time.Duration(0), victim.knocks(t), time.Duration(0)
		for time.Since(began) < watch {
			time.Sleep(100 * time.Millisecond)
			if n := victim.knocks(t); n != knocks {
				knocks, lastKnock = n, time.Since(began)
				if lastKnock > 6*time.Second {
					late++
				}
			}
			if known == 0 && y.boxes[0].unknown(victim.name) == nil && y.boxes[1].unknown(victim.name) == nil {
				known = time.Since(began)
			}
		}
		close(stop)
		wg.Wait()
		if known == 0 {
			t.Errorf("%s is taken for alive %v after it was killed: %s", victim.name, watch, tell(y.boxes[0].neighbours()))
			known = watch
		}
		gone, quiet = append(gone, known), append(quiet, lastKnock)
		victim.run(t)
		y.acquainted(t, 30*time.Second, y.boxes...)
	}
	figure(t, "kill of a box until the others know", "p50 %v, most %v of %d", round(quantile(gone, 0.5)), round(quantile(gone, 1)), len(gone))
	figure(t, "kill of a box until nobody connects to it", "most %v; %d times later than 6 s", round(quantile(quiet, 1)), late)
	figure(t, "requests meanwhile", "%d, p50 %v, p99 %v, most %v", len(waits), round(quantile(waits, 0.5)), round(quantile(waits, 0.99)), round(quantile(waits, 1)))
	if most := quantile(gone, 1); most > bound(6*time.Second) {
		t.Errorf("a killed box was taken for alive for %v", most)
	}
	if p99 := quantile(waits, 0.99); p99 > bound(1500*time.Millisecond) {
		t.Errorf("p99 of requests meanwhile was %v", p99)
	}
}
