package wire

import (
	"net"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// infoOf asks the kernel about a TCP connection.
func infoOf(conn net.Conn) (*unix.TCPInfo, bool) {
	tcp, ok := conn.(syscall.Conn)
	if !ok {
		return nil, false
	}
	raw, err := tcp.SyscallConn()
	if err != nil {
		return nil, false
	}
	var info *unix.TCPInfo
	var asked error
	if err := raw.Control(func(fd uintptr) {
		info, asked = unix.GetsockoptTCPInfo(int(fd), unix.IPPROTO_TCP, unix.TCP_INFO) //nolint:gosec // a descriptor is small
	}); err != nil || asked != nil {
		return nil, false
	}
	return info, true
}

// gaugeOf is what the kernel knows of a TCP connection's path.
func gaugeOf(conn net.Conn) (gauge, bool) {
	info, ok := infoOf(conn)
	if !ok {
		return gauge{}, false
	}
	return gauge{
		rtt:  time.Duration(info.Rtt) * time.Microsecond,
		lost: uint64(info.Total_retrans), sent: uint64(info.Segs_out),
	}, true
}

// shortestTrip is the shortest round trip of a TCP connection so far.
func shortestTrip(conn net.Conn) (time.Duration, bool) {
	info, ok := infoOf(conn)
	if !ok || info.Min_rtt == 0 {
		return 0, false
	}
	return time.Duration(info.Min_rtt) * time.Microsecond, true
}

// quietOf is for how long a TCP connection has brought nothing, not even an
// acknowledgement, and whether one is owed.
func quietOf(conn net.Conn) (quiet time.Duration, owed, ok bool) {
	info, ok := infoOf(conn)
	if !ok {
		return 0, false, false
	}
	return time.Duration(min(info.Last_ack_recv, info.Last_data_recv)) * time.Millisecond, info.Unacked > 0, true
}
