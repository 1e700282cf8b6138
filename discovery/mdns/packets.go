package mdns

import (
	"bytes"
	"context"
	"net/netip"
	"slices"
	"time"

	"preau/discovery/mdns/hostname"
	"preau/discovery/mdns/links"
	"preau/discovery/mdns/message"
)

// words are what is in all packets that concern the box: the service, the names
// and the hosts of services begin like one of them. What follows a name that is
// too long for its number is not looked for.
func words(cfg Config) [][]byte {
	out := [][]byte{[]byte(hostPrefix)}
	for _, n := range []string{cfg.Shared, cfg.Own} {
		if n != "" {
			out = append(out, []byte(n[:min(len(n), 59)]))
		}
	}
	return out
}

// concerns says whether a packet may concern the box. Most on a LAN do not, and
// to wake the loop for each would cost more than all else. A label is always
// written whole, somewhere in its packet.
func concerns(data []byte, words [][]byte) bool {
	var folded [message.MaxSize]byte
	n := copy(folded[:], data)
	for i, c := range folded[:n] {
		if 'A' <= c && c <= 'Z' {
			folded[i] = c + 'a' - 'A'
		}
	}
	return slices.ContainsFunc(words, func(w []byte) bool { return bytes.Contains(folded[:n], w) })
}

// count counts a packet that concerns others.
func (r *run) count(data []byte) {
	switch {
	case len(data) < 12:
		r.met.packets.WithLabelValues("malformed").Inc()
	case data[2]&0x80 != 0:
		r.met.packets.WithLabelValues("response").Inc()
	default:
		r.met.packets.WithLabelValues("query").Inc()
	}
}

// packet takes in what came from the network.
func (r *run) packet(now time.Time, p packet) {
	link, ok := links.Find(r.links, p.link)
	if !ok || !p.from.IsValid() {
		r.met.packets.WithLabelValues("foreign").Inc()
		return
	}
	m, err := message.Parse(p.data)
	if err != nil {
		r.met.packets.WithLabelValues("malformed").Inc()
		return
	}
	switch {
	// RFC 6762 §11 and §6.
	case !p.group && !link.Near(p.from.Addr()) && !link.Holds(p.from.Addr()),
		m.Response && p.from.Port() != hostname.Port:
		r.met.packets.WithLabelValues("foreign").Inc()
		return
	case m.Response:
		r.met.packets.WithLabelValues("response").Inc()
		r.hear(now, m, link, p.from.Addr())
	default:
		r.met.packets.WithLabelValues("query").Inc()
		if asksAll(p, m, link) {
			if begin, whole := r.turns.heard(now, link.Index, r.links); whole && r.others.IsZero() {
				r.others = begin
			}
		}
		if now.Sub(r.lookedAt) > fresh && r.responder.Asks(m) {
			r.refresh(now)
		}
	}
	r.responder.Handle(now, hostname.Packet{Message: m, From: p.from, Link: p.link, Multicast: p.group})
}

func (r *run) hear(now time.Time, m *message.Message, l links.Link, from netip.Addr) {
	r.mu.Lock()
	news := r.table.hear(now, m, l, from)
	r.mu.Unlock()
	if news {
		r.tell()
	}
}

// send sends what it can. A packet that is lost here is one of those that get
// lost on the way: whoever needs it asks again.
func (r *run) send(ctx context.Context, all []hostname.Send) {
	for _, p := range all {
		i := 0
		if p.V6 {
			i = 1
		}
		if s := r.sockets[i]; s != nil {
			if err := s.send(p); err != nil {
				r.log.DebugContext(ctx, "not sent", "err", err)
			}
		}
	}
}
