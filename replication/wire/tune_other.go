//go:build !linux

package wire

import "syscall"

// tuneTCP has nothing to ask for here.
func tuneTCP(string) func(string, string, syscall.RawConn) error {
	return func(string, string, syscall.RawConn) error { return nil }
}
