//go:build system && linux

package yard_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// prefix begins the names of all namespaces, so that what a killed run left is
// found by the next one.
const prefix = "yrd"

// tools are what the tests start, and the Debian packages that have them.
var tools = map[string]string{"ip": "iproute2", "bridge": "iproute2", "nft": "nftables"}

// missing says what must be installed, or nothing.
func missing() string {
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

// sweep takes away what runs that were killed have left.
func sweep(ctx context.Context) error {
	out, err := exec.CommandContext(ctx, "ip", "netns", "list").Output()
	if err != nil {
		return fmt.Errorf("list namespaces: %w", err)
	}
	var errs []error
	for line := range strings.Lines(string(out)) {
		name, _, _ := strings.Cut(strings.TrimSpace(line), " ")
		if strings.HasPrefix(name, prefix) {
			errs = append(errs, exec.CommandContext(ctx, "ip", "netns", "del", name).Run())
		}
	}
	return errors.Join(errs...)
}

// host is a network namespace.
type host struct {
	ns   string
	addr netip.Addr // on the school's network, or where it is reached
}

func newHost(t *testing.T, name string, addr string) *host {
	t.Helper()
	h := &host{ns: prefix + name, addr: netip.MustParseAddr(addr)}
	tool(t, "ip", "netns", "add", h.ns)
	t.Cleanup(func() {
		ctx := context.WithoutCancel(t.Context())
		if out, err := exec.CommandContext(ctx, "ip", "netns", "del", h.ns).CombinedOutput(); err != nil {
			t.Errorf("remove namespace %s: %v: %s", h.ns, err, out)
		}
	})
	h.ip(t, "link", "set", "lo", "up")
	return h
}

// tool runs a command of the system, which must work.
func tool(t *testing.T, name string, args ...string) {
	t.Helper()
	if out, err := exec.CommandContext(t.Context(), name, args...).CombinedOutput(); err != nil {
		t.Fatalf("%s %s: %v: %s", name, strings.Join(args, " "), err, out)
	}
}

// ip runs ip in the namespace.
func (h *host) ip(t *testing.T, args ...string) {
	t.Helper()
	tool(t, "ip", append([]string{"-n", h.ns}, args...)...)
}

// sh runs a line of shell in the namespace.
func (h *host) sh(t *testing.T, script string) {
	t.Helper()
	tool(t, "ip", "netns", "exec", h.ns, "sh", "-ec", script)
}

// filter has the namespace's packets go by these rules, in place of those that
// it had. No rules: everything passes.
func (h *host) filter(t *testing.T, rules ...string) {
	t.Helper()
	script := "table inet yard\ndelete table inet yard\n"
	if len(rules) > 0 {
		script += "table inet yard {\n" + strings.Join(rules, "\n") + "\n}\n"
	}
	cmd := exec.CommandContext(t.Context(), "ip", "netns", "exec", h.ns, "nft", "-f", "-")
	cmd.Stdin = strings.NewReader(script)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("nft in %s: %v: %s\n%s", h.ns, err, out, script)
	}
}

// drop is a chain for filter that drops what comes in and goes out and fits.
func drop(match string) string {
	return "chain in { type filter hook input priority 0; " + match + " drop; }\n" +
		"chain out { type filter hook output priority 0; " + match + " drop; }"
}

// inside calls fn in the namespace. What fn opens stays there; fn must not
// start goroutines that open more.
func inside[T any](ns string, fn func() (T, error)) (got T, err error) {
	runtime.LockOSThread()
	back, err := os.Open("/proc/thread-self/ns/net")
	if err != nil {
		runtime.UnlockOSThread()
		return got, err
	}
	defer back.Close()
	there, err := os.Open("/run/netns/" + ns)
	if err != nil {
		runtime.UnlockOSThread()
		return got, err
	}
	defer there.Close()
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

// dial connects from the namespace. It takes addresses, no names.
func (h *host) dial(ctx context.Context, d net.Dialer, network, address string) (net.Conn, error) {
	return inside(h.ns, func() (net.Conn, error) { return d.DialContext(ctx, network, address) })
}

// listen opens a port in the namespace.
func (h *host) listen(ctx context.Context, address string) (net.Listener, error) {
	return inside(h.ns, func() (net.Listener, error) { return new(net.ListenConfig).Listen(ctx, "tcp4", address) })
}
