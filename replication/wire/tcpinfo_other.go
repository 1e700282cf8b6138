//go:build !linux

package wire

import (
	"net"
	"time"
)

// gaugeOf is known on Linux only.
func gaugeOf(net.Conn) (gauge, bool) { return gauge{}, false }

// shortestTrip is known on Linux only.
func shortestTrip(net.Conn) (time.Duration, bool) { return 0, false }

// quietOf is known on Linux only.
func quietOf(net.Conn) (quiet time.Duration, owed, ok bool) { return 0, false, false }
