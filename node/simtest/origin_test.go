package simtest_test

import (
	"encoding/binary"
	"maps"
	"sync"

	"preau/replication/catalogue"
)

// object is something on a web site that boxes keep.
type object struct {
	site string
	path uint64
}

// objects are all there are.
var objects = func() (out []object) {
	for _, site := range []string{"maths", "lettres", "atlas"} {
		for path := range uint64(4) {
			out = append(out, object{site, path + 1})
		}
	}
	return out
}()

func (o object) mark() [8]byte {
	var m [8]byte
	binary.BigEndian.PutUint64(m[:], o.path)
	return m
}

// named says whether a purge is of it.
func (o object) named(p catalogue.Purge) bool {
	return p.Site == o.site && (p.Scope == catalogue.ScopeSite || p.Scope == catalogue.ScopeExact && p.Mark == o.mark())
}

// origin is where objects come from. One that changes is purged then.
type origin struct {
	mu       sync.Mutex
	versions map[object]int
	purges   map[string]map[object]int // by id of the purge, the versions from then on
}

func newOrigin() *origin {
	return &origin{versions: map[object]int{}, purges: map[string]map[object]int{}}
}

func (g *origin) get(o object) int {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.versions[o]
}

// change makes new versions of what p names, before p is asked for.
func (g *origin) change(p catalogue.Purge) {
	g.mu.Lock()
	defer g.mu.Unlock()
	now := map[object]int{}
	for _, o := range objects {
		if o.named(p) {
			g.versions[o]++
			now[o] = g.versions[o]
		}
	}
	g.purges[p.ID] = now
}

// purge is the versions that objects had when a purge was asked for.
func (g *origin) purge(id string) map[object]int {
	g.mu.Lock()
	defer g.mu.Unlock()
	return maps.Clone(g.purges[id])
}
