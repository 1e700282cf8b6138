package feed

import (
	"errors"
	"flag"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"preau/replication/catalogue"
	"preau/replication/identity"
	"preau/replication/kv"
)

// step is one thing that happens in a history.
type step struct {
	What     string
	Kind     catalogue.Kind
	ID       string
	Deleted  bool
	Audience []identity.School
	N        int // which box or server, how many writes, how long
}

func drawSteps(t *rapid.T) []step {
	return rapid.SliceOfN(rapid.Custom(func(t *rapid.T) step {
		s := step{What: rapid.SampledFrom([]string{
			"put", "put", "put", "put", "put", "many", "sleep", "sleep", "sleep", "lag", "prune", "restart", "crash", "full", "die", "cut", "jump",
		}).Draw(t, "what")}
		s.N = rapid.IntRange(0, 20).Draw(t, "n")
		if s.What == "put" {
			s.Kind = rapid.SampledFrom([]catalogue.Kind{catalogue.KindResource, catalogue.KindPurge, catalogue.KindToken}).Draw(t, "kind")
			s.ID = fmt.Sprint(rapid.IntRange(0, 12).Draw(t, "id"))
			s.Deleted = rapid.IntRange(0, 3).Draw(t, "deleted") == 0
			s.Audience = rapid.SampledFrom([][]identity.School{nil, nil, {lyon}, {brest}, {lyon, brest}}).Draw(t, "audience")
		}
		return s
	}), 5, 80).Draw(t, "steps")
}

// history plays steps with two servers, of which one lags, and three boxes.
type history struct {
	t       *testing.T
	ca      *authority
	ledgers [2]*ledger
	hosts   [2]*host
	behind  []step // what the second has not applied
	boxes   [3]*box
	mirrors [3]*mirror
}

// mirror is a node that acts on what its copy tells it, through restarts.
type mirror struct {
	mu    sync.Mutex
	has   map[recordKey]string
	acted Seq
	bad   string
}

func (m *mirror) act(changes []catalogue.Record, upto Seq) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, r := range changes {
		k := recordKey{r.Kind, r.ID}
		if r.Deleted {
			delete(m.has, k)
		} else {
			m.has[k] = fmt.Sprint(r.Index, " ", string(r.Body))
		}
	}
	if upto < m.acted {
		m.bad = fmt.Sprintf("told of %d after %d", upto, m.acted)
	}
	m.acted = max(m.acted, upto)
}

func (h *history) apply(i int, s step) {
	l, host := h.ledgers[i], h.hosts[i]
	switch s.What {
	case "put":
		n, changed := l.put(s.Kind, s.ID, fmt.Sprint(l.index), s.Deleted, s.Audience...)
		host.server.Publish(n, changed)
	case "many":
		for k := range 300 {
			n, changed := l.put(catalogue.KindResource, fmt.Sprint("many", k), fmt.Sprint(s.N), k%30 < s.N-10)
			host.server.Publish(n, changed)
		}
	case "jump": // as if a snapshot of the log had been put in place
		var n uint64
		for k := range 3 {
			n, _ = l.put(catalogue.KindResource, fmt.Sprint(k), "jump", k == 1)
		}
		host.server.Replaced(n)
	case "prune":
		if l.index > uint64(s.N) {
			l.prune(l.index - uint64(s.N))
		}
	}
}

func (h *history) catchUp(leave int) {
	for len(h.behind) > leave {
		h.apply(1, h.behind[0])
		h.behind = h.behind[1:]
	}
}

func (h *history) startHost(i int) {
	h.hosts[i] = startHost(h.t, []string{"alpha", "beta"}[i], h.ledgers[i], h.ca, func(c *Config) { c.CatchUps = 1 })
	for _, b := range h.boxes {
		if b != nil {
			b.region.mu.Lock()
			b.region.hosts[h.hosts[i].name] = h.hosts[i].pipes
			b.region.mu.Unlock()
		}
	}
}

