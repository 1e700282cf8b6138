package wire

import (
	"errors"
	"syscall"

	"golang.org/x/sys/unix"
)

// unsentMost is how much of what is written may wait in the kernel: enough to
// keep a line busy, and little to throw away when it is cut.
const unsentMost = 256 << 10

// tuneTCP asks for a congestion control. A kernel without it keeps what it has,
// and so does one without the other option.
func tuneTCP(congestion string) func(_, _ string, raw syscall.RawConn) error {
	return func(_, _ string, raw syscall.RawConn) error {
		return raw.Control(func(fd uintptr) {
			s := int(fd) //nolint:gosec // a descriptor is small
			err := unix.SetsockoptInt(s, unix.IPPROTO_TCP, unix.TCP_NOTSENT_LOWAT, unsentMost)
			if congestion != "" {
				err = errors.Join(err, unix.SetsockoptString(s, unix.IPPROTO_TCP, unix.TCP_CONGESTION, congestion))
			}
			if err != nil {
				return // see above
			}
		})
	}
}
