//go:build system && linux

package yard_test

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"preau/node/whole/netns"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// load is what a network carries, in frames of Ethernet.
type load struct{ bytes, frames int64 }

func (l load) plus(m load) load { return load{l.bytes + m.bytes, l.frames + m.frames} }

// over is what is told of a load.
func (l load) over(d time.Duration) string {
	return fmt.Sprintf("%.0f bytes/s in %.2f packets/s", float64(l.bytes)/d.Seconds(), float64(l.frames)/d.Seconds())
}

// tap keeps what a host sends and hears on eth0, in the kernel until it is asked.
type tap struct{ fd int }

// tapRoom is enough for a minute of boxes that have nothing to do.
const tapRoom = 16 << 20

// listenIn taps a host's eth0.
func listenIn(t *testing.T, h *host) *tap {
	t.Helper()
	fd, err := netns.Inside(h.NS, func() (int, error) {
		eth0, err := net.InterfaceByName("eth0")
		if err != nil {
			return 0, err
		}
		all := binary.NativeEndian.Uint16([]byte{unix.ETH_P_ALL >> 8, unix.ETH_P_ALL & 0xff})
		fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, int(all))
		if err != nil {
			return 0, err
		}
		err = errors.Join(
			unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, tapRoom),
			unix.Bind(fd, &unix.SockaddrLinklayer{Protocol: all, Ifindex: eth0.Index}),
		)
		if err != nil {
			return 0, errors.Join(err, unix.Close(fd))
		}
		return fd, nil
	})
	if err != nil {
		t.Fatalf("tap eth0 of %s: %v", h.NS, err)
	}
	t.Cleanup(func() {
		if err := unix.Close(fd); err != nil {
			t.Error(err)
		}
	})
	return &tap{fd}
}

// elsewhere is what has nothing to do with neighbours.
const elsewhere = "all else"

// heard is what was carried since the tap was made, by what it was for.
func (p *tap) heard(t *testing.T) map[string]load {
	t.Helper()
	out := map[string]load{}
	buf := make([]byte, 1<<16)
	for {
		n, _, err := unix.Recvfrom(p.fd, buf, 0)
		if errors.Is(err, unix.EAGAIN) {
			break
		}
		if err != nil {
			t.Fatalf("read the tap: %v", err)
		}
		what := purpose(buf[:n])
		out[what] = out[what].plus(load{int64(n), 1})
	}
	lost, err := unix.GetsockoptTpacketStats(p.fd, unix.SOL_PACKET, unix.PACKET_STATISTICS)
	if err != nil || lost.Drops > 0 {
		t.Errorf("the tap missed packets: %+v, %v", lost, err)
	}
	return out
}

// purpose tells by its ports what a frame is for.
func purpose(frame []byte) string {
	if len(frame) < 14+20 {
		return elsewhere
	}
	of, packet := binary.BigEndian.Uint16(frame[12:]), frame[14:]
	var protocol byte
	switch of {
	case unix.ETH_P_IP:
		protocol, packet = packet[9], packet[min(len(packet), int(packet[0]&15)*4):]
	case unix.ETH_P_IPV6:
		protocol, packet = packet[6], packet[min(len(packet), 40):]
	}
	if len(packet) < 4 {
		return elsewhere
	}
	for _, port := range []uint16{binary.BigEndian.Uint16(packet), binary.BigEndian.Uint16(packet[2:])} {
		switch {
		case protocol == unix.IPPROTO_UDP && port == 5353:
			return "multicast DNS"
		case protocol == unix.IPPROTO_UDP && port == gossipPort:
			return "gossip over UDP"
		case protocol == unix.IPPROTO_TCP && port == gossipPort:
			return "gossip over TCP"
		case protocol == unix.IPPROTO_TCP && port == nearPort:
			return "connections to neighbours"
		}
	}
	return elsewhere
}
