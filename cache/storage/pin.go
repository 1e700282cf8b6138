package storage

import (
	"errors"
	"fmt"
	"sync"

	"preau/cache/object"
)

// ErrPinsFull reports that pins would take more of the budget than they may.
// An operator must unpin something or give the cache more disk.
var ErrPinsFull = errors.New("pinned objects take all the room they may")

// pins are the keys of what is never evicted.
type pins struct {
	editing sync.Mutex // one change at a time; locked before mu

	mu    sync.Mutex
	bytes map[object.Key]int64
	total int64
	// held are kept for as long as the process runs and somebody says so.
	held      map[object.Key]int64
	heldTotal int64
}

// has reports what is pinned or held.
func (p *pins) has(k object.Key) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	_, pinned := p.bytes[k]
	_, held := p.held[k]
	return pinned || held
}

// pinned reports what is pinned.
func (p *pins) pinned(k object.Key) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	_, ok := p.bytes[k]
	return ok
}

func (p *pins) reserved() int64 {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.total + p.heldTotal
}

func (s *Storage) loadPins() error {
	bytes, err := s.objects.Pins()
	if err != nil {
		return err
	}
	s.pins.bytes = bytes
	for _, n := range bytes {
		s.pins.total += n
	}
	return nil
}

// Pin keeps what k names from being evicted, stored already or not, and
// reserves size bytes of what pins may take. Another size replaces the one
// before. It is durable when it returns. ErrPinsFull says that there is no room
// for more.
func (s *Storage) Pin(k object.Key, size int64) error {
	size = max(0, size)
	s.pins.editing.Lock()
	defer s.pins.editing.Unlock()
	s.pins.mu.Lock()
	before, pinned := s.pins.bytes[k]
	total := s.pins.total + s.pins.heldTotal - before + size
	s.pins.mu.Unlock()
	if pinned && before == size {
		return nil
	}
	if most := s.pinBudget(); size > before && total > most {
		return fmt.Errorf("%w: %d bytes of %d", ErrPinsFull, total, most)
	}
	if err := s.objects.SavePin(k, size); err != nil {
		return err
	}
	s.pins.mu.Lock()
	s.pins.bytes[k], s.pins.total = size, total
	s.pins.mu.Unlock()
	return s.meta.Sync()
}

// Unpin lets what k names be evicted when its turn comes.
func (s *Storage) Unpin(k object.Key) error {
	s.pins.editing.Lock()
	defer s.pins.editing.Unlock()
	if !s.pins.pinned(k) {
		return nil
	}
	if err := s.objects.RemovePin(k); err != nil {
		return err
	}
	s.pins.mu.Lock()
	s.pins.total -= s.pins.bytes[k]
	delete(s.pins.bytes, k)
	s.pins.mu.Unlock()
	return nil
}

// Pinned reports whether what k names is pinned.
func (s *Storage) Pinned(k object.Key) bool { return s.pins.pinned(k) }

// Holding is what is held, stored already or not, and how long it is in bytes.
type Holding struct {
	Key   object.Key
	Bytes int64
}

// Hold keeps objects from being evicted, in the room that pins leave, until Hold
// is called again; what was held before and is not among them may go. Unlike Pin
// it is forgotten with the process. It returns those for which there is no room:
// the first ones go first, and what is pinned anyway takes none.
func (s *Storage) Hold(all []Holding) (left []Holding) {
	s.pins.editing.Lock()
	defer s.pins.editing.Unlock()
	held, total, most := make(map[object.Key]int64, len(all)), int64(0), s.pinBudget()
	s.pins.mu.Lock()
	defer s.pins.mu.Unlock()
	for _, one := range all {
		size := max(0, one.Bytes)
		if _, pinned := s.pins.bytes[one.Key]; pinned {
			size = 0
		}
		if _, twice := held[one.Key]; twice {
			continue
		}
		if size > most-s.pins.total-total {
			left = append(left, one)
			continue
		}
		held[one.Key] = size
		total += size
	}
	s.pins.held, s.pins.heldTotal = held, total
	return left
}

// Room is how many bytes may be pinned or held beside what is.
func (s *Storage) Room() int64 { return max(0, s.pinBudget()-s.pins.reserved()) }

// PinnedKeys lists what is pinned, in no order.
func (s *Storage) PinnedKeys() []object.Key {
	s.pins.mu.Lock()
	defer s.pins.mu.Unlock()
	out := make([]object.Key, 0, len(s.pins.bytes))
	for k := range s.pins.bytes {
		out = append(out, k)
	}
	return out
}

// PinUsage is how many keys are pinned, the bytes they reserve, and how many
// they may.
func (s *Storage) PinUsage() (keys int, bytes, budget int64) {
	s.pins.mu.Lock()
	defer s.pins.mu.Unlock()
	return len(s.pins.bytes), s.pins.total, s.pinBudget()
}

// pinBudget is the share of the room that there is: a disk smaller than the
// configured budget has less.
func (s *Storage) pinBudget() int64 {
	return int64(s.cfg.PinShare * float64(s.blocks.Usage().BudgetBytes))
}
