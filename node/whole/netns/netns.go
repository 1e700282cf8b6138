//go:build linux

// Package netns makes networks out of network namespaces, for tests: hosts,
// what they may send to whom, and slow lines between them. It needs root. It
// starts nothing in them and knows nothing of what runs there; what a test has
// made goes when the test ends, and Sweep takes away what a killed one has left.
package netns

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// tools are what is run, and the Debian packages that have them.
var tools = map[string]string{"ip": "iproute2", "bridge": "iproute2", "tc": "iproute2", "nft": "nftables"}

// Missing says what must be installed, or nothing.
func Missing() string {
	if os.Geteuid() != 0 {
		return "namespaces need root"
	}
	for tool, pack := range tools {
		if _, err := exec.LookPath(tool); err != nil {
			return fmt.Sprintf("%s is missing: apt-get install %s (PATH=%s)", tool, pack, os.Getenv("PATH"))
		}
	}
	if _, err := os.Stat("/dev/net/tun"); err != nil {
		return fmt.Sprintf("the slow line needs TUN devices: %v", err)
	}
	return ""
}

// Sweep takes away the namespaces whose names begin so, and ends what still runs in
// them.
func Sweep(ctx context.Context, prefix string) error {
	out, err := exec.CommandContext(ctx, "ip", "netns", "list").Output()
	if err != nil {
		return fmt.Errorf("list namespaces: %w", err)
	}
	var errs []error
	for line := range strings.Lines(string(out)) {
		name, _, _ := strings.Cut(strings.TrimSpace(line), " ")
		if strings.HasPrefix(name, prefix) {
			errs = append(errs, end(ctx, name), exec.CommandContext(ctx, "ip", "netns", "del", name).Run())
		}
	}
	return errors.Join(errs...)
}

// end ends every process in a namespace. None of them is to be there any more.
func end(ctx context.Context, ns string) error {
	out, err := exec.CommandContext(ctx, "ip", "netns", "pids", ns).Output()
	if err != nil {
		return fmt.Errorf("list what runs in %s: %w", ns, err)
	}
	var errs []error
	for field := range strings.FieldsSeq(string(out)) {
		pid, err := strconv.Atoi(field)
		if err == nil && pid != os.Getpid() {
			err = unix.Kill(pid, unix.SIGKILL)
		}
		if err != nil && !errors.Is(err, unix.ESRCH) {
			errs = append(errs, fmt.Errorf("end process %s in %s: %w", field, ns, err))
		}
	}
	return errors.Join(errs...)
}

// Host is a network namespace.
type Host struct {
	NS   string
	Addr netip.Addr // where it is reached
}

// New makes a namespace, which goes with the test.
func New(tb testing.TB, ns, addr string) *Host {
	tb.Helper()
	h := &Host{NS: ns, Addr: netip.MustParseAddr(addr)}
	Tool(tb, "ip", "netns", "add", h.NS)
	tb.Cleanup(func() {
		ctx := context.WithoutCancel(tb.Context())
		if out, err := exec.CommandContext(ctx, "ip", "netns", "del", h.NS).CombinedOutput(); err != nil {
			tb.Errorf("remove namespace %s: %v: %s", h.NS, err, out)
		}
	})
	h.IP(tb, "link", "set", "lo", "up")
	return h
}

// Tool runs a command of the system, which must work.
func Tool(tb testing.TB, name string, args ...string) {
	tb.Helper()
	if out, err := exec.CommandContext(tb.Context(), name, args...).CombinedOutput(); err != nil {
		tb.Fatalf("%s %s: %v: %s", name, strings.Join(args, " "), err, out)
	}
}

// IP runs ip in the namespace.
func (h *Host) IP(tb testing.TB, args ...string) {
	tb.Helper()
	Tool(tb, "ip", append([]string{"-n", h.NS}, args...)...)
}

// Enter is what runs a command in the namespace, to be put before it.
func (h *Host) Enter() []string { return []string{"ip", "netns", "exec", h.NS} }

// Sh runs a line of shell in the namespace.
func (h *Host) Sh(tb testing.TB, script string) {
	tb.Helper()
	Tool(tb, "ip", "netns", "exec", h.NS, "sh", "-ec", script)
}

// Filter has the namespace's packets go by these rules, in place of those that
// it had. No rules: everything passes.
func (h *Host) Filter(tb testing.TB, rules ...string) {
	tb.Helper()
	script := "table inet test\ndelete table inet test\n"
	if len(rules) > 0 {
		script += "table inet test {\n" + strings.Join(rules, "\n") + "\n}\n"
	}
	cmd := exec.CommandContext(tb.Context(), "ip", "netns", "exec", h.NS, "nft", "-f", "-")
	cmd.Stdin = strings.NewReader(script)
	if out, err := cmd.CombinedOutput(); err != nil {
		tb.Fatalf("nft in %s: %v: %s\n%s", h.NS, err, out, script)
	}
}

// Drop is a chain for Filter that drops what comes in and goes out and fits.
func Drop(match string) string {
	return "chain in { type filter hook input priority 0; " + match + " drop; }\n" +
		"chain out { type filter hook output priority 0; " + match + " drop; }"
}

// Masquerade are chains for Filter that make a school's router of a namespace:
// nobody behind the device can begin a connection to who is before it.
func Masquerade(device string) []string {
	return []string{
		`chain nat { type nat hook postrouting priority 100; oifname "` + device + `" masquerade; }`,
		`chain wan { type filter hook forward priority 0; iifname "` + device + `" ct state { established, related } accept; iifname "` + device + `" drop; }`,
	}
}

// Inside calls fn in the namespace. What fn opens stays there; fn must not
// start goroutines that open more.
func Inside[T any](ns string, fn func() (T, error)) (got T, err error) {
	runtime.LockOSThread()
	back, err := os.Open("/proc/thread-self/ns/net")
	if err != nil {
		runtime.UnlockOSThread()
		return got, err
	}
	defer back.Close() //nolint:errcheck // it is only read
	there, err := os.Open("/run/netns/" + ns)
	if err != nil {
		runtime.UnlockOSThread()
		return got, err
	}
	defer there.Close() //nolint:errcheck // it is only read
	if err := unix.Setns(int(there.Fd()), unix.CLONE_NEWNET); err != nil {
		runtime.UnlockOSThread()
		return got, fmt.Errorf("enter %s: %w", ns, err)
	}
	got, err = fn()
	if back := unix.Setns(int(back.Fd()), unix.CLONE_NEWNET); back != nil {
		// The thread stays locked and ends with its goroutine: nobody else may
		// be given one that is elsewhere.
		return got, errors.Join(err, fmt.Errorf("leave %s: %w", ns, back))
	}
	runtime.UnlockOSThread()
	return got, err
}

// Dial connects from the namespace. It takes addresses, no names.
func (h *Host) Dial(ctx context.Context, d net.Dialer, network, address string) (net.Conn, error) {
	return Inside(h.NS, func() (net.Conn, error) { return d.DialContext(ctx, network, address) })
}

// Listen opens a port in the namespace.
func (h *Host) Listen(ctx context.Context, address string) (net.Listener, error) {
	return Inside(h.NS, func() (net.Listener, error) { return new(net.ListenConfig).Listen(ctx, "tcp4", address) })
}
