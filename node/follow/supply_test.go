package follow

import (
	"context"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"preau/cache/shelf"
	"preau/replication/catalogue"
)

// in runs fn with a school of three boxes, in a bubble.
func in(t *testing.T, fn func(h *hall)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) { fn(newHall(t, "a", "b", "c")) })
}

func (b *hallBox) wants(t *testing.T, id string, want []byte) {
	t.Helper()
	if d := b.read(t.Context(), id, want); d.status != http.StatusOK || d.wrong || d.got != len(want) {
		t.Errorf("%s gives %s with %d and %d bytes, wrong: %v", b.name, id, d.status, d.got, d.wrong)
	}
}

// two publishes a resource in blocks of block.Size and one that is cut, and
// returns their bytes by id.
func (h *hall) two(seed byte) map[string][]byte {
	h.t.Helper()
	items := map[string][]byte{"even": random(1<<20+77, seed), "listed": random(900_000, seed+100)}
	for id, data := range items {
		h.publish(id, data, id == "listed")
	}
	return items
}

func TestABlockCrossesTheLineOnceForAllBoxes(t *testing.T) {
	in(t, func(h *hall) {
		t := h.t
		items := h.two(50)
		h.line.takes = 700 * time.Millisecond
		var readers sync.WaitGroup
		for id, data := range items {
			for _, b := range h.boxes {
				for range 20 {
					readers.Go(func() { b.wants(t, id, data) })
				}
			}
		}
		readers.Wait()
		if least, most := h.line.crossed(); least != 1 || most != 1 {
			t.Errorf("blocks crossed the line %d to %d times", least, most)
		}
		near, far := 0, 0
		for _, b := range h.boxes {
			near, far = near+b.from(t, shelf.FromNeighbour), far+b.from(t, shelf.FromRegion)
		}
		if far != len(h.line.blocks)-1 || near != 2*far { // the list is none of the shelf's
			t.Errorf("%d blocks came from the region, %d from neighbours", far, near)
		}
		// Once it is there, nobody is asked for anything.
		h.line.set(func() { h.line.away = true })
		h.n.set(func() { h.n.down["a"], h.n.down["b"], h.n.down["c"] = true, true, true })
		for id, data := range items {
			for _, b := range h.boxes {
				b.wants(t, id, data)
			}
		}
	})
}

func TestTheOwnerKeepsWhatOthersAskFor(t *testing.T) {
	in(t, func(h *hall) {
		t := h.t
		h.owned("a")
		for id, data := range h.two(51) {
			h.box("b").wants(t, id, data)
			synctest.Wait()
			if st, err := h.box("a").shelf.State(id); err != nil || !st.Complete {
				t.Errorf("the owner has %+v of %s, %v", st, id, err)
			}
		}
		if _, most := h.line.crossed(); most != 1 || h.box("a").from(t, shelf.FromNeighbour) != 0 {
			t.Errorf("blocks crossed the line %d times", most)
		}
	})
}

func TestAnOwnerThatDiesIsReplaced(t *testing.T) {
	in(t, func(h *hall) {
		t := h.t
		data := random(3<<20, 52)
		h.publish("film", data, false)
		h.owned("a")
		h.line.takes = time.Second
		var readers sync.WaitGroup
		for _, name := range []string{"b", "c"} {
			readers.Go(func() { h.box(name).wants(t, "film", data) })
		}
		<-time.After(1500 * time.Millisecond)
		h.n.set(func() { h.n.down["a"] = true })
		readers.Wait()
		for _, name := range []string{"b", "c"} {
			if told := h.box(name).near.all(); told != "lost a" {
				t.Errorf("%s tells %q", name, told)
			}
		}
		if least, most := h.line.crossed(); least != 1 || most != 1 {
			t.Errorf("blocks crossed the line %d to %d times", least, most)
		}
	})
}

func TestAlteredBytesNeverLeave(t *testing.T) {
	in(t, func(h *hall) {
		t := h.t
		items := h.two(53)
		h.owned("a")
		h.n.set(func() { h.n.alter["a"] = true })
		for id, data := range items {
			h.box("b").wants(t, id, data)
		}
		if told := h.box("b").near.all(); !strings.Contains(told, "altered a") || strings.Contains(told, "lost") {
			t.Errorf("b tells %q", told)
		}
	})
}

