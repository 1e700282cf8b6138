package mdns

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strconv"

	"golang.org/x/net/ipv4"
	"golang.org/x/net/ipv6"

	"preau/discovery/mdns/hostname"
	"preau/discovery/mdns/links"
	"preau/discovery/mdns/message"
)

// groups of Multicast DNS (RFC 6762 §3), by family.
func group(v6 bool) netip.Addr {
	if v6 {
		return netip.AddrFrom16([16]byte{0: 0xff, 1: 0x02, 15: 0xfb})
	}
	return netip.AddrFrom4([4]byte{224, 0, 0, 251})
}

// socket is ours for one family, beside those of the library and of whoever else
// speaks Multicast DNS on this machine. All of them hear what is sent to the
// group; what is sent to the machine alone, only one of them.
type socket struct {
	v6     bool
	conn   net.PacketConn
	p4     *ipv4.PacketConn
	p6     *ipv6.PacketConn
	joined map[int]string // links, by index
}

// packet is what a socket read.
type packet struct {
	data  []byte
	from  netip.AddrPort
	link  int
	group bool // it was sent to the group
}

// openSocket opens the socket of a family, which has joined nothing yet.
func openSocket(ctx context.Context, v6 bool) (_ *socket, err error) {
	s := &socket{v6: v6, joined: map[int]string{}}
	network, any := "udp4", "0.0.0.0"
	if v6 {
		network, any = "udp6", "::"
	}
	lc := net.ListenConfig{Control: share}
	s.conn, err = lc.ListenPacket(ctx, network, net.JoinHostPort(any, strconv.Itoa(hostname.Port)))
	if err != nil {
		return nil, fmt.Errorf("open a socket for multicast dns: %w", err)
	}
	// RFC 6762 §11: a hop limit of 255. Others on this machine are to hear us.
	if v6 {
		s.p6 = ipv6.NewPacketConn(s.conn)
		err = errors.Join(s.p6.SetControlMessage(ipv6.FlagInterface|ipv6.FlagDst, true),
			s.p6.SetMulticastHopLimit(255), s.p6.SetHopLimit(255), s.p6.SetMulticastLoopback(true))
	} else {
		s.p4 = ipv4.NewPacketConn(s.conn)
		err = errors.Join(s.p4.SetControlMessage(ipv4.FlagInterface|ipv4.FlagDst, true),
			s.p4.SetMulticastTTL(255), s.p4.SetTTL(255), s.p4.SetMulticastLoopback(true))
	}
	if err != nil {
		_ = s.conn.Close() //nolint:errcheck // the other error tells more
		return nil, fmt.Errorf("set up the socket for multicast dns: %w", err)
	}
	return s, nil
}

// join makes the socket hear all links, also those that have no address of its
// family yet, and leaves those that are gone: the kernel counts them until it is
// told.
func (s *socket) join(all []links.Link) error {
	var errs []error
	for index, name := range s.joined {
		if l, ok := links.Find(all, index); !ok || l.Name != name {
			s.leave(index, name)
			delete(s.joined, index)
		}
	}
	for _, l := range all {
		if _, ok := s.joined[l.Index]; ok {
			continue
		}
		ifi, addr := &net.Interface{Index: l.Index, Name: l.Name}, &net.UDPAddr{IP: group(s.v6).AsSlice()}
		var err error
		if s.v6 {
			err = s.p6.JoinGroup(ifi, addr)
		} else {
			err = s.p4.JoinGroup(ifi, addr)
		}
		if err != nil {
			if l.Has(s.v6) {
				errs = append(errs, fmt.Errorf("join %s on %s: %w", addr.IP, l.Name, err))
			}
			continue
		}
		s.joined[l.Index] = l.Name
	}
	return errors.Join(errs...)
}

func (s *socket) leave(index int, name string) {
	ifi, addr := &net.Interface{Index: index, Name: name}, &net.UDPAddr{IP: group(s.v6).AsSlice()}
	// It fails if the interface is gone, which is what is wanted.
	if s.v6 {
		_ = s.p6.LeaveGroup(ifi, addr) //nolint:errcheck // see above
	} else {
		_ = s.p4.LeaveGroup(ifi, addr) //nolint:errcheck // see above
	}
}

// read waits for a packet. One is thrown away if it is too long for the buffer.
func (s *socket) read(buf []byte) (packet, error) {
	var p packet
	var n int
	var from net.Addr
	var err error
	var to net.IP
	if s.v6 {
		var cm *ipv6.ControlMessage
		if n, cm, from, err = s.p6.ReadFrom(buf); cm != nil {
			p.link, to = cm.IfIndex, cm.Dst
		}
	} else {
		var cm *ipv4.ControlMessage
		if n, cm, from, err = s.p4.ReadFrom(buf); cm != nil {
			p.link, to = cm.IfIndex, cm.Dst
		}
	}
	if err != nil {
		return packet{}, fmt.Errorf("read multicast dns: %w", err)
	}
	if u, ok := from.(*net.UDPAddr); ok {
		ap := u.AddrPort()
		p.from = netip.AddrPortFrom(ap.Addr().Unmap(), ap.Port())
	}
	p.group = to.IsMulticast()
	if n <= message.MaxSize {
		p.data = append([]byte(nil), buf[:n]...)
	}
	return p, nil
}

// send sends to the group on a link, or to one.
func (s *socket) send(p hostname.Send) error {
	to := p.To
	if !to.IsValid() {
		to = netip.AddrPortFrom(group(s.v6), hostname.Port)
	}
	var err error
	if s.v6 {
		_, err = s.p6.WriteTo(p.Data, &ipv6.ControlMessage{IfIndex: p.Link}, net.UDPAddrFromAddrPort(to))
	} else {
		_, err = s.p4.WriteTo(p.Data, &ipv4.ControlMessage{IfIndex: p.Link}, net.UDPAddrFromAddrPort(to))
	}
	if err != nil {
		return fmt.Errorf("send multicast dns: %w", err)
	}
	return nil
}
