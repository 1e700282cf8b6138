//go:build system && linux

package yard_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"preau/node/whole/netns"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// serves has a device ask each of the boxes for a file that is new to all.
func (y *yard) serves(t *testing.T, name string, boxes ...*box) {
	t.Helper()
	for i, b := range boxes {
		d := y.device(i)
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
		if _, err := d.whole(ctx, y, b.host.Addr.String(), path(t, name+strconv.Itoa(i), 100_000)); err != nil {
			t.Errorf("a device at %s: %v", b.name, err)
		}
		cancel()
		d.close()
	}
}

// how is by what means the boxes were found, as box b says.
func (b *box) how(t *testing.T) string {
	t.Helper()
	list, err := b.neighbours()
	if err != nil {
		t.Error(err)
	}
	said := ""
	for _, n := range list {
		said += fmt.Sprintf(" %s=%s(%s)", n.Name, n.State, n.Found)
	}
	return b.name + ":" + said
}

// TestNeighboursAreFoundWithoutMulticast filters it, as access points and
// switches do: then the region tells the boxes of one another, or their files do.
func TestNeighboursAreFoundWithoutMulticast(t *testing.T) {
	y := raise(t, stage{boxes: 3, alone: true})
	for i, b := range y.boxes {
		netns.Tool(t, "ip", "netns", "exec", y.school.NS, "bridge", "link", "set", "dev", "p-b"+strconv.Itoa(i+1), "mcast_flood", "off")
		b.stop(t)
		y.configure(t, b, true, "")
	}
	began := time.Now()
	for _, b := range y.boxes {
		b.run(t)
	}
	y.acquainted(t, 60*time.Second, y.boxes...)
	figure(t, "no multicast: boxes found by the region's word", "%v after their start; %s", round(time.Since(began)), y.boxes[0].how(t))
	y.serves(t, "feed", y.boxes...)

	// A power cut, and the line is dead when the boxes come back.
	for _, b := range y.boxes {
		b.kill(t)
	}
	y.line.Cut(t, true)
	began = time.Now()
	for _, b := range y.boxes {
		b.run(t)
	}
	y.acquainted(t, 60*time.Second, y.boxes...)
	figure(t, "no multicast, no line: boxes found by what they remember", "%v after their start; %s", round(time.Since(began)), y.boxes[0].how(t))
	y.line.Cut(t, false)

	// The first address of a file is enough for all.
	for _, b := range y.boxes {
		b.stop(t)
		y.configure(t, b, true, fmt.Sprintf("boxes = [%q]", netip.AddrPortFrom(y.boxes[0].host.Addr, gossipPort).String()))
	}
	began = time.Now()
	for _, b := range y.boxes {
		b.run(t)
	}
	y.acquainted(t, 60*time.Second, y.boxes...)
	figure(t, "no multicast: boxes found by their files", "%v after their start; %s", round(time.Since(began)), y.boxes[2].how(t))

	t.Run("neighbours live without UDP", func(t *testing.T) { withoutUDP(t, y) })
}

// withoutUDP filters gossip's datagrams, so that it has TCP only.
func withoutUDP(t *testing.T, y *yard) {
	for _, b := range y.boxes {
		b.host.Filter(t, netns.Drop(fmt.Sprintf("udp dport %d", gossipPort)))
		b.stop(t)
	}
	began := time.Now()
	for _, b := range y.boxes {
		b.run(t)
	}
	y.acquainted(t, 60*time.Second, y.boxes...)
	figure(t, "no UDP for gossip: boxes known", "%v after their start", round(time.Since(began)))
	for end := time.Now().Add(8 * time.Second); time.Now().Before(end); time.Sleep(300 * time.Millisecond) {
		for _, b := range y.boxes {
			for _, other := range y.boxes {
				if b != other {
					if err := b.knows(other.name); err != nil {
						t.Fatalf("a living box was given up: %v", err)
					}
				}
			}
		}
	}
	y.serves(t, "tcp", y.boxes...)
	y.boxes[2].kill(t)
	at, err := took(60*time.Second, 50*time.Millisecond, func() error { return y.boxes[0].unknown(y.boxes[2].name) })
	if err != nil {
		t.Fatal(err)
	}
	figure(t, "no UDP for gossip: a killed box is known to be gone", "after %v", round(at))
}

