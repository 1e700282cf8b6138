package follow

import (
	"context"
	"maps"
	"net"
	"time"
)

const (
	// lookLine is how often a box without a server looks for a sign that its line is
	// back, and lookServer how often one that has a server looks whether it has.
	lookLine   = 250 * time.Millisecond
	lookServer = 2 * time.Second
	// askLinks is after how many looks the network's interfaces are asked for.
	askLinks = 4
)

// lineWatch finds the signs that this box's own line has come back. A server of the
// region that answers is none: if it was the region that went, all boxes see that
// at once, and are to come back one by one. So where sites were there all the time,
// nothing is a sign.
type lineWatch struct {
	cut   bool // no site could be reached
	asked bool // for links
	links map[string]bool
}

// sites is told whether any site can be reached, and reports a sign.
func (w *lineWatch) sites(up, known bool) (sign bool) {
	sign = known && up && w.cut
	if known {
		w.cut = !up
	}
	return sign
}

// linked is told which links there are, and reports a sign: one is there that was
// not.
func (w *lineWatch) linked(links map[string]bool) (sign bool) {
	for l := range links {
		sign = sign || w.asked && !w.links[l]
	}
	w.asked, w.links = true, maps.Clone(links)
	return sign
}

// lineParts are what a line is watched by.
type lineParts struct {
	connected func() (server string, since time.Time)
	reach     func(since time.Time) (up, known bool) // nil: there are no sites
	links     func() map[string]bool
	hurry     func() bool
}

// watchLine has the feed tried at once when the school's line comes back.
func watchLine(ctx context.Context, p lineParts) error {
	began := time.Now()
	tick := time.NewTicker(lookServer)
	defer tick.Stop()
	var w *lineWatch // nil: there is a server
	for looks := 0; ; looks++ {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		server, since := p.connected()
		if server != "" {
			if w != nil {
				w = nil
				tick.Reset(lookServer)
			}
			continue
		}
		if w == nil {
			w, looks = &lineWatch{}, 0
			tick.Reset(lookLine)
		}
		if since.IsZero() {
			since = began
		}
		sign := false
		if p.reach != nil {
			sign = w.sites(p.reach(since))
		}
		if looks%askLinks == 0 && w.linked(p.links()) {
			sign = true
		}
		if sign {
			p.hurry()
		}
	}
}

// runLine watches the line.
func (f *Follower) runLine(ctx context.Context) error {
	return watchLine(ctx, lineParts{connected: f.Connected, reach: f.cfg.Reach, links: links, hurry: f.feed.Hurry})
}

// links are the addresses of network interfaces that have a cable, or whatever is
// in its place. What can't be asked is none: there are other signs.
func links() map[string]bool {
	out := map[string]bool{}
	all, err := net.Interfaces()
	if err != nil {
		return out
	}
	for _, i := range all {
		if i.Flags&net.FlagRunning == 0 || i.Flags&net.FlagLoopback != 0 {
			continue
		}
		addrs, err := i.Addrs()
		if err != nil {
			continue
		}
		for _, a := range addrs {
			if ip, ok := a.(*net.IPNet); ok && ip.IP.IsGlobalUnicast() {
				out[i.Name+" "+ip.String()] = true
			}
		}
	}
	return out
}