func TestABodyThatBreaksOffIsFetchedElsewhere(t *testing.T) {
	in(t, func(h *hall) {
		t := h.t
		data := random(1<<20+1, 54)
		h.publish("film", data, false)
		h.owned("a")
		h.n.set(func() { h.n.cut["a"] = true })
		h.box("b").wants(t, "film", data)
		if told := h.box("b").near.all(); told != "" {
			t.Errorf("b tells %q", told)
		}
	})
}

func TestASlowOwnerIsWaitedFor(t *testing.T) {
	in(t, func(h *hall) {
		t := h.t
		data := random(1<<20, 55)
		h.publish("film", data, false)
		h.owned("a")
		h.line.takes = 15 * time.Second
		began := time.Now()
		h.box("b").wants(t, "film", data)
		if took := time.Since(began); took < 15*time.Second || took > 16*time.Second {
			t.Errorf("it took %s", took)
		}
		if _, most := h.line.crossed(); most != 1 || h.box("b").from(t, shelf.FromRegion) != 0 || h.n.count("GET c") != 0 {
			t.Errorf("it crossed the line %d times, c was asked %d times", most, h.n.count("GET c"))
		}
	})
}

func TestASilentOwnerIsPassedOver(t *testing.T) {
	in(t, func(h *hall) {
		t := h.t
		data := random(2<<20, 56)
		h.publish("film", data, false)
		h.owned("a")
		h.n.set(func() { h.n.quiet["a"] = true })
		began := time.Now()
		h.box("b").wants(t, "film", data)
		if took := time.Since(began); took > 2*mostPatience {
			t.Errorf("it took %s", took)
		}
		if h.box("b").from(t, shelf.FromNeighbour) == 0 || h.n.count("GET a") != 1 {
			t.Errorf("a was asked %d times, b got %d blocks of c", h.n.count("GET a"), h.box("b").from(t, shelf.FromNeighbour))
		}
		// One that is silent again and again is told.
		for i := range strikes {
			id := "book" + string(rune('0'+i))
			more := random(1<<20, byte(60+i))
			h.publish(id, more, false)
			<-time.After(restAfter + time.Second)
			h.box("b").wants(t, id, more)
		}
		if told := h.box("b").near.all(); told != "lost a" {
			t.Errorf("b tells %q", told)
		}
	})
}

func TestWhatIsBeingKeptIsWaitedFor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSupply(nil, nil, nil)
		ctx, stop := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() { ended <- s.run(ctx) }()
		release, kept := make(chan struct{}), make(chan int, 10)
		s.keep(func() { <-release; kept <- 1 })
		stop()
		synctest.Wait()
		if len(ended) != 0 {
			t.Error("it ends while a block is on its way to the disk")
		}
		close(release)
		if err := <-ended; err != nil || len(kept) != 1 {
			t.Errorf("it ends with %d blocks kept, %v", len(kept), err)
		}
		s.keep(func() { kept <- 2 })
		if len(kept) != 2 {
			t.Error("after the end it is not waited for")
		}
	})
}

func TestPatienceGoesWithWhatABoxTakes(t *testing.T) {
	m := &mood{}
	if m.patience() != mostPatience {
		t.Error("a box that never spoke is to have time")
	}
	for range 20 {
		m.spoke(2 * time.Millisecond)
	}
	if m.patience() != leastPatience {
		t.Errorf("quick: %s", m.patience())
	}
	for range 20 {
		m.spoke(300 * time.Millisecond)
	}
	if p := m.patience(); p <= 300*time.Millisecond || p > mostPatience {
		t.Errorf("slower: %s", p)
	}
	for range 20 {
		m.spoke(time.Hour)
	}
	if m.patience() != mostPatience {
		t.Errorf("never: %s", m.patience())
	}
}

func TestASilentBoxRestsForLongerEachTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := &mood{}
		rests := func() time.Duration {
			began := time.Now()
			for m.resting() {
				time.Sleep(time.Millisecond)
			}
			return time.Since(began).Round(10 * time.Millisecond)
		}
		for i, want := range []time.Duration{restAfter / 4, restAfter / 2, restAfter, restAfter} {
			lost := m.fell()
			if got := rests(); got != want || lost != (i+1 == strikes) {
				t.Errorf("silent for the %d. time, it rests for %v, lost %t; want %v", i+1, got, lost, want)
			}
		}
		m.fell()
		m.spoke(time.Second)
		if m.resting() {
			t.Error("one that spoke after all is not asked")
		}
		if m.fell(); rests() != restAfter/4 {
			t.Error("after a word it is the first time again")
		}
		m.failed()
		m.spoke(time.Second) // of another request
		if rests() != restAfter {
			t.Error("a word hides that it failed")
		}
	})
}

