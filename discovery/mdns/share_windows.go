package mdns

import (
	"fmt"
	"syscall"
)

// share lets others on this machine have the port too.
func share(_, _ string, raw syscall.RawConn) error {
	var set error
	err := raw.Control(func(fd uintptr) {
		set = syscall.SetsockoptInt(syscall.Handle(fd), syscall.SOL_SOCKET, syscall.SO_REUSEADDR, 1)
	})
	if err == nil {
		err = set
	}
	if err != nil {
		return fmt.Errorf("share the port: %w", err)
	}
	return nil
}
