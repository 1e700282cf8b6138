package feed

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"preau/replication/catalogue"
	"preau/replication/identity"
)

// open follows h by hand.
func open(t *testing.T, h *host, id identity.Identity, req Request) *Stream {
	t.Helper()
	r := &region{box: id, hosts: map[identity.Name]*pipes{h.name: h.pipes}}
	s, err := Open(t.Context(), r.Client(Target{Name: h.name}), "http://"+string(h.name), req)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	return s
}

func text(n int) string {
	b := make([]byte, n)
	_, _ = rand.NewChaCha8([32]byte{byte(n), byte(n >> 8), byte(n >> 16)}).Read(b) // never fails
	return string(b)
}

func TestASlowBoxCostsNobodyElse(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v := newVillage(t, func(c *Config) { c.CatchUps = 2 })
		for i := range 60 {
			v.put(catalogue.KindResource, fmt.Sprint(i), text(30<<10+i))
		}
		time.Sleep(2 * time.Second)
		// Two that take the hello and nothing more, as many as may catch up.
		for _, name := range []string{"slow-1", "slow-2"} {
			open(t, v.h, boxOf(name, lyon), Request{})
		}
		time.Sleep(time.Second)
		b := v.box("quick", lyon)
		time.Sleep(25 * time.Second)
		if got := testutil.ToFloat64(v.h.server.met.waiting); got != 1 {
			t.Errorf("%v wait for their turn, want 1", got)
		}
		time.Sleep(15 * time.Second) // by when the slow ones are cut
		v.same(b)
		if got := testutil.ToFloat64(v.h.server.met.ends.WithLabelValues("slow")); got != 2 {
			t.Errorf("%v streams ended as slow, want 2", got)
		}
		// One that stops while it follows is cut as well, without anybody waiting.
		s := open(t, v.h, boxOf("slow-3", lyon), Request{Cursor: Cursor{here, 1, 60}})
		time.Sleep(time.Second)
		last := v.put(catalogue.KindResource, "x", "1")
		time.Sleep(3 * time.Second)
		v.same(b)
		if n, connected := v.h.server.Confirmed(last); n != 1 || connected != 2 {
			t.Errorf("confirmed %d of %d, want 1 of 2", n, connected)
		}
		time.Sleep(time.Minute)
		if _, connected := v.h.server.Confirmed(last); connected != 1 {
			t.Errorf("%d connected after a minute, want 1", connected)
		}
		s.Close()
	})
}

func TestThoseWhoWaitHearAHeartbeat(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v := newVillage(t, func(c *Config) { c.CatchUps = 1; c.WriteTimeout = 10 * time.Minute })
		for i := range 10 {
			v.put(catalogue.KindResource, fmt.Sprint(i), text(30<<10+i))
		}
		time.Sleep(2 * time.Second)
		open(t, v.h, boxOf("slow", lyon), Request{})
		time.Sleep(time.Second)
		s := open(t, v.h, boxOf("a", lyon), Request{})
		began := time.Now()
		b, err := s.Next()
		if err != nil || b.Count != 0 || b.Upto != 0 {
			t.Fatalf("%+v, %v; want an empty batch", b, err)
		}
		if d := time.Since(began); d < 30*time.Second || d >= 40*time.Second {
			t.Errorf("heartbeat after %s", d)
		}
	})
}

func TestAServerThatStopsSendsItsBoxesToAnother(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ca, l := newAuthority(t), newLedger()
		hosts := []*host{startHost(t, "alpha", l, ca, nil), startHost(t, "beta", l, ca, nil)}
		publish := func(id string) uint64 {
			i, changed := l.put(catalogue.KindResource, id, "1", false)
			for _, h := range hosts {
				h.server.Publish(i, changed)
			}
			return i
		}
		publish("x")
		time.Sleep(2 * time.Second)
		var boxes []*box
		for i := range 20 {
			b := startBox(t, boxOf(fmt.Sprint("box-", i), lyon), newDisk(t), ca, nil, hosts...)
			t.Cleanup(b.end)
			boxes = append(boxes, b)
		}
		time.Sleep(5 * time.Second)
		hosts[0].end()
		time.Sleep(5 * time.Second)
		last := publish("y")
		time.Sleep(5 * time.Second)
		if n, connected := hosts[1].server.Confirmed(last); n != 20 || connected != 20 {
			t.Errorf("confirmed %d of %d at the server that is left, want all", n, connected)
		}
		hosts[0] = startHost(t, "alpha", l, ca, nil)
		for _, b := range boxes {
			b.region.mu.Lock()
			b.region.hosts["alpha"] = hosts[0].pipes
			b.region.mu.Unlock()
		}
		time.Sleep(time.Hour)
		if _, connected := hosts[0].server.Confirmed(last); connected < 3 || connected > 17 {
			t.Errorf("%d of 20 are with the server that came back", connected)
		}
		for _, h := range hosts {
			h.end()
		}
	})
}

func TestAllComeBackWithinAMinuteButNotAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v := newVillage(t, nil)
		v.put(catalogue.KindResource, "x", "1")
		time.Sleep(2 * time.Second)
		var boxes []*box
		for i := range 30 {
			boxes = append(boxes, v.box(fmt.Sprint("box-", i), lyon))
		}
		time.Sleep(5 * time.Second)
		v.h.die()
		time.Sleep(30 * time.Minute)
		v.h = startHost(t, "alpha", v.l, v.ca, nil)
		t.Cleanup(v.h.end)
		for _, b := range boxes {
			b.region.mu.Lock()
			b.region.hosts["alpha"] = v.h.pipes
			b.region.mu.Unlock()
		}
		time.Sleep(3 * time.Second)
		if _, n := v.h.server.Confirmed(1); n > 10 {
			t.Errorf("%d of 30 came at once", n)
		}
		time.Sleep(62 * time.Second)
		if _, n := v.h.server.Confirmed(1); n != 30 {
			t.Errorf("%d of 30 came back", n)
		}
	})
}

func TestABoxAheadOfTheServerWaitsOrGoes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v := newVillage(t, nil)
		v.put(catalogue.KindResource, "x", "1")
		time.Sleep(2 * time.Second)
		s := open(t, v.h, boxOf("a", lyon), Request{Cursor: Cursor{here, 1, 3}})
		time.Sleep(5 * time.Second)
		v.put(catalogue.KindResource, "y", "1")
		v.put(catalogue.KindResource, "z", "1")
		v.put(catalogue.KindResource, "new", "1")
		b, err := s.Next()
		if err != nil || b.After != 3 || b.Upto != 4 || b.Count != 1 {
			t.Errorf("batch = %+v, %v; want what is after 3", b, err)
		}
		s = open(t, v.h, boxOf("a", lyon), Request{Cursor: Cursor{here, 1, 9}})
		var bye Goodbye
		if _, err := s.Next(); !errors.As(err, &bye) || bye.Reason != ReasonBehind {
			t.Errorf("%v, want goodbye: behind", err)
		}
	})
}

func TestTheSecondStreamOfABoxTakesThePlaceOfTheFirst(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v := newVillage(t, func(c *Config) { c.MaxStreams = 1 })
		v.put(catalogue.KindResource, "x", "1")
		time.Sleep(2 * time.Second)
		at := Request{Cursor: Cursor{here, 1, 1}}
		first := open(t, v.h, boxOf("a", lyon), at)
		open(t, v.h, boxOf("a", lyon), at)
		var bye Goodbye
		if _, err := first.Next(); !errors.As(err, &bye) || bye.Reason != ReasonMoved {
			t.Errorf("%v, want goodbye: moved", err)
		}
		r := &region{box: boxOf("b", lyon), hosts: map[identity.Name]*pipes{"alpha": v.h.pipes}}
		_, err := Open(t.Context(), r.Client(Target{Name: "alpha"}), "http://alpha", at)
		var status StatusError
		if !errors.As(err, &status) || status.Code != http.StatusServiceUnavailable {
			t.Errorf("a box too many: %v, want 503", err)
		}
	})
}