// foundAgain takes the network away in the ways that schools have.
func foundAgain(t *testing.T, y *yard) {
	a, b, c := y.boxes[0], y.boxes[1], y.boxes[2]

	t.Run("a partition heals", func(t *testing.T) {
		a.host.Filter(t, netns.Drop(fmt.Sprintf("ip saddr { %s, %s }", b.host.Addr, c.host.Addr)),
			"chain in6 { type filter hook input priority 0; ip6 saddr fe80::/10 drop; }")
		gone, err := took(30*time.Second, 50*time.Millisecond, func() error { return a.unknown(b.name) })
		if err != nil {
			t.Error(err)
		}
		y.serves(t, "apart", y.boxes...)
		time.Sleep(6 * time.Second)
		y.serves(t, "still", y.boxes...)
		if err := b.knows(c.name); err != nil {
			t.Error(err)
		}
		a.host.Filter(t)
		healed := y.acquainted(t, 60*time.Second, y.boxes...)
		figure(t, "a partition", "seen after %v; healed %v after its end", round(gone), round(healed))
	})

	t.Run("an interface that is made anew", func(t *testing.T) {
		y.unplug(t, "b2")
		if _, err := took(30*time.Second, 50*time.Millisecond, func() error { return a.unknown(b.name) }); err != nil {
			t.Error(err)
		}
		y.serves(t, "less", a, c)
		y.plug(t, b.host, "b2")
		healed := y.acquainted(t, 60*time.Second, y.boxes...)
		figure(t, "an interface deleted and made anew", "known again after %v; %s", round(healed), a.how(t))
		y.serves(t, "all", y.boxes...)
	})

	t.Run("an address that changes", func(t *testing.T) {
		y.move(t, b, "10.71.0.112")
		at, err := took(90*time.Second, 50*time.Millisecond, func() error {
			for _, other := range []*box{a, c} {
				list, err := other.neighbours()
				if err != nil {
					return err
				}
				for _, n := range list {
					if n.Name == b.name && (n.State != alive || !strings.Contains(n.Address, "10.71.0.112")) {
						return fmt.Errorf("%s takes %s for %+v", other.name, b.name, n)
					}
				}
			}
			return nil
		})
		if err != nil {
			t.Error(err)
		}
		y.acquainted(t, 30*time.Second, y.boxes...)
		figure(t, "a box at another address", "known there after %v", round(at))
		y.serves(t, "moved", y.boxes...)
	})
}

// killsAndRestarts kills and starts boxes while 20 devices download. Who asks a
// box that stays up gets the file.
func killsAndRestarts(t *testing.T, y *yard) {
	y.line.Set(t, 100_000_000)
	kills := 8
	if long() {
		kills = 50
	}
	rng := rand.New(rand.NewPCG(1, 1))
	var lives [3]atomic.Int64 // odd: it is up, and for the nth time
	for i := range lives {
		lives[i].Store(1)
	}
	stop := make(chan struct{})
	var mu sync.Mutex
	var wg sync.WaitGroup
	var whole, cut int
	for i := range 20 {
		wg.Go(func() {
			d := y.device(i)
			defer d.close()
			mine := rand.New(rand.NewPCG(2, uint64(i)))
			for {
				select {
				case <-stop:
					return
				default:
				}
				n := mine.IntN(3)
				before := lives[n].Load()
				if before%2 == 0 {
					time.Sleep(20 * time.Millisecond)
					continue
				}
				ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), 30*time.Second)
				_, err := d.whole(ctx, y, y.boxes[n].host.Addr.String(), path(t, strconv.Itoa(mine.IntN(40)), mib+mine.IntN(3)*700_001))
				cancel()
				after := lives[n].Load()
				mu.Lock()
				switch {
				case err == nil:
					whole++
				case wrong(err):
					t.Errorf("a device at %s: %v", y.boxes[n].name, err)
				case before == after:
					t.Errorf("a device at %s, which lives: %v", y.boxes[n].name, err)
				default:
					cut++
				}
				mu.Unlock()
			}
		})
	}
	for range kills {
		time.Sleep(time.Duration(500+rng.IntN(1000)) * time.Millisecond)
		n := rng.IntN(3)
		lives[n].Add(1)
		y.boxes[n].kill(t)
		time.Sleep(time.Duration(rng.IntN(1500)) * time.Millisecond)
		y.boxes[n].run(t)
		within(t, 30*time.Second, func() error {
			_, err := y.boxes[n].look("/readyz")
			return err
		})
		lives[n].Add(1)
	}
	time.Sleep(2 * time.Second)
	close(stop)
	wg.Wait()
	at := y.acquainted(t, 60*time.Second, y.boxes...)
	figure(t, "kills and restarts, 20 devices", "%d of them; %d files whole, %d cut off with their box, all boxes known again %v later", kills, whole, cut, round(at))
}
