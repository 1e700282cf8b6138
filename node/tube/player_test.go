package tube_test

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"net/http"
	"sync"
	"testing"
	"time"
)

// What players do, as hls.js does by default: they fetch a fragment at a time
// until half a minute is buffered, and play as soon as they have one.
const (
	bufferGoal = 30 * time.Second
	// settledAt is what is buffered when a player should not stall any more.
	settledAt = 10 * time.Second
)

// class is who watches a film together.
type class struct {
	t   *testing.T
	get func(target string, header ...string) *answer // as a device asks the box
	f   *film

	mu     sync.Mutex
	front  time.Duration // how far somebody has it
	stalls []string
	waited time.Duration // of all who waited before they were settled
	seeks  int
}

// reached takes note of how far a player has the film.
func (c *class) reached(to time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.front = max(c.front, to)
}

func (c *class) reach() time.Duration {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.front
}

// player is one who watches. Times are of the film.
type player struct {
	c     *class
	name  int
	dice  *rand.Rand
	where func(p *player) time.Duration // to which it seeks

	pos, end time.Duration // where it plays, and how far it has the film from there
	playing  bool
	settled  bool
	last     time.Time // when pos was right
}

// watch plays for that long from the beginning, with seeks now and then.
func (p *player) watch(length time.Duration, seeks int) {
	for _, path := range []string{p.c.f.master, p.c.f.list} {
		if a := p.c.get(path); a.status != http.StatusOK {
			p.c.fail(p, fmt.Sprintf("%s: %d", path, a.status))
			return
		}
	}
	if !p.fetch(0, p.c.f.starts[0]) {
		return
	}
	begun := time.Now()
	var when []time.Duration
	for i := range seeks { // one in each part of the time
		part := length / time.Duration(seeks+1)
		when = append(when, part*time.Duration(i)+part/2+time.Duration(p.dice.Int64N(int64(part))))
	}
	p.last = begun
	for time.Since(begun) < length {
		if len(when) > 0 && time.Since(begun) >= when[0] {
			when = when[1:]
			p.seek(p.where(p))
		}
		if p.end-p.pos >= bufferGoal || p.end >= p.c.f.length() {
			rest(time.Second)
			p.play()
			continue
		}
		i := int(p.end / p.c.f.each)
		if !p.fetch(p.c.f.starts[i], p.c.f.starts[i+1]) {
			return
		}
		p.play()
		p.end = time.Duration(i+1) * p.c.f.each
		p.c.reached(p.end)
		p.playing = true
		p.settled = p.settled || p.end-p.pos >= settledAt
	}
}

// play moves on to where the film is now.
func (p *player) play() {
	now := time.Now()
	took := now.Sub(p.last)
	p.last = now
	if !p.playing {
		return
	}
	p.pos += took
	if p.pos <= p.end || p.end >= p.c.f.length() {
		return
	}
	missed := p.pos - p.end
	p.pos, p.playing = p.end, false
	p.c.mu.Lock()
	defer p.c.mu.Unlock()
	p.c.waited += missed
	if p.settled {
		p.c.stalls = append(p.c.stalls, fmt.Sprintf("player %d at %v for %v", p.name, p.pos, missed))
	}
	p.settled = false
}

func (p *player) seek(to time.Duration) {
	p.c.mu.Lock()
	p.c.seeks++
	p.c.mu.Unlock()
	p.play()
	to = min(to, p.c.f.length()-p.c.f.each)
	to -= to % p.c.f.each
	if to < p.pos || to > p.end {
		p.end, p.playing = to, false
	}
	p.pos = to
	p.settled = p.end-p.pos >= settledAt
}

// fetch gets a part of the file, and looks whether it is that.
func (p *player) fetch(from, to int) bool {
	a := p.c.get(p.c.f.folder+p.c.f.name, "Range", fmt.Sprintf("bytes=%d-%d", from, to-1))
	if a.status != http.StatusPartialContent || a.broken || !bytes.Equal(a.body.Bytes(), p.c.f.data[from:to]) {
		p.c.fail(p, fmt.Sprintf("bytes %d-%d: status %d, %d bytes, broken %v, %q", from, to-1, a.status, a.body.Len(), a.broken, a.header.Get("Cache-Status")))
		return false
	}
	return true
}

func (c *class) fail(p *player, what string) { c.t.Errorf("player %d: %s", p.name, what) }

func (f *film) length() time.Duration { return time.Duration(len(f.starts)-1) * f.each }
