package feed

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"preau/replication/catalogue"
	"preau/replication/identity"
)

// span is a time in which a server answers: from 0 on.
type span struct{ from, to time.Duration }

// plain is a server as choice sees it.
type plain struct {
	up    []span
	shaky bool // what it answers it breaks off
	stand time.Duration
}

// answers says until when a connection stands that is opened now.
func (p *plain) answers(now time.Duration) (until time.Duration, ok bool) {
	for _, s := range p.up {
		if s.from <= now && now < s.to {
			if p.shaky {
				return min(s.to, now+p.stand), true
			}
			return s.to, true
		}
	}
	return 0, false
}

// steady says whether the server was good all the time.
func (p *plain) steady(from, to time.Duration) bool {
	return !p.shaky && slices.ContainsFunc(p.up, func(s span) bool { return s.from <= from && to <= s.to })
}

// journey is how a box fares among servers.
type journey struct {
	tries    map[identity.Name][]time.Duration
	lost, at []time.Duration // when a connection ended, and when the next one began
}

// travel lets a box follow servers for so long. It is called in a bubble.
func travel(box string, servers map[identity.Name]*plain, random func() float64, long time.Duration) *journey {
	c := &choice{box: identity.Name(box), spread: time.Minute}
	j := &journey{tries: map[identity.Name][]time.Duration{}}
	var targets []Target
	for name := range servers {
		targets = append(targets, Target{Name: name})
	}
	slices.SortFunc(targets, func(a, b Target) int { return compareNames(a.Name, b.Name) })
	began := time.Now()
	connected := false // ever
	for time.Since(began) < long {
		t, _ := c.next(targets)
		now := time.Since(began)
		j.tries[t.Name] = append(j.tries[t.Name], now)
		until, ok := servers[t.Name].answers(now)
		if ok {
			if connected {
				j.at = append(j.at, now)
			}
			connected = true
			time.Sleep(until - now)
			j.lost = append(j.lost, until)
		}
		time.Sleep(c.ended(t, targets, cut, time.Since(began)-now, random()))
	}
	return j
}

func compareNames(a, b identity.Name) int {
	if a < b {
		return -1
	}
	return 1
}

// Whatever happened before, a box that loses its server is soon with one that
// was there all the time.
func TestABoxFindsTheServerThatLives(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		const long = 20 * time.Minute
		servers := map[identity.Name]*plain{}
		for i := range rapid.IntRange(1, 6).Draw(rt, "servers") {
			p := &plain{shaky: rapid.IntRange(0, 4).Draw(rt, "shaky") == 0}
			p.stand = time.Duration(rapid.IntRange(1, 40_000).Draw(rt, "stand")) * time.Millisecond
			for at := time.Duration(rapid.IntRange(0, 30_000).Draw(rt, "first")) * time.Millisecond; at < long; {
				up := time.Duration(rapid.OneOf(rapid.IntRange(1, 20_000), rapid.IntRange(1, 600_000)).Draw(rt, "up")) * time.Millisecond
				p.up = append(p.up, span{at, at + up})
				at += up + time.Duration(rapid.OneOf(rapid.IntRange(1, 5_000), rapid.IntRange(1, 300_000)).Draw(rt, "down"))*time.Millisecond
			}
			servers[identity.Name(fmt.Sprint("server-", i))] = p
		}
		seed := rapid.Uint64().Draw(rt, "seed")
		var all []*journey
		synctest.Test(t, func(*testing.T) {
			for i := range 20 { // one after the other, each from a time of 0 on
				all = append(all, travel(fmt.Sprint("box-", i), servers, rand.New(rand.NewPCG(seed, uint64(i))).Float64, long))
			}
		})
		within := time.Duration(len(servers)) * hop
		for _, j := range all {
			for i, at := range j.at {
				lost := j.lost[i]
				for name, p := range servers {
					if at-lost > within && p.steady(lost-15*time.Second, at) {
						rt.Fatalf("lost its server at %v and had none before %v, though %s was there: want %v", lost, at, name, within)
					}
				}
			}
		}
	})
}

