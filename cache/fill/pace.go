package fill

import "time"

// A slow line brings a packet at a time, and each would wake every reader of
// the class: at 20 Mbit/s 1,700 times a second, 40 readers each. So a fetch
// that has emptied its stream rests until most of a read has come.
const (
	// promptly is how much of a fetch is passed on as it comes, so that a page
	// or a player begins at once.
	promptly = 64 << 10
	// gather is what is waited for: less than a read, so that the next one
	// shows that the stream is empty again.
	gather = readSize * 3 / 4
	// longestRest is what a byte may be late by: nobody sees it.
	longestRest = 10 * time.Millisecond
	// shortestRest is below what a timer is worth: such a line fills whole
	// reads by itself.
	shortestRest = time.Millisecond
	// paceSpan is over what time the rate is taken.
	paceSpan = 200 * time.Millisecond
)

// pace says how long a fetch may rest between two reads. It is for one
// goroutine.
type pace struct {
	total int64     // since the fetch began
	since time.Time // about the last paceSpan
	got   int64     // since then
}

// rest takes note of a read that brought n bytes, of room, and returns how
// long to wait before the next: nothing if there may be more to read already.
func (p *pace) rest(n, room int64, now time.Time) time.Duration {
	if p.total == 0 {
		p.since = now // what came before it was the way there
		p.total = n
		return 0
	}
	p.total += n
	p.got += n
	took := now.Sub(p.since)
	if took > paceSpan {
		p.since, p.got = p.since.Add(took/2), p.got/2
	}
	if n >= room || p.total < promptly || p.got == 0 {
		return 0
	}
	d := min(longestRest, took*gather/time.Duration(p.got))
	if d < shortestRest {
		return 0
	}
	return d
}
