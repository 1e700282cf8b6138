package beyond

import (
	"errors"
	"fmt"
	"net"
	"strconv"
	"syscall"
)

// Free is addr if it can be listened on over TCP and UDP, or else an address of
// this machine that can.
func Free(addr string) (string, error) {
	_, port, err := net.SplitHostPort(addr)
	if err == nil && port == "0" {
		addr, err = some()
	}
	if err == nil {
		err = both(addr)
	}
	for range 10 { // a port that is free over TCP is seldom taken over UDP
		if err == nil || !errors.Is(err, syscall.EADDRINUSE) {
			break
		}
		if addr, err = some(); err == nil {
			err = both(addr)
		}
	}
	if err != nil {
		return "", fmt.Errorf("find a free port: %w", err)
	}
	return addr, nil
}

func some() (string, error) {
	ln, err := net.Listen("tcp", "127.0.0.1:0") //nolint:noctx // listening does not wait
	if err != nil {
		return "", err
	}
	defer ln.Close()
	return net.JoinHostPort("127.0.0.1", strconv.Itoa(ln.Addr().(*net.TCPAddr).Port)), nil //nolint:errcheck // it listens over TCP
}

func both(addr string) error {
	ln, err := net.Listen("tcp", addr) //nolint:noctx // listening does not wait
	if err != nil {
		return err
	}
	defer ln.Close()
	packets, err := net.ListenPacket("udp", addr) //nolint:noctx // listening does not wait
	if err != nil {
		return err
	}
	return packets.Close()
}