func TestAHugeChangeComesInParts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v := newVillage(t, nil)
		v.put(catalogue.KindResource, "first", "1")
		b := v.box("a", lyon)
		time.Sleep(5 * time.Second)
		// One entry that changes more than fits in what waits for a flush.
		v.l.mu.Lock()
		v.l.index++
		var changed []catalogue.Record
		for i := range 400 {
			r := catalogue.Record{Kind: catalogue.KindResource, ID: fmt.Sprint(i), Index: v.l.index, At: time.Now(), Body: []byte(text(30<<10 + i))}
			if i%4 == 0 {
				r.Audience = []identity.School{lyon}
			}
			v.l.records[recordKey{r.Kind, r.ID}] = r
			changed = append(changed, r)
		}
		v.l.order = nil
		v.l.mu.Unlock()
		v.h.server.Publish(v.l.index, changed)
		time.Sleep(5 * time.Second)
		v.same(b)
		if parts := testutil.ToFloat64(v.h.server.met.frames.WithLabelValues("changes")); parts < 10 {
			t.Errorf("it came in %v frames", parts)
		}
	})
}

func TestPublishKeepsTheLatestAndBoundsMemory(t *testing.T) {
	enc, err := newEncoder()
	if err != nil {
		t.Fatal(err)
	}
	c := newChain(enc, 1<<20, 0)
	body := []byte(text(60 << 10))
	for i := range uint64(200) {
		c.publish(i+1, []catalogue.Record{{Kind: catalogue.KindResource, ID: fmt.Sprint(i), Index: i + 1, Body: body}})
		if c.weight > maxPending || len(c.pending) > maxPending/len(body)+1 {
			t.Fatalf("%d bytes in %d records wait", c.weight, len(c.pending))
		}
		if i%10 == 9 {
			if err := c.flush(); err != nil {
				t.Fatal(err)
			}
		}
	}
	if c.bytes > 1<<20 {
		t.Errorf("%d bytes are kept", c.bytes)
	}
	n, limit := c.locate(3)
	if n != nil || limit != c.tail.upto {
		t.Errorf("an old cursor is at %v, %d; want to be sent to the source", n, limit)
	}
	if n, _ := c.locate(c.tail.upto); n != c.tail {
		t.Error("the latest cursor is not at the tail")
	}
}

func TestBlocksAreBuiltOnceForAll(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v := newVillage(t, nil)
		for i := range 900 {
			v.put(catalogue.KindResource, fmt.Sprint(i), text(600+i%7))
		}
		time.Sleep(2 * time.Second)
		var boxes []*box
		for i := range 4 {
			boxes = append(boxes, v.box(fmt.Sprint("box-", i), []identity.School{lyon, brest}[i%2]))
		}
		time.Sleep(30 * time.Second)
		for _, b := range boxes {
			v.same(b)
		}
		built := testutil.ToFloat64(v.h.server.met.blocks.WithLabelValues("built"))
		hit := testutil.ToFloat64(v.h.server.met.blocks.WithLabelValues("hit"))
		if built > 6 || hit < 2*built {
			t.Errorf("%v blocks built, %v shared: four boxes read the same", built, hit)
		}
	})
}

func TestBlocksThatNobodyWantsAreLetGoOf(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v := newVillage(t, nil)
		for i := range 100 {
			v.put(catalogue.KindResource, fmt.Sprint(i), text(30<<10+i))
		}
		time.Sleep(2*time.Second + 5*time.Millisecond)
		held := func() (n int, bytes int64) {
			v.h.server.shelf.mu.Lock()
			defer v.h.server.shelf.mu.Unlock()
			return len(v.h.server.shelf.held), v.h.server.shelf.bytes
		}
		first := v.box("first", lyon)
		time.Sleep(8 * time.Minute)
		v.same(first)
		n, bytes := held()
		if n == 0 || bytes == 0 {
			t.Fatal("nothing is kept for the next box")
		}
		second := v.box("second", lyon)
		time.Sleep(8 * time.Minute)
		v.same(second)
		if again, _ := held(); again != n {
			t.Errorf("%d blocks are kept, of %d that a box wanted eight minutes ago", again, n)
		}
		time.Sleep(8 * time.Minute)
		if n, bytes := held(); n != 0 || bytes != 0 {
			t.Errorf("%d blocks of %d bytes are kept, and nobody has wanted one for a quarter of an hour", n, bytes)
		}
	})
}

