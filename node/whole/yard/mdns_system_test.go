//go:build system && linux

package yard_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"preau/node/whole/netns"
	"time"

	"golang.org/x/net/dns/dnsmessage"
)

const mdnsGroup = "224.0.0.251:5353"

// resolve asks the school's network for a name in .local, once, as a device
// does that keeps no records (RFC 6762 §5.1), and gives the addresses that are
// answered within wait.
func (y *yard) resolve(ctx context.Context, name string, wait time.Duration) ([]netip.Addr, error) {
	question, err := mdnsName(name)
	if err != nil {
		return nil, err
	}
	m := dnsmessage.Message{
		Header:    dnsmessage.Header{ID: 1},
		Questions: []dnsmessage.Question{{Name: question, Type: dnsmessage.TypeA, Class: dnsmessage.ClassINET}},
	}
	raw, err := m.Pack()
	if err != nil {
		return nil, err
	}
	conn, err := y.datagrams(ctx)
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	if _, err := conn.WriteTo(raw, net.UDPAddrFromAddrPort(netip.MustParseAddrPort(mdnsGroup))); err != nil {
		return nil, err
	}
	if err := conn.SetReadDeadline(time.Now().Add(wait)); err != nil {
		return nil, err
	}
	var found []netip.Addr
	buf := make([]byte, 9000)
	for {
		n, _, err := conn.ReadFrom(buf)
		var timeout net.Error
		if errors.As(err, &timeout) && timeout.Timeout() {
			if len(found) == 0 {
				return nil, fmt.Errorf("nobody is called %s", name)
			}
			return found, nil
		}
		if err != nil {
			return found, err
		}
		var answer dnsmessage.Message
		if answer.Unpack(buf[:n]) != nil {
			continue // not for us
		}
		for _, r := range answer.Answers {
			if a, ok := r.Body.(*dnsmessage.AResource); ok && r.Header.Name == question {
				found = append(found, netip.AddrFrom4(a.A))
			}
		}
	}
}

func mdnsName(name string) (dnsmessage.Name, error) { return dnsmessage.NewName(name + ".local.") }

// datagrams is a socket of a device.
func (y *yard) datagrams(ctx context.Context) (net.PacketConn, error) {
	return netns.Inside(y.rooms.NS, func() (net.PacketConn, error) {
		return new(net.ListenConfig).ListenPacket(ctx, "udp4", "10.71.1.1:0")
	})
}

// lie is what a hostile device tells everybody: that it is the name, and that
// it has services beyond counting.
func lie(name, service string, n int) ([]byte, error) {
	mine, err := mdnsName(name)
	if err != nil {
		return nil, err
	}
	kind, err := dnsmessage.NewName(service)
	if err != nil {
		return nil, err
	}
	instance, err := dnsmessage.NewName(fmt.Sprintf("liar-%d.%s", n, service))
	if err != nil {
		return nil, err
	}
	head := func(name dnsmessage.Name, of dnsmessage.Type, flush dnsmessage.Class) dnsmessage.ResourceHeader {
		return dnsmessage.ResourceHeader{Name: name, Type: of, Class: dnsmessage.ClassINET | flush, TTL: 120}
	}
	const flush = 0x8000 // RFC 6762 §10.2
	m := dnsmessage.Message{
		Header: dnsmessage.Header{Response: true, Authoritative: true},
		Answers: []dnsmessage.Resource{
			{Header: head(mine, dnsmessage.TypeA, flush), Body: &dnsmessage.AResource{A: [4]byte{10, 71, 1, 66}}},
			{Header: head(kind, dnsmessage.TypePTR, 0), Body: &dnsmessage.PTRResource{PTR: instance}},
			{Header: head(instance, dnsmessage.TypeSRV, flush), Body: &dnsmessage.SRVResource{Port: 7946, Target: mine}},
			{Header: head(instance, dnsmessage.TypeTXT, flush), Body: &dnsmessage.TXTResource{TXT: []string{"id=box-1", "school=0690001A"}}},
		},
	}
	return m.Pack()
}
