package outbox_test

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"preau/cache/block"
	"preau/replication/outbox"
)

// school is some boxes on one LAN, and a region that they reach or not.
type school struct {
	t      *testing.T
	region *regionOfAll

	mu     sync.Mutex
	boxes  map[string]*member
	leaves map[string]bool
	barred map[string]bool
	hook   func(from, to, what string) error // may kill boxes; nil: nothing
}

// member is one box in one of its lives.
type member struct {
	*outbox.Outbox
	name, dir string
	cfg       outbox.Config
	dead      bool
	end       sync.Once
	stop      func()
}

const keepRevoked = 6 * time.Hour

func newSchool(t *testing.T, names ...string) *school {
	t.Helper()
	s := &school{
		t: t, region: newRegionOfAll(), boxes: map[string]*member{}, leaves: map[string]bool{}, barred: map[string]bool{},
	}
	for _, name := range names {
		s.start(name, outbox.Config{Dir: filepath.Join(t.TempDir(), name), KeepRevoked: keepRevoked})
	}
	t.Cleanup(func() {
		for _, m := range s.all() {
			m.stop()
		}
	})
	return s
}

func (s *school) all() []*member {
	s.mu.Lock()
	defer s.mu.Unlock()
	var out []*member
	for _, m := range s.boxes {
		out = append(out, m)
	}
	return out
}

func (s *school) box(name string) *member {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.boxes[name]
}

// start runs a box on what is in its folder.
func (s *school) start(name string, cfg outbox.Config) *member {
	s.t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	m := &member{Outbox: open(s.t, cfg), name: name, dir: cfg.Dir, cfg: cfg}
	var wg sync.WaitGroup
	m.stop = sync.OnceFunc(func() {
		cancel()
		wg.Wait()
		if err := m.Close(); err != nil {
			s.t.Error(err)
		}
	})
	s.mu.Lock()
	s.boxes[name] = m
	s.mu.Unlock()
	wg.Go(func() {
		if err := m.RunCopies(ctx, view{s, name}); err != nil {
			s.t.Error(err)
		}
	})
	wg.Go(func() {
		if err := m.Run(ctx, regionOf{s.region, name, s}); err != nil {
			s.t.Error(err)
		}
	})
	// Before that a deposit is not waited for: nobody would copy it.
	for changed, stop := m.Watch(); ; <-changed {
		if m.Copying() {
			stop()
			return m
		}
	}
}

// kill ends a box as kill -9 does. What it has on its disk at that moment is what
// its next life begins with.
func (s *school) kill(name string) {
	s.t.Helper()
	s.end(s.box(name))
}

// end kills one life of a box.
func (s *school) end(m *member) {
	s.t.Helper()
	s.mu.Lock()
	m.dead = true // what it says from now on nobody hears
	s.mu.Unlock()
	m.end.Do(func() { // whoever comes meanwhile waits for its disk
		next := filepath.Join(s.t.TempDir(), m.name)
		if err := copyDisk(next, m.dir); err != nil {
			s.t.Error(err)
		}
		m.dir = next
	})
}

// copyDisk copies a folder in which somebody still writes.
func copyDisk(to, from string) error {
	return filepath.WalkDir(from, func(name string, e fs.DirEntry, err error) error {
		rest, no := filepath.Rel(from, name)
		if err == nil && no == nil && e.IsDir() {
			err = os.MkdirAll(filepath.Join(to, rest), 0o700)
		} else if err == nil && no == nil {
			var b []byte
			if b, err = os.ReadFile(name); err == nil {
				err = os.WriteFile(filepath.Join(to, rest), b, 0o600)
			}
		}
		if errors.Is(err, fs.ErrNotExist) {
			return nil // it was given its name, or removed
		}
		return errors.Join(err, no)
	})
}

// wipe ends a box and its disk.
func (s *school) wipe(name string) {
	s.t.Helper()
	s.kill(name)
	s.box(name).dir = filepath.Join(s.t.TempDir(), name)
}

