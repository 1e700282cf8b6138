//go:build appliance && linux

package ansible_test

import (
	"bytes"
	"io"
	"strings"
	"sync"
	"testing"
	"time"

	"preau/images/hosttest"
)

// stage is a network of booted hosts, and a copy of this folder from which Ansible
// drives them, as an IT officer would from a machine beside them.
type stage struct {
	net   *hosttest.Network
	hosts map[string]*hosttest.Host
	work  string // the copy of this folder
	env   []string
}

// vaultPassword opens the Vault of the tests.
const vaultPassword = "the Vault of the test"

// newStage boots a host at each of the addresses, all at once.
func newStage(t *testing.T, addresses map[string]string) *stage {
	t.Helper()
	began := time.Now()
	books := hosttest.NewPlaybooks(t, vaultPassword)
	s := &stage{net: hosttest.NewNetwork(t), hosts: map[string]*hosttest.Host{}, work: books.Dir, env: books.Env}
	for name, address := range addresses {
		s.hosts[name] = s.net.Boot(t, name, address)
	}
	for _, h := range s.hosts {
		h.Await(t)
	}
	t.Logf("%d hosts are up after %v", len(s.hosts), since(began))
	return s
}

func since(began time.Time) time.Duration { return time.Since(began).Round(100 * time.Millisecond) }

// connection is what an inventory of these hosts says of the way to them.
func (s *stage) connection() string {
	return hosttest.Connection(s.net.Key, "    ")
}

// sh runs a line of shell in the copy of this folder, at this side of the network.
func (s *stage) sh(t *testing.T, line string) (string, error) {
	t.Helper()
	began := time.Now()
	c := s.net.Command(t.Context(), "sh", "-c", line)
	c.Dir, c.Env = s.work, s.env
	out, err := c.CombinedOutput()
	t.Logf("%7v  %s", since(began), line)
	for _, trap := range []string{"Unable to parse", "BEGIN PRIVATE KEY", "PREAU1-", vaultPassword, backupPassphrase} {
		if strings.Contains(string(out), trap) {
			t.Errorf("%s prints %q", line, trap)
		}
	}
	return string(out), err
}

// must is sh for what must succeed.
func (s *stage) must(t *testing.T, line string) string {
	t.Helper()
	out, err := s.sh(t, line)
	if err != nil {
		t.Fatalf("%s: %v\n%s", line, err, out)
	}
	return out
}

// typed runs a line on a terminal, where somebody types an answer once a question is
// asked.
func (s *stage) typed(t *testing.T, line, question, answer string) (string, error) {
	t.Helper()
	began := time.Now()
	c := s.net.Command(t.Context(), "script", "-qefc", line, "/dev/null")
	c.Dir, c.Env = s.work, append(s.env, "TERM=dumb")
	keys, err := c.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	screen := &screen{question: question, asked: make(chan struct{})}
	c.Stdout, c.Stderr = screen, screen
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- c.Wait() }()
	select {
	case err = <-ended: // it never asked
		return screen.String(), err
	case <-screen.asked:
	}
	if _, err := io.WriteString(keys, answer+"\r"); err != nil {
		t.Error(err)
	}
	err = <-ended
	t.Logf("%7v  %s, and %s", since(began), line, answer)
	return screen.String(), err
}

// screen is what a terminal shows.
type screen struct {
	mu       sync.Mutex
	text     bytes.Buffer
	question string
	asked    chan struct{} // closed once the question is there
	closed   bool
}

func (s *screen) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.text.Write(p)
	if !s.closed && strings.Contains(s.text.String(), s.question) {
		s.closed = true
		close(s.asked)
	}
	return len(p), nil
}

func (s *screen) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.text.String()
}

// nothingNew fails if a run has changed something.
func nothingNew(t *testing.T, out string) {
	t.Helper()
	hosts, changed := hosttest.Recap(out)
	if len(hosts) == 0 || len(changed) > 0 {
		t.Errorf("a second run has changed %q of %q:\n%s", changed, hosts, out)
	}
}