// Boxes that have lost all servers must not be a burden on those that come back.
func TestBoxesWithoutAnyServerAreFewAtATime(t *testing.T) {
	const boxes, long = 1000, 8 * time.Minute
	servers := map[identity.Name]*plain{"a": {}, "b": {}, "c": {}}
	var perSecond [long / time.Second]int
	total := 0
	random := rand.New(rand.NewPCG(1, 2))
	synctest.Test(t, func(*testing.T) {
		for i := range boxes { // one after the other, each from a time of 0 on
			j := travel(fmt.Sprint("box-", i), servers, random.Float64, long)
			for _, tries := range j.tries {
				for _, at := range tries {
					if at < long {
						perSecond[at/time.Second]++
						total++
					}
				}
			}
		}
	})
	// Three tries, two hops and the long wait take 32 s on average, and everybody
	// begins with three.
	perMinute := float64(total) / boxes / long.Minutes()
	if perMinute > 6 {
		t.Errorf("%.2f tries for each box and minute, want no more than 3 in 32 s", perMinute)
	}
	// Once they have parted they stay so: 94 in a second, give or take.
	most := slices.Max(perSecond[3*60:])
	if most > 150 {
		t.Errorf("%d tries of %d boxes in one second", most, boxes)
	}
	t.Logf("%.2f tries for each box and minute, at most %d in a second", perMinute, most)
}

// Servers that all answer, and then fail, are not tried without a pause.
func TestBoxesDoNotRunInACircle(t *testing.T) {
	const long = time.Hour
	for _, stand := range []time.Duration{time.Millisecond, time.Second, 4 * time.Second, 20 * time.Second} {
		servers := map[identity.Name]*plain{}
		for _, name := range []identity.Name{"a", "b", "c"} {
			servers[name] = &plain{up: []span{{0, 2 * long}}, shaky: true, stand: stand}
		}
		var j *journey
		synctest.Test(t, func(*testing.T) {
			j = travel("box", servers, rand.New(rand.NewPCG(3, 4)).Float64, long)
		})
		for name, tries := range j.tries {
			perMinute := float64(len(tries)) / long.Minutes()
			t.Logf("connections of %v: %.1f tries a minute at %s", stand, perMinute, name)
			if perMinute > 4 {
				t.Errorf("connections of %v: %.1f tries a minute at %s, want at most 4", stand, perMinute, name)
			}
		}
	}
}

// The same with all that a box is: the first server was away a moment ago, and
// now the two others die.
func TestTwoOfThreeServersDie(t *testing.T) {
	for range 10 {
		synctest.Test(t, func(t *testing.T) {
			l, ca := newLedger(), newAuthority(t)
			l.put(catalogue.KindResource, "x", "1", false)
			hosts := map[identity.Name]*host{}
			var all []*host
			for _, name := range []string{"alpha", "beta", "gamma"} {
				h := startHost(t, name, l, ca, nil)
				hosts[h.name], all = h, append(all, h)
			}
			b := startBox(t, boxOf("a", lyon), newDisk(t), ca, nil, all...)
			order := (&choice{box: "a"}).order(b.region.Servers())
			follows := func(want identity.Name, when string) {
				t.Helper()
				if s, _ := b.follower.Connected(); s != want {
					t.Errorf("%s the box follows %q, want %q", when, s, want)
				}
			}
			time.Sleep(10 * time.Minute)
			follows(order[0].Name, "at first")
			hosts[order[0].Name].die()
			time.Sleep(5 * time.Second)
			follows(order[1].Name, "once the first is away")
			h := startHost(t, string(order[0].Name), l, ca, nil)
			hosts[h.name] = h
			b.region.mu.Lock()
			b.region.hosts[h.name] = h.pipes
			b.region.mu.Unlock()
			time.Sleep(5 * time.Second)
			hosts[order[2].Name].die()
			time.Sleep(time.Second)
			hosts[order[1].Name].die()
			time.Sleep(3*hop + time.Millisecond)
			follows(order[0].Name, "three hops after the others died")
			b.end()
			h.end()
		})
	}
}
