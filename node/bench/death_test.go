//go:build bench

package bench

import (
	"context"
	"fmt"
	"testing"
	"time"

	"preau/node/wanline"
)

// benchDeath: the origin's connections are reset in the middle of the fill and
// new ones refused, until it is back after outage.
func (b *bench) benchDeath(t *testing.T, p peer, outage time.Duration, out *table) {
	s := b.stage(t, p, stageOptions{})
	obj := s.origin.add("film", b.scale.file, "max-age=3600")
	ctx, cancel := patience(t.Context(), ideal(obj.size)+outage)
	defer cancel()
	back := make(chan error, 1)
	began := time.Now()
	go func() {
		time.Sleep(b.scale.deathAt)
		s.line.Cut(wanline.Refuse)
		time.Sleep(outage)
		back <- s.line.Heal()
	}()
	rs := class(clients, min(time.Second, b.scale.deathAt/2), func(int) result { return get(ctx, newClient(), s.base, obj, 0, -1, 0) })
	took := time.Since(began)
	if err := <-back; err != nil {
		t.Fatalf("the line does not come back: %v", err)
	}
	before := s.wan()
	next := get(ctx, newClient(), s.base, obj, 0, -1, 0)
	o := tally(rs)
	out.row(p.name, fmt.Sprintf("%.0f", outage.Seconds()), fmt.Sprint(o.whole), fmt.Sprint(o.cut), fmt.Sprint(o.refused), fmt.Sprint(o.wrong),
		secs(took), ratio(before, obj.size),
		fmt.Sprintf("%s in %s, WAN %s", tally([]result{next}), secs(next.total), ratio(s.wan()-before, obj.size)),
		ratio(s.wan(), obj.size))
}

// benchRevalidation: the class asks for something that has just gone stale, the origin is 300 ms away.
func (b *bench) benchRevalidation(t *testing.T, p peer, out *table) {
	const rtt = 300 * time.Millisecond
	s := b.stage(t, p, stageOptions{rtt: rtt, rate: 1_000_000_000})
	obj := s.origin.add("page", 100*kiB, "max-age=2")
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	if r := get(ctx, newClient(), s.base, obj, 0, -1, 0); !r.ok {
		t.Fatalf("%s: the page did not arrive at all: %d %v", p.name, r.status, r.err)
	}
	time.Sleep(3500 * time.Millisecond)
	s.origin.forget()
	rs := class(clients, 0, func(int) result { return get(ctx, newClient(), s.base, obj, 0, -1, 0) })
	s.settle(4*rtt, 5*time.Second)
	conditional, all := s.origin.conditional.Load(), s.origin.requests.Load()
	out.row(p.name, fmt.Sprint(conditional), fmt.Sprint(all-conditional), p50p99(column(rs, total)), tally(rs).String())
}

// benchOffline: what was stored has expired and the line fails in one of three ways.
func (b *bench) benchOffline(t *testing.T, p peer, fault string, out *table) {
	s := b.stage(t, p, stageOptions{rate: 1_000_000_000})
	page := s.origin.add("page", 100*kiB, "max-age=2")
	strict := s.origin.add("strict", 100*kiB, "max-age=2, must-revalidate")
	checked := s.origin.add("checked", 100*kiB, "no-cache")
	ask := func(obj *object) result {
		ctx, cancel := context.WithTimeout(t.Context(), b.scale.wait)
		defer cancel()
		return get(ctx, newClient(), s.base, obj, 0, -1, 0)
	}
	objs := []*object{page, strict, checked}
	for _, obj := range objs {
		if r := ask(obj); !r.ok {
			t.Errorf("%s: %s did not arrive while the line was up: %d %v", p.name, obj.path, r.status, r.err)
		}
	}
	time.Sleep(3500 * time.Millisecond)
	switch fault {
	case "503":
		s.origin.failing.Store(true)
	case "refused":
		s.line.Cut(wanline.Refuse)
	case "hangs":
		s.line.Cut(wanline.Silent)
	}
	rs := make([][]result, len(objs)) // of each object, the first and those that come a little later
	class(len(objs), 0, func(i int) result {
		rs[i] = []result{ask(objs[i])}
		for range 3 {
			if rs[i][0].total > b.scale.wait/4 {
				break // slow once is known; waiting for it again says nothing new
			}
			time.Sleep(300 * time.Millisecond)
			rs[i] = append(rs[i], ask(objs[i]))
		}
		return result{}
	})
	show := func(i int) string {
		first, later := rs[i][0], rs[i][1:]
		text := fmt.Sprintf("%s in %s", verdict(first), secs(first.total))
		if len(later) > 0 {
			text += fmt.Sprintf("; %s in %s", verdict(later[len(later)-1]), secs(quantile(column(later, total), 1)))
		}
		return text
	}
	out.row(p.name, fault, show(0), show(1), show(2))
}

// verdict is what the device got: the stored body, a status, or nothing.
func verdict(r result) string {
	switch {
	case r.ok:
		return "stored"
	case r.wrong:
		return "**WRONG**"
	case r.status != 0:
		return fmt.Sprint(r.status)
	default:
		return "nothing"
	}
}
