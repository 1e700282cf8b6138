//go:build linux

package ministry

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// socket is a socket of a process, by its own port.
type socket struct {
	network string // tcp or udp
	port    uint16
}

// socketsOf is what a process has open towards the network. It asks the sockets
// themselves: the kernel's tables in /proc/net take a second to read when tests
// beside this one have left tens of thousands of closed connections there.
func socketsOf(pid int) map[socket]bool {
	found := map[socket]bool{}
	process, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		return found // it has ended
	}
	defer unix.Close(process) //nolint:errcheck // it was only looked at
	files, err := filepath.Glob("/proc/" + strconv.Itoa(pid) + "/fd/*")
	if err != nil {
		return found
	}
	for _, file := range files {
		to, err := os.Readlink(file)
		if err != nil || !strings.HasPrefix(to, "socket:") {
			continue
		}
		number, err := strconv.Atoi(filepath.Base(file))
		if err != nil {
			continue
		}
		if s, ok := socketAt(process, number); ok {
			found[s] = true
		}
	}
	return found
}

// socketAt looks at one open file of a process.
func socketAt(process, number int) (socket, bool) {
	fd, err := unix.PidfdGetfd(process, number, 0)
	if err != nil {
		return socket{}, false // closed by now
	}
	defer unix.Close(fd) //nolint:errcheck // the process has it still
	kind, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_TYPE)
	if err != nil {
		return socket{}, false
	}
	network := map[int]string{unix.SOCK_STREAM: "tcp", unix.SOCK_DGRAM: "udp"}[kind]
	address, err := unix.Getsockname(fd)
	if err != nil {
		return socket{}, false
	}
	switch a := address.(type) {
	case *unix.SockaddrInet4:
		return socket{network, uint16(a.Port)}, true
	case *unix.SockaddrInet6:
		return socket{network, uint16(a.Port)}, true
	}
	return socket{}, false
}
