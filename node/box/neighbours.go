package box

import (
	"context"
	"errors"
	"net"
	"net/http"
	"net/url"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"preau/cache/parent"
	"preau/cache/pool"
	"preau/node/control"
	"preau/node/follow"
	"preau/node/near"
	"preau/node/obs"
)

// neighbourhood is the box's part among the other boxes of its school. It has
// none before the region can be followed, or if it was told to have none.
type neighbourhood struct {
	boxes atomic.Pointer[near.Boxes]
}

// wantsNeighbours says whether the box looks for others at all: it needs a region
// that says who is one, and devices that are not on this machine alone.
func (b *Box) wantsNeighbours() bool {
	if !b.cfg.Neighbours.Enabled || b.region.alone {
		return false
	}
	if host, _, err := net.SplitHostPort(b.cfg.Neighbours.Listen); err == nil && host != "" {
		return true // somebody has thought about it
	}
	for _, d := range b.doors {
		if !onLoopback(d.Addr()) {
			return true
		}
	}
	return false
}

// runNeighbours finds and serves neighbours, once the region can be followed.
func (b *Box) runNeighbours(ctx context.Context) error {
	select {
	case <-ctx.Done():
		return nil
	case <-b.region.opened:
	}
	f := b.region.follower.Load()
	reg := prometheus.NewRegistry()
	self := near.Self{
		Version: obs.ReadBuild().Version, HTTPPort: b.plainPort(), Room: b.room, Handler: b.forNeighbours(f),
	}
	boxes, err := near.New(b.cfg.Neighbours, self, f, b.log, reg)
	if err != nil {
		return err
	}
	if err := b.reg.Register(reg); err != nil {
		return err
	}
	b.near.boxes.Store(boxes)
	ctx, cancel := context.WithCancel(ctx)
	var telling sync.WaitGroup
	defer telling.Wait()
	defer cancel()
	telling.Go(func() {
		for {
			select {
			case <-ctx.Done():
				return
			case <-boxes.Changed():
				b.deposits.poke(ctx)
				b.leaving.poke()
			}
		}
	})
	telling.Go(func() { b.takeOver(ctx, boxes) })
	return boxes.Run(ctx)
}

// plainPort is where devices connect without TLS.
func (b *Box) plainPort() int {
	for _, d := range b.doors {
		if tcp, ok := d.Addr().(*net.TCPAddr); ok && !d.Secure() {
			return tcp.Port
		}
	}
	return 0
}

// room is what the box gives to the school's pool.
func (b *Box) room() near.Room {
	room := near.Room{Weight: int64(b.cfg.Budget)}
	if s := b.front.Storage(); s != nil {
		used, budget, _ := s.Usage()
		room.Free = max(0, budget-used)
	}
	return room
}

// forNeighbours is what the school's other boxes can ask of this one.
func (b *Box) forNeighbours(f *follow.Follower) http.Handler {
	mux := http.NewServeMux()
	mux.Handle("/o/", b.front.Handler().Neighbours())
	mux.Handle("/blocks/", f.NearBlocks())
	mux.HandleFunc("GET "+leavingPath, b.tellLeaving)
	if b.staff != nil {
		mux.Handle(lessonsPath, b.staff.store.Near())
	}
	if b.deposits.wanted {
		mux.Handle("/n/deposits/", b.deposits.copiesFace(f.Identity()))
	}
	return mux
}

// pooled are the neighbours that may be asked for what key names of a site.
func (n *neighbourhood) pooled(site string) pool.List {
	return func(key string) (others []parent.Parent, place int) {
		boxes := n.boxes.Load()
		if boxes == nil {
			return nil, 0
		}
		near, place := boxes.Order(site + key)
		for _, b := range near {
			base := &url.URL{Scheme: "https", Host: b.Name, Path: "/o/" + site}
			others = append(others, parent.Parent{Name: b.Name, RoundTripper: b.RoundTripper, Base: base})
		}
		return others, place
	}
}

// Report and Lost tell of neighbours that served wrong bytes, and of dead ones.
func (n *neighbourhood) Report(name, why string) {
	if boxes := n.boxes.Load(); boxes != nil {
		boxes.Report(name, why)
	}
}

// Lost implements pool.Reports.
func (n *neighbourhood) Lost(name string) {
	if boxes := n.boxes.Load(); boxes != nil {
		boxes.Lost(name)
	}
}

// Order implements follow.Near.
func (n *neighbourhood) Order(key string) (others []follow.NearBox, mine bool) {
	boxes := n.boxes.Load()
	if boxes == nil {
		return nil, true
	}
	near, place := boxes.Order(key)
	for _, b := range near {
		others = append(others, follow.NearBox(b))
	}
	return others, place == 0
}

// errNoNeighbours is said where a box looks for none.
var errNoNeighbours = errors.New("this box looks for no neighbours: it belongs to no region, listens on 127.0.0.1 alone, or neighbours.enabled is false in its configuration")

// asked answers an operator about the school's boxes, where the box looks for any.
func (n *neighbourhood) asked(answer func(r *http.Request, boxes *near.Boxes) any) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Cache-Control", "no-store")
		boxes := n.boxes.Load()
		if boxes == nil {
			writeJSON(w, r, http.StatusNotFound, control.Failure{Code: "no_neighbours", Detail: errNoNeighbours.Error()})
			return
		}
		writeJSON(w, r, http.StatusOK, answer(r, boxes))
	})
}

// showNeighbours tells operators who is there.
func showNeighbours(_ *http.Request, boxes *near.Boxes) any { return boxes.Status() }

// Drain is how far a box is that is to be taken away.
type Drain struct {
	Draining bool `json:"draining"`
	// Alone is how many files that were added are on this box and nowhere else, -1
	// while their folder can't be read.
	Alone int `json:"alone"`
}

// drain begins to take the box out of the school's pool (PUT), ends that
// (DELETE), and tells how far it is.
func (b *Box) drain(r *http.Request, boxes *near.Boxes) any {
	switch r.Method {
	case http.MethodPut:
		boxes.Drain(true)
	case http.MethodDelete:
		boxes.Drain(false)
	}
	ctx, cancel := context.WithTimeout(r.Context(), 10*time.Second)
	defer cancel()
	return Drain{Draining: boxes.Draining(), Alone: b.deposits.alone(ctx)}
}
