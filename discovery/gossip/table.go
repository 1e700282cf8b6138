package gossip

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"sync"
	"time"
)

// Limits and times of the table.
const (
	maxBoxes  = 64
	maxClaims = 4 // addresses for one name, besides the proved one
	// reverify is how often a member has to prove itself.
	reverify = time.Minute
	// backoffMin and backoffMax are between tries that fail.
	backoffMin = time.Second
	backoffMax = time.Minute
	// doubtPause is the least time between verifications because of doubts: who
	// closes each connection is not asked all the time.
	doubtPause = time.Second
	// claimAge is for how long a claim that nobody repeats is remembered.
	claimAge = 3 * time.Minute
	// boxAge is for how long a proved address that is not heard is remembered.
	boxAge = 7 * 24 * time.Hour
)

// table is what is known of the neighbours. It does nothing: it is told what
// memberlist and the verifier found, and says what is to be done next. Nothing
// is called from it, so memberlist may call it with its own locks held.
type table struct {
	self  string
	boot  uint64
	every time.Duration

	mu    sync.Mutex
	boxes map[string]*box
	mine  map[netip.AddrPort]bool // where this box was or is
	// loopback: this box is on loopback, and so may others be. Elsewhere nobody
	// gets it to connect to itself.
	loopback bool
}

// box is one name.
type box struct {
	name string
	// holder is the address that proved to be the box; nil while none did.
	holder *seat
	// alive: memberlist hears it at the holder's address.
	alive bool
	since time.Time // when it became a member, or ceased to be one
	// claims are other addresses that are said to be the box.
	claims []*seat

	join    time.Time // when to call it; only if it is not alive
	joins   int       // calls without success
	joining bool
	losses  int // in short order
	lost    time.Time
	doubted time.Time // when it was last to prove itself because of a doubt
}

// seat is an address at which a box is said to be.
type seat struct {
	gossip netip.AddrPort
	said   State
	boot   uint64
	seen   time.Time

	verified   bool
	provedPort uint16
	provedBoot uint64
	next       time.Time // of verification; zero: not due
	fails      int
	busy       bool
	doubted    bool // while it is verified: that may have been before
	gen        int  // counts what makes an answer that is under way worthless
	why        string
	reported   bool
}

// check is a verification to do.
type check struct {
	name string
	seat *seat
	// known: it was proved before.
	known bool
	gen   int
	addr  netip.AddrPort
	// old is to be asked first: if it still answers, addr is not wanted.
	old netip.AddrPort
	// alt is where it was verified before its port changed.
	alt netip.AddrPort
}

// finding is how a check ended.
type finding struct {
	err  error
	void bool // it was broken off
	held bool // old still answers
	twin bool // and addr answers to the same name
	alt  bool // alt answers, addr does not
}

// notice is something for the log.
type notice struct {
	msg  string
	warn bool
	args []any
}

func newTable(self string, boot uint64, every time.Duration) *table {
	return &table{self: self, boot: boot, every: every, boxes: map[string]*box{}, mine: map[netip.AddrPort]bool{}}
}

// jitter spreads d from three quarters to one and a half of it.
func jitter(d time.Duration) time.Duration {
	return time.Duration(float64(d) * (0.75 + 0.75*rand.Float64()))
}

func backoff(fails int) time.Duration {
	d := backoffMax
	if fails < 8 {
		d = min(backoffMax, backoffMin<<max(0, fails-1))
	}
	return jitter(d)
}

// here says where this box is now.
func (t *table) here(a netip.AddrPort) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.mine) >= maxBoxes {
		clear(t.mine)
	}
	t.mine[a] = true
	t.loopback = a.Addr().IsLoopback()
}

// hear judges an "alive" that memberlist got. An error keeps it out of there:
// what is not proved to be the box has no place in memberlist, where it would
// stand in the box's way.
func (t *table) hear(now time.Time, name string, at netip.AddrPort, raw []byte) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if name == t.self && t.mine[at] {
		return nil
	}
	b := t.boxes[name]
	if b != nil && b.holder != nil && b.holder.gossip == at {
		b.holder.seen = now
		return nil
	}
	if err := validName(name); err != nil {
		return fmt.Errorf("name: %w", err)
	}
	if !at.IsValid() || at.Port() == 0 || at.Addr().IsUnspecified() || at.Addr().IsMulticast() || at.Addr().IsLoopback() && !t.loopback {
		return fmt.Errorf("nobody can be at %s", at)
	}
	s, boot, err := decodeState(raw)
	if err != nil {
		return err
	}
	if name == t.self && boot == t.boot {
		return fmt.Errorf("%s is this box itself, at an address it had", at)
	}
	if b == nil {
		if !t.room() {
			return fmt.Errorf("%d boxes are known already", len(t.boxes))
		}
		b = &box{name: name, since: now}
		t.boxes[name] = b
	}
	if !b.claim(now, at, s, boot) {
		return fmt.Errorf("%d addresses are claimed for the name already", len(b.claims))
	}
	return fmt.Errorf("%s is not proved yet", at)
}

