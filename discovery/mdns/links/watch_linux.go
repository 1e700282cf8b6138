package links

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Watch calls changed after each change of an interface or an address until ctx
// ends; then it returns nil. Calls may be many: what they bring is one and the
// same, so changed should not do the work itself. An error means that changes
// will not be heard of.
func Watch(ctx context.Context, changed func()) error {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, unix.NETLINK_ROUTE)
	if err != nil {
		return fmt.Errorf("open netlink: %w", err)
	}
	f := os.NewFile(uintptr(fd), "netlink") //nolint:gosec // a descriptor is not negative
	defer func() { _ = f.Close() }()        //nolint:errcheck // it was only read
	groups := &unix.SockaddrNetlink{
		Family: unix.AF_NETLINK,
		Groups: unix.RTMGRP_LINK | unix.RTMGRP_IPV4_IFADDR | unix.RTMGRP_IPV6_IFADDR,
	}
	if err := unix.Bind(fd, groups); err != nil {
		return fmt.Errorf("subscribe to changes of interfaces: %w", err)
	}
	defer context.AfterFunc(ctx, func() { _ = f.Close() })() //nolint:errcheck // it wakes the read below
	changed()                                                // what was before the subscription
	buf := make([]byte, 1<<14)
	for {
		_, err := f.Read(buf)
		switch {
		case ctx.Err() != nil:
			return nil
		case err == nil, errors.Is(err, unix.ENOBUFS): // some were lost: that is news too
			changed()
		default:
			return fmt.Errorf("read changes of interfaces: %w", err)
		}
	}
}

// unready returns the addresses that must not be used: those that are still
// being checked for duplicates, turned out to be one, or run out.
func unready() (map[address]bool, error) {
	const unusable = unix.IFA_F_TENTATIVE | unix.IFA_F_DADFAILED | unix.IFA_F_DEPRECATED
	rib, err := syscall.NetlinkRIB(unix.RTM_GETADDR, unix.AF_INET6)
	if err != nil {
		return nil, fmt.Errorf("list addresses: %w", err)
	}
	messages, err := syscall.ParseNetlinkMessage(rib)
	if err != nil {
		return nil, fmt.Errorf("list addresses: %w", err)
	}
	out := map[address]bool{}
	for i := range messages {
		m := &messages[i]
		if m.Header.Type != unix.RTM_NEWADDR || len(m.Data) < unix.SizeofIfAddrmsg {
			continue
		}
		head := (*unix.IfAddrmsg)(unsafe.Pointer(&m.Data[0])) //nolint:gosec // its size was checked
		if head.Family != unix.AF_INET6 || head.Flags&unusable == 0 {
			continue
		}
		attrs, err := syscall.ParseNetlinkRouteAttr(m)
		if err != nil {
			return nil, fmt.Errorf("list addresses: %w", err)
		}
		for _, a := range attrs {
			if ip, ok := netip.AddrFromSlice(a.Value); ok && a.Attr.Type == unix.IFA_ADDRESS {
				out[address{int(head.Index), ip.Unmap()}] = true
			}
		}
	}
	return out, nil
}
