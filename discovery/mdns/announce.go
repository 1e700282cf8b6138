package mdns

import (
	"errors"
	"fmt"
	"maps"
	"net"
	"slices"
	"time"

	"github.com/grandcat/zeroconf"

	"preau/discovery/mdns/links"
)

const (
	// settle is how old a registration is before it is taken back: the library's
	// goroutines count themselves when they begin, not before they are started.
	settle = 200 * time.Millisecond
	// probeLife is how long the goroutine that announces a registration goes on
	// whatever happens: twice up to 250 ms, then one and two seconds, in which it
	// sends on closed sockets.
	probeLife = 3600 * time.Millisecond
)

// announcer holds the registrations, each on one interface, so that a change of
// one leaves the others alone.
type announcer struct {
	cfg    Config
	host   string
	on     map[int]*announced // by the link's index
	latest time.Time          // registration
}

// announced is what is registered on a link.
type announced struct {
	name    string
	joined  [2]bool // IPv4, IPv6
	servers []*zeroconf.Server
	born    time.Time
}

func newAnnouncer(cfg Config, host string) *announcer {
	return &announcer{cfg: cfg, host: host, on: map[int]*announced{}}
}

// sync registers on links that are new and takes back what was registered on
// those that are gone. A link that has other addresses is left alone: the library
// looks them up when it answers, and listens on it by both families, so far as
// they could be joined. What it did not join then, and could now, it joins only
// anew.
func (a *announcer) sync(all []links.Link, joined func(index int) [2]bool) error {
	for index, on := range a.on {
		now, ok := links.Find(all, index)
		can := joined(index)
		if !ok || now.Name != on.name || (can[0] && !on.joined[0]) || (can[1] && !on.joined[1]) {
			a.remove(index)
		}
	}
	var errs []error
	for _, l := range all {
		if a.on[l.Index] == nil {
			errs = append(errs, a.add(l, joined(l.Index)))
		}
	}
	return errors.Join(errs...)
}

// add announces the services on a link, on which they are not.
func (a *announcer) add(l links.Link, joined [2]bool) error {
	if joined == [2]bool{} {
		return fmt.Errorf("announce on %s: the group could not be joined", l.Name)
	}
	ifi, err := net.InterfaceByIndex(l.Index)
	if err != nil {
		return fmt.Errorf("announce on %s: %w", l.Name, err)
	}
	on := []net.Interface{*ifi}
	services := []struct {
		instance, service string
		port              int
		text              []string
	}{{a.cfg.Instance, Service, a.cfg.Port, a.cfg.Text}}
	if a.cfg.HTTPPort > 0 {
		services = append(services, struct {
			instance, service string
			port              int
			text              []string
		}{a.cfg.Title, httpService, a.cfg.HTTPPort, []string{"path=/"}})
	}
	var errs []error
	registered := &announced{name: l.Name, joined: joined}
	a.on[l.Index] = registered
	for _, s := range services {
		text := make([]string, 0, 1)
		for _, t := range s.text {
			text = append(text, escapeText(t))
		}
		if len(text) == 0 {
			text = append(text, "") // RFC 6763 §6.1
		}
		// Without addresses the library looks them up whenever it answers.
		server, err := zeroconf.RegisterProxy(escape(s.instance), s.service, "local", s.port, a.host, nil, text, on)
		if err != nil {
			errs = append(errs, fmt.Errorf("announce %s on %s: %w", s.service, l.Name, err))
			continue
		}
		a.latest = time.Now()
		registered.born = a.latest
		registered.servers = append(registered.servers, server)
	}
	if len(errs) > 0 {
		a.remove(l.Index)
	}
	return errors.Join(errs...)
}

// remove says goodbye on a link and closes what was open for it. The library
// would leave all open if it could not pack its goodbye; Config.Validate lets
// nothing through that cannot be packed.
func (a *announcer) remove(index int) {
	on := a.on[index]
	delete(a.on, index)
	if len(on.servers) == 0 {
		return
	}
	pause(settle - time.Since(on.born))
	for _, s := range on.servers {
		s.Shutdown()
	}
}

// close says goodbye everywhere.
func (a *announcer) close() {
	for _, index := range slices.Collect(maps.Keys(a.on)) {
		a.remove(index)
	}
}

// gone waits until the library has no goroutine left after close.
func (a *announcer) gone() {
	if !a.latest.IsZero() {
		pause(probeLife - time.Since(a.latest))
	}
}

func pause(d time.Duration) {
	if d > 0 {
		<-time.After(d)
	}
}
