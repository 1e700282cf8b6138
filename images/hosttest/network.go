//go:build linux

package hosttest

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// Network is a switch that nothing of the machine is plugged into, with hosts on it.
type Network struct {
	// Key is the file with the private key that the hosts let in by ssh, as root.
	Key   string
	space string // the network namespace with the switch
}

// Own is this side's address in a network: that of a command which Network.Command
// makes. Hosts are 10.99.0.2 to 10.99.0.254.
const Own = "10.99.0.1"

// NewKey makes a key for ssh, and returns the file with its private half.
func NewKey(t *testing.T) string {
	t.Helper()
	Need(t, "ssh-keygen=openssh-client")
	key := filepath.Join(t.TempDir(), "key")
	Do(t, "", nil, "ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", key)
	return key
}

// NewNetwork makes a network with nobody on it.
func NewNetwork(t *testing.T) *Network {
	t.Helper()
	Need(t, "ip=iproute2")
	sweepOnce(t)
	n := &Network{space: fmt.Sprintf("%s%d-%d", spaces, os.Getpid(), counted.Add(1)), Key: NewKey(t)}
	namespace(t, n.space)
	for _, args := range []string{"link add br0 type bridge", "addr add " + Own + "/24 dev br0", "link set br0 up"} {
		Do(t, "", nil, "ip", append([]string{"-n", n.space}, strings.Fields(args)...)...)
	}
	return n
}

// Boot starts a host at an address of the network. It is there after Await.
func (n *Network) Boot(t *testing.T, name, address string) *Host {
	t.Helper()
	h := newHost(t, name, address)
	h.letIn(t, n.Key)
	port := fmt.Sprintf("p%d", counted.Add(1)) // a host that comes in another's place has a port of its own
	Do(t, "", nil, "ip", "-n", n.space, "link", "add", port, "type", "veth", "peer", "name", "eth0", "netns", h.space)
	Do(t, "", nil, "ip", "-n", n.space, "link", "set", port, "master", "br0", "up")
	for _, args := range []string{"addr add " + address + "/24 dev eth0", "link set eth0 up"} {
		Do(t, "", nil, "ip", append([]string{"-n", h.space}, strings.Fields(args)...)...)
	}
	// Whoever was at the address before is forgotten, as by what a host says when it comes.
	Do(t, "", nil, "ip", "-n", n.space, "neigh", "flush", "dev", "br0")
	h.Start(t)
	return h
}

// Unplug takes the host out of its network, as when it is carried away.
func (h *Host) Unplug(t *testing.T) {
	t.Helper()
	Do(t, "", nil, "ip", "-n", h.space, "link", "del", "eth0")
}

// Command is a command of this machine that is in the network, at Own.
func (n *Network) Command(ctx context.Context, name string, args ...string) *exec.Cmd {
	return exec.CommandContext(ctx, "ip", append([]string{"netns", "exec", n.space, name}, args...)...)
}

// SSH is what ssh needs to be told about hosts that nobody has met before.
func SSH() []string {
	return []string{"-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null", "-o", "LogLevel=ERROR", "-o", "ConnectTimeout=5"}
}
