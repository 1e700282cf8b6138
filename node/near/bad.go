package near

import (
	"context"
	"errors"
	"time"

	"preau/node/control"
	"preau/node/follow"
)

// bad is a box that served what it should not have.
type bad struct {
	why   string
	times int
	at    time.Time // the latest
	until time.Time // it is left alone
	told  int       // of so many times the region knows
	since time.Time // when it was told of the latest; zero: it can't be
}

const (
	badFor  = 10 * time.Minute
	mostBad = 24 * time.Hour
	// tellWithin bounds one telling.
	tellWithin = 10 * time.Second
)

// Report tells of a box that served bytes which are not what they were said to
// be. It is not asked for a while, longer each time, and the region is told.
func (b *Boxes) Report(name, why string) {
	now := time.Now()
	b.mu.Lock()
	was := b.bad[name]
	if was == nil {
		was = &bad{}
		b.bad[name] = was
	}
	if !was.until.After(now) { // reports of one moment count once
		was.times++
	}
	was.why, was.at, was.until = why, now, now.Add(min(badFor<<min(was.times-1, 16), mostBad))
	until := was.until
	b.mu.Unlock()
	b.met.reports.Inc()
	b.log.Error("a neighbour served wrong bytes and is not asked for a while; nobody got them. Look at its disk and its memory, or revoke it (preau revoke)", "box", name, "why", why, "until", until.UTC().Format(time.RFC3339))
	b.refresh()
	select {
	case b.reports <- struct{}{}:
	default: // it is about to be told
	}
}

// tell tells the region of boxes that served wrong bytes, until ctx ends. Without
// a line they are told of later.
func (b *Boxes) tell(ctx context.Context) {
	again := time.NewTimer(0)
	defer again.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-b.reports:
		case <-again.C:
		}
		list := b.untold(time.Now())
		if len(list) == 0 {
			continue
		}
		within, cancel := context.WithTimeout(ctx, tellWithin)
		err := b.region.TellReports(within, list)
		cancel()
		switch {
		case err == nil:
			b.toldOf(list, time.Now())
		case errors.Is(err, follow.ErrUnknownThere):
			b.toldOf(list, time.Time{})
			b.log.DebugContext(ctx, "the region is too old to be told of boxes that served wrong bytes")
		default:
			b.log.DebugContext(ctx, "the region is not told of boxes that served wrong bytes yet", "err", err)
			again.Reset(about(askSoon))
		}
	}
}

// untold is of whom the region is still to be told.
func (b *Boxes) untold(now time.Time) (list []control.BoxReport) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for name, bad := range b.bad {
		if bad.told < bad.times && len(list) < control.MaxReports {
			list = append(list, control.BoxReport{
				Box: name, Why: bad.why[:min(len(bad.why), control.MaxWhy)], Times: bad.times, Ago: now.Sub(bad.at),
			})
		}
	}
	return list
}

// toldOf notes what the region was told, and when.
func (b *Boxes) toldOf(list []control.BoxReport, at time.Time) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, r := range list {
		if bad := b.bad[r.Box]; bad != nil && bad.told < r.Times {
			bad.told, bad.since = r.Times, at
		}
	}
}
