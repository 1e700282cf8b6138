package gossip

import (
	"context"
	"log/slog"
	"strings"
	"sync"
	"time"
)

// How much of memberlist's talk gets through.
const (
	noUDP   = "a neighbour is heard over TCP only: let UDP through on the gossip port, or news will be slow"
	foreign = "gossip came that none of this box's keys opens: is there a box with other keys?"

	talkEvery  = 10 * time.Second
	talkAtMost = 20
	worryEvery = 10 * time.Minute
)

// chatter makes something bearable of what memberlist writes to its log: what
// an operator can act upon, now and then and in words; the rest for debugging,
// and not too much of it. No line of memberlist's has a key in it.
type chatter struct {
	log *slog.Logger

	mu      sync.Mutex
	since   time.Time
	lines   int
	worries map[string]*worry
}

type worry struct {
	told  time.Time
	last  time.Time
	since int // how often since then
}

// worries are what operators can do something about, by what memberlist says.
func worryOf(line string) (msg string, ok bool) {
	switch {
	case strings.Contains(line, "UDP probes failed"):
		return noUDP, true
	case strings.Contains(line, "no installed keys could decrypt"), strings.Contains(line, "Decrypt packet failed"),
		strings.Contains(line, "encryption is configured but"):
		return foreign, true
	}
	return "", false
}

// Write implements io.Writer.
func (c *chatter) Write(p []byte) (int, error) {
	ctx := context.Background()
	line := strings.TrimSpace(string(p))
	if i := strings.IndexByte(line, '['); i >= 0 {
		line = line[i:] // without its own time
	}
	now := time.Now()
	if msg, ok := worryOf(line); ok {
		if n, tell := c.worry(now, msg); tell {
			c.log.WarnContext(ctx, "trouble with gossip", "what", msg, "example", line, "not_said", n)
		}
		return len(p), nil
	}
	if c.log.Enabled(ctx, slog.LevelDebug) && c.talk(now) {
		c.log.DebugContext(ctx, "memberlist", "says", line)
	}
	return len(p), nil
}

// worry counts, and says when it is time for a word.
func (c *chatter) worry(now time.Time, msg string) (unsaid int, tell bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.worries == nil {
		c.worries = map[string]*worry{}
	}
	w := c.worries[msg]
	if w == nil {
		w = &worry{}
		c.worries[msg] = w
	}
	w.last = now
	if !w.told.IsZero() && now.Sub(w.told) < worryEvery {
		w.since++
		return 0, false
	}
	unsaid = w.since
	w.told, w.since = now, 0
	return unsaid, true
}

func (c *chatter) talk(now time.Time) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if now.Sub(c.since) > talkEvery {
		c.since, c.lines = now, 0
	}
	c.lines++
	return c.lines <= talkAtMost
}

// udpFiltered reports whether UDP did not get through a moment ago.
func (c *chatter) udpFiltered(now time.Time) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	w := c.worries[noUDP]
	return w != nil && now.Sub(w.last) < 30*time.Second
}