func TestMetricsAreInOrder(t *testing.T) {
	reg := prometheus.NewRegistry()
	m, err := newMetrics(reg)
	if err != nil {
		t.Fatal(err)
	}
	b, err := newBoxMetrics(reg)
	if err != nil {
		t.Fatal(err)
	}
	for _, v := range []*prometheus.CounterVec{m.frames, m.blocks, m.ends, b.streams} {
		v.WithLabelValues("x").Inc()
	}
	problems, err := testutil.GatherAndLint(reg)
	if err != nil || len(problems) > 0 {
		t.Errorf("%v, %v", problems, err)
	}
}

func TestSilenceIsNotWaitedOutForEver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ca := newAuthority(t)
		asked := 0
		r := &region{ca: ca, box: boxOf("a", lyon), hosts: map[identity.Name]*pipes{"alpha": newPipes()}}
		r.wrap = func(http.RoundTripper) http.RoundTripper {
			return tape(func(*http.Request) io.Reader { asked++; return strings.NewReader("") })
		}
		b := runBox(t, newDisk(t), r, nil)
		time.Sleep(10 * time.Minute)
		b.end()
		if asked < 5 {
			t.Errorf("asked %d times in ten minutes of silence", asked)
		}
	})
}

// A connection that is only half there: what is written is lost.
func TestAConnectionThatSwallowsIsGivenUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v := newVillage(t, nil)
		v.put(catalogue.KindResource, "x", "1")
		time.Sleep(2 * time.Second)
		r := &region{ca: v.ca, box: boxOf("a", lyon), hosts: map[identity.Name]*pipes{"alpha": v.h.pipes}}
		first := true
		r.wrap = func(rt http.RoundTripper) http.RoundTripper {
			if !first {
				return rt
			}
			first = false
			return signed{&http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
				c, err := v.h.pipes.dial(ctx)
				return &deaf{Conn: c, after: time.Now().Add(10 * time.Second)}, err
			}}, r.box}
		}
		b := runBox(t, newDisk(t), r, nil)
		t.Cleanup(b.end)
		time.Sleep(9 * time.Second)
		v.same(b)
		time.Sleep(2 * time.Second)
		v.put(catalogue.KindResource, "y", "1")
		time.Sleep(2*time.Minute + 10*time.Second)
		v.same(b)
	})
}

// deaf is a connection from which nothing comes any more after a time.
type deaf struct {
	net.Conn
	after time.Time
}

func (d *deaf) Read(p []byte) (int, error) {
	for {
		n, err := d.Conn.Read(p)
		if err != nil || time.Now().Before(d.after) {
			return n, err
		}
	}
}

func TestWhatWasReadForAnOlderSnapshotIsNotUsedForANewerOne(t *testing.T) {
	l := newLedger()
	enc, err := newEncoder()
	if err != nil {
		t.Fatal(err)
	}
	met, err := newMetrics(prometheus.NewRegistry())
	if err != nil {
		t.Fatal(err)
	}
	s := newShelf(l, enc, 1<<20, met)
	l.put(catalogue.KindResource, "a", "1", false)
	l.index += 2 * boundary
	old, err := s.get(0, l.index, false, l.index)
	if err != nil || old.upto != boundary || old.public[0].count != 1 {
		t.Fatalf("%+v, %v", old, err)
	}
	if again, err := s.get(0, l.index, false, l.index); err != nil || again != old {
		t.Errorf("read again for the same snapshot: %v", err)
	}
	l.put(catalogue.KindResource, "a", "", true)
	if b, err := s.get(0, l.index, false, l.index); err != nil || b.public[0].count != 0 {
		t.Errorf("what was deleted before the snapshot is in it: %+v, %v", b, err)
	}
	l.prune(10)
	if _, err := s.get(9, l.index, true, 0); !errors.Is(err, ErrPruned) {
		t.Errorf("changes from below the floor: %v, want ErrPruned", err)
	}
	if _, err := s.get(0, 9, false, 9); !errors.Is(err, ErrPruned) {
		t.Errorf("a snapshot from below the floor: %v, want ErrPruned", err)
	}
	if _, err := s.get(l.index, l.index+1, true, 0); !errors.Is(err, ErrBehind) {
		t.Errorf("changes to come: %v, want ErrBehind", err)
	}
}