func TestWithoutTheRegionNeighboursStillGive(t *testing.T) {
	in(t, func(h *hall) {
		t := h.t
		items := h.two(57)
		h.owned("c")
		for id, data := range items {
			h.box("c").wants(t, id, data)
		}
		h.owned("a") // has nothing of it
		h.line.set(func() { h.line.away = true })
		h.box("b").wants(t, "even", items["even"])
		h.n.set(func() { h.n.down["a"] = true })
		h.box("b").wants(t, "listed", items["listed"])
		h.publish("book", random(1<<20, 58), false)
		if d := h.box("b").read(t.Context(), "book", nil); d.status != http.StatusGatewayTimeout {
			t.Errorf("what nobody has: %d", d.status)
		}
	})
}

// Boxes that do not agree whose turn it is must not wait for one another.
func TestBoxesThatDoNotAgree(t *testing.T) {
	in(t, func(h *hall) {
		t := h.t
		items := h.two(59)
		h.line.takes = 300 * time.Millisecond
		for i, b := range h.boxes {
			b.near.owner = h.boxes[(i+1)%len(h.boxes)].name
		}
		began := time.Now()
		var readers sync.WaitGroup
		for id, data := range items {
			for _, b := range h.boxes {
				for range 3 {
					readers.Go(func() { b.wants(t, id, data) })
				}
			}
		}
		readers.Wait()
		if took := time.Since(began); took > 10*time.Second {
			t.Errorf("it took %s", took)
		}
	})
}

func TestPrefetchOnAllBoxesAtOnce(t *testing.T) {
	in(t, func(h *hall) {
		t := h.t
		rate := int64(1 << 20)
		facts := []catalogue.Fact{catalogue.Policy{PrefetchRate: rate}, catalogue.Subscription{ID: "s", Collection: "geo"}}
		sizes, blocks := map[string]int{"atlas": 2 << 20, "book": 1<<20 + 3, "chart": 1 << 20, "film": 2 << 20}, 7
		for id, n := range sizes {
			h.publish(id, random(n, byte(len(id))), id == "film")
		}
		h.line.takes = 100 * time.Millisecond
		ctx, stop := context.WithCancel(t.Context())
		var running sync.WaitGroup
		began := time.Now()
		for _, b := range h.boxes {
			for _, f := range facts {
				b.copy.apply(t, record(t, f))
			}
			running.Go(func() {
				if err := b.runPrefetch(ctx); err != nil {
					t.Error(err)
				}
			})
		}
		for present := uint64(0); present < uint64(len(h.boxes)*len(sizes)); {
			if present = 0; time.Since(began) > 5*time.Minute {
				t.Fatal("it does not come to an end")
			}
			<-time.After(50 * time.Millisecond)
			for _, b := range h.boxes {
				present += region{b.Follower}.Held().Present
			}
		}
		took := time.Since(began)
		stop()
		running.Wait()
		if least, most := h.line.crossed(); least != 1 || most != 1 {
			t.Errorf("blocks crossed the line %d to %d times", least, most)
		}
		near := 0
		for _, b := range h.boxes {
			near += b.from(t, shelf.FromNeighbour)
		}
		// Each box's line is held to the rate; what comes from next door is not.
		if least := time.Duration(blocks/len(h.boxes)-1) * time.Second; took < least || took > time.Minute || near == 0 {
			t.Errorf("it took %s, and %d blocks came from neighbours", took, near)
		}
	})
}

// A block that is fetched ahead, slowly, is not waited for at that pace.
func TestPeopleHurryWhatIsFetchedAhead(t *testing.T) {
	in(t, func(h *hall) {
		t := h.t
		data := random(3<<20, 70)
		h.publish("film", data, false)
		h.owned("a")
		ctx, stop := context.WithCancel(t.Context())
		defer stop()
		done := make(chan error, 1)
		go func() { done <- h.box("a").shelf.Fetch(ctx, "film", shelf.NewRate(1<<10)) }()
		<-time.After(time.Second) // the second block is 17 minutes away
		began := time.Now()
		h.box("b").wants(t, "film", data)
		if took := time.Since(began); took > 2*time.Second {
			t.Errorf("people waited %s", took)
		}
		if _, most := h.line.crossed(); most != 1 {
			t.Errorf("a block crossed the line %d times", most)
		}
		stop()
		<-done
	})
}
