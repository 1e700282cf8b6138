package hostname

import (
	"encoding/binary"
	"net/netip"
	"slices"
	"strings"

	"preau/discovery/mdns/links"
	"preau/discovery/mdns/message"
)

// maxAddresses of one name are told, so that a response fits into one packet.
const maxAddresses = 12

// flush is the cache-flush bit (RFC 6762 §10.2).
const flush uint16 = 1 << 15

// record is a record of a name of ours: an address, or that there is none.
type record struct {
	name    string
	addr    netip.Addr
	unique  bool
	ttl     uint32
	none    bool // NSEC: there are no types but
	a, aaaa bool
}

func (rec record) typ() uint16 {
	switch {
	case rec.none:
		return message.NSEC
	case rec.addr.Is4():
		return message.A
	}
	return message.AAAA
}

func (rec record) data() []byte {
	if !rec.none {
		return rec.addr.AsSlice()
	}
	// RFC 6762 §6.1: the next name is the name itself, then the first block of
	// the bitmap of types (RFC 4034 §4.1.2), as far as it has bits.
	var bits [message.AAAA/8 + 1]byte
	size := 0
	set := func(typ uint16, has bool) {
		if has {
			bits[typ/8] |= 0x80 >> (typ % 8)
			size = max(size, int(typ/8)+1)
		}
	}
	set(message.A, rec.a)
	set(message.AAAA, rec.aaaa)
	out := appendName(nil, rec.name+".local")
	if size == 0 {
		return out
	}
	return append(append(out, 0, byte(size)), bits[:size]...) //nolint:gosec // at most 4
}

// same says whether somebody's record is this one, whatever its time to live.
func (rec record) same(k message.Record) bool {
	return k.Type == rec.typ() && k.Class == message.IN && isFor(rec.name)(k) &&
		(rec.none || slices.Equal(k.Data, rec.addr.AsSlice()))
}

// response is what is put into one packet.
type response struct {
	id        uint16
	legacy    bool
	questions []message.Question // repeated for legacy askers
	authority []record           // of probes
	answers   []record
	// additional are left out if they are answers too.
	additional []record
}

func (p *response) add(o response) {
	for _, rec := range o.answers {
		if !slices.Contains(p.answers, rec) {
			p.answers = append(p.answers, rec)
		}
	}
	p.additional = append(p.additional, o.additional...)
}

// pack writes a response, or a probe if there are records of authority. Names
// are not compressed: they are few and short.
func (p *response) pack() []byte {
	var extra []record
	for _, rec := range p.additional {
		if !slices.Contains(p.answers, rec) && !slices.Contains(extra, rec) {
			extra = append(extra, rec)
		}
	}
	var flags, id uint16
	if len(p.authority) == 0 {
		flags = 0x8400 // a response, with authority
	}
	if p.legacy {
		id = p.id
	}
	out := make([]byte, 0, 512)
	for _, n := range []uint16{
		id, flags, count(p.questions), count(p.answers), count(p.authority), count(extra),
	} {
		out = binary.BigEndian.AppendUint16(out, n)
	}
	for _, q := range p.questions {
		out = appendName(out, q.Name)
		out = binary.BigEndian.AppendUint16(out, q.Type)
		out = binary.BigEndian.AppendUint16(out, q.Class)
	}
	for _, section := range [][]record{p.answers, p.authority, extra} {
		for _, rec := range section {
			out = p.appendRecord(out, rec, len(p.authority) > 0)
		}
	}
	return out
}

func (p *response) appendRecord(out []byte, rec record, probe bool) []byte {
	class, ttl := message.IN, rec.ttl
	switch {
	case p.legacy: // RFC 6762 §6.7
		ttl = min(ttl, legacyTTL)
	case rec.unique && !probe:
		class |= flush
	}
	out = appendName(out, rec.name+".local")
	out = binary.BigEndian.AppendUint16(out, rec.typ())
	out = binary.BigEndian.AppendUint16(out, class)
	out = binary.BigEndian.AppendUint32(out, ttl)
	data := rec.data()
	out = binary.BigEndian.AppendUint16(out, uint16(len(data))) //nolint:gosec // a name and a few bytes
	return append(out, data...)
}

// appendName writes a name of ours, whose labels are short and have no dots.
func appendName(out []byte, name string) []byte {
	for label := range strings.SplitSeq(name, ".") {
		out = append(append(out, byte(len(label))), label...) //nolint:gosec // at most 63
	}
	return append(out, 0)
}

func count[T any](s []T) uint16 { return uint16(min(len(s), 1<<15)) } //nolint:gosec // bounded

// multicast is a response to the group on a link, once for each of its families.
func multicast(l links.Link, what response) []Send {
	if len(what.answers)+len(what.authority) == 0 {
		return nil
	}
	data := what.pack()
	var out []Send
	for _, v6 := range []bool{false, true} {
		if l.Has(v6) {
			out = append(out, Send{Data: data, Link: l.Index, V6: v6})
		}
	}
	return out
}