// restart begins the next life of a box that was killed.
func (s *school) restart(name string) *member {
	s.t.Helper()
	m := s.box(name)
	m.end.Do(func() {}) // if it is being killed, that comes first
	m.stop()
	cfg := m.cfg
	cfg.Dir = m.dir
	return s.start(name, cfg)
}

func (s *school) alive(name string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	m := s.boxes[name]
	return m != nil && !m.dead
}

func (s *school) leave(who string, leaves bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.leaves[who] = leaves
}

func (s *school) revoke(who string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.barred[who] = true
}

func (s *school) on(hook func(from, to, what string) error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.hook = hook
}

// view is the school as one box sees it.
type view struct {
	s  *school
	me string
}

func (v view) Order(key string) (out []outbox.Neighbour) {
	v.s.mu.Lock()
	defer v.s.mu.Unlock()
	if v.s.boxes[v.me].dead {
		return nil
	}
	var names []string
	for name, m := range v.s.boxes {
		if name != v.me && !m.dead && !v.s.barred[name] {
			names = append(names, name)
		}
	}
	slices.SortFunc(names, func(a, b string) int {
		x, y := block.Sum([]byte(key+a)), block.Sum([]byte(key+b))
		return slices.Compare(x[:], y[:])
	})
	for _, name := range names {
		out = append(out, link{v.s, v.me, name, v.s.boxes[v.me]})
	}
	return out
}

func (v view) Leaves(name string) bool {
	v.s.mu.Lock()
	defer v.s.mu.Unlock()
	return v.s.leaves[name]
}

func (v view) Barred(name string) bool {
	v.s.mu.Lock()
	defer v.s.mu.Unlock()
	return v.s.barred[name]
}

// link is one box as another reaches it.
type link struct {
	s        *school
	from, to string
	life     *member // of from
}

var errDead = errors.New("nobody answers")

// call does what a request does, unless one of the two is dead before or after.
func (l link) call(ctx context.Context, what string, fn func(to *member) error) error {
	ends := func(m *member) error {
		l.s.mu.Lock()
		defer l.s.mu.Unlock()
		if m == nil || m.dead || l.life.dead || l.s.boxes[l.from] != l.life {
			return errDead
		}
		return nil
	}
	step := func(what string) error {
		l.s.mu.Lock()
		hook := l.s.hook
		l.s.mu.Unlock()
		if hook == nil {
			return nil
		}
		return hook(l.from, l.to, what)
	}
	to := l.s.box(l.to)
	if err := errors.Join(ctx.Err(), step(what), ends(to)); err != nil {
		return err
	}
	err := fn(to)
	if broken := errors.Join(step(what+" done"), ends(to)); broken != nil {
		return broken
	}
	return err
}

func (l link) Name() string { return l.to }

func (l link) Offer(ctx context.Context, d outbox.Deposit, list []byte) (missing []block.Digest, held bool, err error) {
	raw, err := outbox.EncodeOffer(d, list)
	if err != nil {
		return nil, false, err
	}
	err = l.call(ctx, "offer", func(to *member) error {
		q, list, err := outbox.DecodeOffer(raw)
		if err == nil {
			missing, held, err = to.Offered(ctx, l.from, q, list)
		}
		return err
	})
	return missing, held, err
}

func (l link) Put(ctx context.Context, id string, digest block.Digest, p []byte) error {
	return l.call(ctx, "put", func(to *member) error { return to.PutGuest(ctx, l.from, id, digest, p) })
}

func (l link) Keep(ctx context.Context, id string) error {
	return l.call(ctx, "keep", func(to *member) error { return to.KeepGuest(ctx, l.from, id) })
}

func (l link) Drop(ctx context.Context, id string) error {
	return l.call(ctx, "drop", func(to *member) error { return to.DropGuest(l.from, id) })
}

func (l link) Yours(ctx context.Context, id string) error {
	return l.call(ctx, "yours", func(to *member) error { return to.AdoptGuest(l.from, id) })
}

