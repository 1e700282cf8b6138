package badgerblock

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
)

// maxUnsealed is how many full segments may wait for Run to seal them before
// writers do it themselves, and thus wait.
const maxUnsealed = 2

// fillUp ends writing to r's active segment. The caller holds r.mu.
func (r *ring) fillUp() {
	if r.active != nil {
		r.active.filled.Store(true)
		r.active = nil
	}
}

// unsealed returns the segments that are full but have no index yet, oldest
// first.
func (s *Store) unsealed() []*segment {
	var list []*segment
	for _, g := range slices.Backward(s.all()) {
		if g.filled.Load() && !g.sealed() {
			list = append(list, g)
		}
	}
	return list
}

// sealSoon leaves sealing to Run, unless that lags behind or is not there.
func (s *Store) sealSoon() {
	if s.running.Load() && len(s.unsealed()) <= maxUnsealed {
		s.wakeUp()
		return
	}
	s.sealFull()
}

// sealFull seals all segments that are full.
func (s *Store) sealFull() {
	for _, g := range s.unsealed() {
		if err := s.seal(g); err != nil && !g.reported.Swap(true) {
			s.log.Warn("segment not sealed", "segment", g.id(), "err", err)
		}
	}
}

// seal closes g's Badger and gives g an index. If it fails, g stays readable
// by its map; the next start finds the same by reading the value log.
func (s *Store) seal(g *segment) error {
	g.sealMu.Lock()
	defer g.sealMu.Unlock()
	if g.sealed() || !g.hold() {
		return nil
	}
	defer g.release()
	if g.w != nil {
		// Closing writes a table, for which the ballast had the room. If
		// somebody else was quicker, old segments go instead.
		if err := s.freeRoom(s.geo.ballast); err != nil {
			s.log.Warn("no room for closing a segment", "segment", g.id(), "err", err)
		}
		if err := g.w.close(g.dir()); err != nil {
			s.log.Warn("badger of a segment not closed cleanly", "segment", g.id(), "err", err)
		}
		g.w = nil
	}
	return s.index(g)
}

// index writes and adopts the index of g, whose map is complete.
func (s *Store) index(g *segment) error {
	// Nothing but the value log is needed from here on, and what is not there
	// cannot be damaged.
	if err := keepOnly(g.dir(), vlogName, droppedName); err != nil {
		return fmt.Errorf("seal segment %d: %w", g.id(), err)
	}
	fi, err := g.vlog.Stat()
	if err != nil {
		return fmt.Errorf("seal segment %d: %w", g.id(), err)
	}
	g.mu.RLock()
	list := make([]indexed, 0, len(g.places))
	for d, p := range g.places {
		list = append(list, indexed{d, p})
	}
	g.mu.RUnlock()
	if err := writeIndex(g.dir(), list, fi.Size()); err != nil {
		return fmt.Errorf("seal segment %d: %w", g.id(), err)
	}
	x, err := openIndex(g.dir())
	if err != nil {
		return fmt.Errorf("seal segment %d: %w", g.id(), err)
	}
	if err := g.adopt(x); err != nil {
		return errors.Join(fmt.Errorf("seal segment %d: %w", g.id(), err), x.f.Close())
	}
	return s.measure(g)
}

func (s *Store) measure(g *segment) error {
	n, err := allocated(g.dir())
	if err != nil {
		return err
	}
	g.disk.Store(n)
	return nil
}

// keepOnly removes all files in dir but those named.
func keepOnly(dir string, names ...string) error {
	list, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
next:
	for _, e := range list {
		for _, n := range names {
			if e.Name() == n {
				continue next
			}
		}
		if err := os.RemoveAll(filepath.Join(dir, e.Name())); err != nil {
			return err
		}
	}
	return nil
}