// claim notes that the box is said to be at an address.
func (b *box) claim(now time.Time, at netip.AddrPort, s State, boot uint64) bool {
	for _, c := range b.claims {
		if c.gossip == at {
			if c.said.Port != s.Port && c.fails == 0 {
				c.next = now
			}
			c.said, c.boot, c.seen = s, boot, now
			return true
		}
	}
	if len(b.claims) >= maxClaims {
		worst := slices.MaxFunc(b.claims, func(x, y *seat) int { return x.fails - y.fails })
		if worst.fails == 0 || worst.busy {
			return false
		}
		b.claims = slices.DeleteFunc(b.claims, func(c *seat) bool { return c == worst })
	}
	b.claims = append(b.claims, &seat{gossip: at, said: s, boot: boot, seen: now, next: now, why: "not verified yet"})
	return true
}

// room makes place for one more box, if need be at the cost of one that never
// proved anything.
func (t *table) room() bool {
	if len(t.boxes) < maxBoxes {
		return true
	}
	for name, b := range t.boxes {
		if b.holder == nil && !slices.ContainsFunc(b.claims, func(c *seat) bool { return c.fails == 0 || c.busy }) {
			delete(t.boxes, name)
			return true
		}
	}
	return false
}

// up says that memberlist hears a box at an address, or has news of it.
func (t *table) up(now time.Time, name string, at netip.AddrPort, raw []byte, joined bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	b := t.boxes[name]
	if name == t.self || b == nil || b.holder == nil || b.holder.gossip != at {
		return
	}
	h := b.holder
	h.seen = now
	if s, boot, err := decodeState(raw); err == nil {
		h.said, h.boot = s, boot
		if h.said.Port != h.provedPort || h.boot != h.provedBoot {
			h.next = now
		}
	}
	if joined && !b.alive {
		b.alive, b.joins = true, 0
		// What was proved before the silence says nothing about who speaks now,
		// unless it was proved because of this.
		if !h.verified {
			h.next = now
		}
		b.since = now
	}
}

// down says that memberlist hears a box no more.
func (t *table) down(now time.Time, name string, at netip.AddrPort) {
	t.mu.Lock()
	defer t.mu.Unlock()
	b := t.boxes[name]
	if b == nil || b.holder == nil {
		return
	}
	b.join, b.joins = now.Add(joinAfter), 0
	if b.holder.gossip != at {
		return // it has moved, and the old address is given up only now
	}
	b.alive, b.since = false, now
	b.holder.distrust("not heard any more")
	b.holder.next = time.Time{}
}

// distrust makes what was proved worthless.
func (s *seat) distrust(why string) {
	s.verified, s.why = false, why
	s.gen++
}

// doubt has a member prove itself soon: at once, and if it was so a moment ago,
// after a pause. It reports whether there is something to do.
func (t *table) doubt(now time.Time, name string) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	b := t.boxes[name]
	if b == nil || b.holder == nil || !b.holder.verified {
		return false
	}
	if b.holder.busy {
		b.holder.doubted = true
		return false
	}
	b.soon(now)
	return true
}

// soon has the holder's verification be due.
func (b *box) soon(now time.Time) {
	at := now
	if again := b.doubted.Add(doubtPause); again.After(at) {
		at = again
	}
	if h := b.holder; h.next.IsZero() || h.next.After(at) {
		h.next, b.doubted = at, at
	}
}

// silence says that this box itself hears nobody: memberlist is gone.
func (t *table) silence(now time.Time) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, b := range t.boxes {
		if b.alive {
			b.since = now
		}
		b.alive, b.join, b.joins = false, now, 0
		if b.holder != nil {
			b.holder.distrust("this box is not on the network")
			b.holder.next = time.Time{}
		}
	}
}

// lost says that somebody found a box dead; false if that is nothing new.
func (t *table) lost(now time.Time, name string) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	b := t.boxes[name]
	if b == nil || b.holder == nil || !b.holder.verified {
		return false
	}
	if now.Sub(b.lost) > reverify {
		b.losses = 0
	}
	b.lost = now
	b.holder.distrust("it did not answer when it was needed")
	// At once, but not again and again: it may well answer the verifier only.
	b.holder.next = now
	if b.losses > 0 {
		b.holder.next = now.Add(backoff(b.losses))
	}
	b.losses++
	b.since = now
	return true
}