func (h *history) startBox(i int) {
	var d *disk
	r := &region{ca: h.ca, box: boxOf(fmt.Sprint("box-", i), []identity.School{lyon, brest, lyon}[i]), hosts: map[identity.Name]*pipes{}}
	if old := h.boxes[i]; old != nil {
		d = old.disk
		d.fail(-1, nil)
	} else {
		d, h.mirrors[i] = newDisk(h.t), &mirror{has: make(map[recordKey]string)}
	}
	for _, host := range h.hosts {
		r.hosts[host.name] = host.pipes
	}
	m := h.mirrors[i]
	h.boxes[i] = runBoxWith(h.t, d, r, nil, func(c *Copy) {
		err := c.Changes(m.acted, func(r catalogue.Record, seq Seq) bool {
			m.act([]catalogue.Record{r}, seq)
			return true
		})
		if err != nil {
			h.t.Error(err)
		}
		if m.acted%2 == 0 {
			if err := c.Forget(m.acted); err != nil {
				h.t.Error(err)
			}
		}
		c.OnChange(m.act)
	})
}

func (h *history) play(steps []step) error {
	for i := range h.ledgers {
		h.ledgers[i] = newLedger()
		h.startHost(i)
	}
	for i := range h.boxes {
		h.startBox(i)
	}
	for _, s := range steps {
		switch s.What {
		case "put", "many", "prune", "jump":
			h.apply(0, s)
			h.behind = append(h.behind, s)
		case "sleep":
			h.catchUp(0)
			time.Sleep(time.Duration(s.N*s.N) * 300 * time.Millisecond)
		case "lag":
			h.catchUp(s.N / 4)
			time.Sleep(time.Second)
		case "restart":
			h.boxes[s.N%3].end()
			h.startBox(s.N % 3)
		case "crash":
			h.boxes[s.N%3].disk.fail(s.N/3, errors.New("killed"))
		case "full":
			h.boxes[s.N%3].disk.fail(s.N/3, kv.ErrFull)
		case "die":
			h.hosts[s.N%2].die()
			h.startHost(s.N % 2)
		case "cut":
			h.hosts[s.N%2].http.Close()
			h.hosts[s.N%2].die()
			h.startHost(s.N % 2)
		}
	}
	h.catchUp(0)
	h.apply(0, step{What: "put", Kind: catalogue.KindResource, ID: "last"})
	h.apply(1, step{What: "put", Kind: catalogue.KindResource, ID: "last"})
	for i, b := range h.boxes {
		b.disk.mu.Lock()
		killed := b.disk.left >= 0 && !errors.Is(b.disk.err, kv.ErrFull)
		b.disk.mu.Unlock()
		if b.disk.fail(-1, nil); killed {
			b.end()
			h.startBox(i)
		}
	}
	time.Sleep(10 * time.Minute)
	synctest.Wait()
	var err error
	for i, b := range h.boxes {
		b.end()
		want := h.ledgers[0].sees(b.id.School)
		got := holds(h.t, b.copy)
		floor := h.ledgers[0].floor
		for k, v := range got {
			// A purge goes when the region forgets it or, where nobody told, at the
			// next hello.
			var index uint64
			if _, serr := fmt.Sscan(v, &index); serr == nil && k.kind == catalogue.KindPurge && index <= floor {
				delete(got, k)
				delete(h.mirrors[i].has, k)
			}
		}
		if d := cmp.Diff(want, got, cmp.AllowUnexported(recordKey{})); d != "" {
			err = errors.Join(err, fmt.Errorf("box %d holds something else than it may see (-want +got):\n%s", i, d))
		}
		if d := cmp.Diff(want, h.mirrors[i].has, cmp.AllowUnexported(recordKey{})); d != "" {
			err = errors.Join(err, fmt.Errorf("box %d was told something else (-want +got):\n%s", i, d))
		}
		if h.mirrors[i].bad != "" {
			err = errors.Join(err, errors.New(h.mirrors[i].bad))
		}
		if !b.copy.Whole() {
			err = errors.Join(err, fmt.Errorf("box %d is not whole: %+v", i, b.copy.where()))
		}
	}
	for _, host := range h.hosts {
		host.end()
	}
	for i, l := range h.ledgers {
		if l.views != 0 {
			err = errors.Join(err, fmt.Errorf("server %d left %d views open", i, l.views))
		}
	}
	return err
}

func TestCopiesConverge(t *testing.T) {
	if testing.Short() {
		if err := flag.Set("rapid.checks", "15"); err != nil {
			t.Fatal(err)
		}
	}
	ca := newAuthority(t)
	rapid.Check(t, func(rt *rapid.T) {
		steps := drawSteps(rt)
		var err error
		synctest.Test(t, func(t *testing.T) {
			h := &history{t: t, ca: ca}
			err = h.play(steps)
		})
		if err != nil {
			rt.Fatal(err)
		}
	})
}
