//go:build unix && !linux

package mdns

import (
	"errors"
	"fmt"
	"syscall"

	"golang.org/x/sys/unix"
)

// share lets others on this machine have the port too.
func share(_, _ string, raw syscall.RawConn) error {
	var set error
	err := raw.Control(func(fd uintptr) {
		s := int(fd) //nolint:gosec // a descriptor is small
		set = errors.Join(
			unix.SetsockoptInt(s, unix.SOL_SOCKET, unix.SO_REUSEADDR, 1),
			unix.SetsockoptInt(s, unix.SOL_SOCKET, unix.SO_REUSEPORT, 1),
		)
	})
	if err := errors.Join(err, set); err != nil {
		return fmt.Errorf("share the port: %w", err)
	}
	return nil
}