func (l link) Held(ctx context.Context) (out []outbox.HeldFor, err error) {
	err = l.call(ctx, "held", func(to *member) error {
		out = to.HeldFor(l.from, "", 1000)
		return nil
	})
	return out, err
}

// regionOfAll takes an id once, as the region's rules are.
type regionOfAll struct {
	mu     sync.Mutex
	up     bool
	blocks map[block.Digest]bool
	has    map[string]outbox.Deposit // by id; From is who brought it
	times  map[block.Digest]int      // deposits by content
}

func newRegionOfAll() *regionOfAll {
	return &regionOfAll{blocks: map[block.Digest]bool{}, has: map[string]outbox.Deposit{}, times: map[block.Digest]int{}}
}

func (g *regionOfAll) set(up bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.up = up
}

func (g *regionOfAll) get(id string) (outbox.Deposit, bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	d, ok := g.has[id]
	return d, ok
}

func (g *regionOfAll) holds(d block.Digest) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.blocks[d]
}

func (g *regionOfAll) put(d outbox.Deposit) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.has[d.ID] = d
}

func (g *regionOfAll) len() int {
	g.mu.Lock()
	defer g.mu.Unlock()
	return len(g.has)
}

func (g *regionOfAll) count(sum block.Digest) int {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.times[sum]
}

// regionOf is the region as one box reaches it.
type regionOf struct {
	*regionOfAll
	box string
	s   *school
}

func (r regionOf) ready() error {
	if !r.s.alive(r.box) {
		return errDead
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.up {
		return errors.New("no line")
	}
	return nil
}

func (r regionOf) Missing(_ context.Context, digests []block.Digest) (out []block.Digest, err error) {
	if err := r.ready(); err != nil {
		return nil, err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, d := range digests {
		if !r.blocks[d] {
			out = append(out, d)
		}
	}
	return out, nil
}

func (r regionOf) Put(_ context.Context, d block.Digest, p []byte) error {
	if err := r.ready(); err != nil {
		return err
	}
	if block.Sum(p) != d {
		return errors.New("other bytes")
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.blocks[d] = true
	return nil
}

func (r regionOf) Commit(_ context.Context, d outbox.Deposit) error {
	if err := r.ready(); err != nil {
		return err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if old, there := r.has[d.RegionID()]; there {
		if old.Same(&d) {
			return nil
		}
		return fmt.Errorf("%w: %s", outbox.ErrTaken, d.RegionID())
	}
	d.From = r.box
	r.has[d.RegionID()] = d
	r.times[d.SHA256]++
	return nil
}

func (r regionOf) Barred(box string) bool { return view{r.s, r.box}.Barred(box) }

// feed tells all boxes that live what the region has.
func (s *school) feed() {
	s.t.Helper()
	s.region.mu.Lock()
	var all []outbox.Deposit
	for id, d := range s.region.has {
		d.ID, d.As = id, ""
		all = append(all, d)
	}
	s.region.mu.Unlock()
	for _, m := range s.all() {
		for _, d := range all {
			if !s.alive(m.name) {
				continue
			}
			err := m.ReleaseGuests(d)
			if own, no := m.InRegionAs(d.ID); no == nil && own.Same(&d) {
				err = errors.Join(err, m.Learn(d.ID, outbox.InRegion, "", "", "", ""))
			}
			if err != nil {
				s.t.Error(err)
			}
		}
	}
}

// copied adds a file to a box and waits for its copy.
func (s *school) copied(box, name string, body []byte) outbox.Deposit {
	s.t.Helper()
	m := s.box(box)
	d := add(s.t, m.Outbox, name, body)
	ctx, cancel := context.WithTimeout(context.Background(), 15*time.Second)
	defer cancel()
	d, err := m.Copied(ctx, d.ID)
	if err != nil {
		s.t.Fatal(err)
	}
	return d
}

// get is the deposit on a box, of its own or not.
func (s *school) look(box, id string) (outbox.Deposit, bool) {
	d, err := s.box(box).Look(id)
	return d, err == nil
}
