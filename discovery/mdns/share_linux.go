package mdns

import (
	"errors"
	"fmt"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// share lets others on this machine have the port too, and keeps out what comes
// by links that only they have joined.
func share(network, _ string, raw syscall.RawConn) error {
	var set error
	err := raw.Control(func(fd uintptr) {
		s := int(fd) //nolint:gosec // a descriptor is small
		set = errors.Join(
			unix.SetsockoptInt(s, unix.SOL_SOCKET, unix.SO_REUSEADDR, 1),
			unix.SetsockoptInt(s, unix.SOL_SOCKET, unix.SO_REUSEPORT, 1),
		)
		if strings.HasSuffix(network, "6") {
			// Since Linux 4.20; without it, more comes in that is then ignored.
			_ = unix.SetsockoptInt(s, unix.IPPROTO_IPV6, unix.IPV6_MULTICAST_ALL, 0) //nolint:errcheck // see above
		} else {
			set = errors.Join(set, unix.SetsockoptInt(s, unix.IPPROTO_IP, unix.IP_MULTICAST_ALL, 0))
		}
	})
	if err := errors.Join(err, set); err != nil {
		return fmt.Errorf("share the port: %w", err)
	}
	return nil
}
