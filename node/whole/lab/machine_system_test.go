//go:build system && linux

package lab_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"os/exec"
	"sync"
	"time"

	"preau/images/hosttest"
	"preau/node/whole/netns"
)

// bootWithin is how long a host may take until its service is ready.
const bootWithin = 4 * time.Minute

// machine is a host with one of the country's services. It is a ministry.Machine.
type machine struct {
	host  *hosttest.Host
	unit  string // of the service
	admin string // the service's face for operators
	at    *netns.Host

	mu   sync.Mutex
	plug [2]string // the namespace and the port that it is plugged into
}

// power gives the host's port its light, or takes it: who has lost power sends no word
// of it.
func (m *machine) power(on bool) error {
	state := "down"
	if on {
		state = "up"
	}
	out, err := exec.Command("ip", "-n", m.plug[0], "link", "set", m.plug[1], state).CombinedOutput()
	if err != nil {
		return fmt.Errorf("the port of %s: %w: %s", m.host.Name, err, out)
	}
	return nil
}

// Start switches the host on, and returns once its service is ready.
func (m *machine) Start() error {
	m.mu.Lock()
	defer m.mu.Unlock()
	ctx, cancel := context.WithTimeout(context.Background(), bootWithin)
	defer cancel()
	if err := errors.Join(m.power(true), m.host.On(ctx)); err != nil {
		return err
	}
	client := &http.Client{Timeout: 5 * time.Second, Transport: &http.Transport{
		DisableKeepAlives: true,
		DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
			return m.at.Dial(ctx, net.Dialer{}, network, m.admin)
		},
	}}
	again := time.NewTicker(200 * time.Millisecond)
	defer again.Stop()
	for {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://localhost/healthz", http.NoBody)
		if err != nil {
			return err
		}
		resp, err := client.Do(req)
		if err == nil {
			resp.Body.Close()
			if resp.StatusCode == http.StatusOK {
				return nil
			}
			err = fmt.Errorf("%s", resp.Status)
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%s of %s does not answer: %w: %s", m.unit, m.host.Name, err, m.host.Tail(context.Background(), m.unit))
		case <-again.C:
		}
	}
}

// Stop shuts the host down.
func (m *machine) Stop() error {
	err := m.Over()
	m.mu.Lock()
	defer m.mu.Unlock()
	m.host.Stop()
	return err
}

// Kill takes the host's power away.
func (m *machine) Kill() error {
	err := m.Over()
	m.mu.Lock()
	defer m.mu.Unlock()
	err = errors.Join(err, m.power(false))
	m.host.Cut()
	return err
}

// Over implements ministry.Machine.
func (m *machine) Over() error {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.host.Over()
}

// Tail is the end of the service's journal.
func (m *machine) Tail() string {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.host.Tail(context.Background(), m.unit)
}

// bench is the n-th box's address when it is deployed.
func (s *school) bench(n int) netip.Addr {
	return netip.AddrFrom4([4]byte{10, 250, 0, byte(10*s.net + n)})
}
