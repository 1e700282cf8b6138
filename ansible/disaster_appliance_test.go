//go:build appliance && linux

package ansible_test

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"preau/images/hosttest"
)

// status is what the region says of itself, asked at one server.
func (s *story) status(t *testing.T, server string) (st struct {
	Leader  string
	Quorum  bool
	Servers []struct {
		Name, State string
		Voter       bool
	}
}, err error,
) {
	t.Helper()
	c := s.net.Command(t.Context(), s.program, "status", "--json", "--timeout=10s", "--as="+s.operator, "--region="+server+":4433")
	out, err := c.Output() // 1 is a region that works while something is wrong
	if len(out) == 0 {
		return st, fmt.Errorf("preau status says nothing: %w", err)
	}
	if err := json.Unmarshal(out, &st); err != nil {
		return st, fmt.Errorf("preau status says %s: %w", out, err)
	}
	return st, nil
}

// decides has the region take one more decision, and looks whether it has those that
// were taken while it was upgraded.
func (s *story) decides(t *testing.T, server string) {
	t.Helper()
	ask := func(args ...string) []byte {
		t.Helper()
		out, err := s.net.Command(t.Context(), s.program, append(args, "--json", "--timeout=30s", "--as="+s.operator, "--region="+server+":4433")...).Output()
		if err != nil {
			t.Fatalf("preau %s: %v\n%s", strings.Join(args, " "), err, out)
		}
		return out
	}
	ask("region", "policy", "--rate=1MB")
	var policies []json.RawMessage
	if err := json.Unmarshal(ask("list", "policies"), &policies); err != nil {
		t.Fatal(err)
	}
	if len(policies) <= s.kept {
		t.Errorf("%d decisions are left of %d and one", len(policies), s.kept)
	}
}

// save makes a backup: the region goes on meanwhile, and nobody without the
// passphrase reads it.
func (s *story) save(t *testing.T, line string) {
	t.Helper()
	s.must(t, line)
	found, err := filepath.Glob(filepath.Join(s.work, "my-region/backups/*.tar.gpg"))
	if err != nil || len(found) != 1 {
		t.Fatalf("the backups are %v, %v", found, err)
	}
	s.backup = found[0]
	info, err := os.Stat(s.backup)
	if err != nil {
		t.Fatal(err)
	}
	if info.Size() < 1000 {
		t.Errorf("the backup has %d bytes", info.Size())
	}
	for name, h := range s.hosts {
		if left := h.Must(t, "sh", "-c", "ls /var/lib | grep gpg || true"); left != "" {
			t.Errorf("%s keeps %s", name, left)
		}
	}
}

// recoverQuorum loses two servers of three: one for good, one whose program has died.
// The README's line is said to a region that decides first, and by nobody.
func (s *story) recoverQuorum(t *testing.T, line string) {
	t.Helper()
	if out, err := s.sh(t, line); err == nil || !strings.Contains(out, "has a leader and decides") {
		t.Fatalf("a region that decides is made one of a single server: %v\n%s", err, out)
	}
	s.hosts["region2"].Cut()
	s.hosts["region3"].Must(t, "systemctl", "stop", "preau-region")
	hosttest.Within(t, time.Minute, func() error {
		out, err := s.hosts["region1"].Run(t, "curl", "-s", "-o", "/dev/null", "-w", "%{http_code}", "--max-time", "5", "http://127.0.0.1:9191/readyz")
		if err != nil || out == "200" {
			return fmt.Errorf("one server of three still says %s: %w", out, err)
		}
		return nil
	})
	// Nobody is there to say yes.
	if out, err := s.sh(t, line+" </dev/null"); err == nil || !strings.Contains(out, "nothing was done") {
		t.Fatalf("it is done though nobody said yes: %v\n%s", err, out)
	}
	out, err := s.typed(t, line, "Type the server's name to go on", "region1")
	if err != nil {
		t.Fatalf("%s: %v\n%s", line, err, out)
	}
	for _, warning := range []string{"WARNING", "is lost for good", "ATTENTION", "est perdu"} {
		if !strings.Contains(out, warning) {
			t.Errorf("the warning does not say %q:\n%s", warning, out)
		}
	}
	hosttest.Within(t, time.Minute, func() error {
		st, err := s.status(t, region1)
		if err != nil {
			return err
		}
		if !st.Quorum || len(st.Servers) != 2 {
			return fmt.Errorf("the region is %+v", st)
		}
		for _, server := range st.Servers {
			if server.State == "unreachable" {
				return fmt.Errorf("the region is %+v", st)
			}
		}
		return nil
	})
	s.decides(t, region1)
	s.connected(t, "hugo-1", region1)
}

// restore loses every server, and goes on from the backup on new hardware under the
// name and the address of the server that it is of.
func (s *story) restore(t *testing.T, line string) {
	t.Helper()
	server, _, _ := strings.Cut(filepath.Base(s.backup), "-")
	line = strings.NewReplacer("region3-DATE", strings.TrimSuffix(filepath.Base(s.backup), ".tar.gpg"), "restore_to=region3", "restore_to="+server).Replace(line)
	address := s.hosts[server].Address
	for _, name := range []string{"region1", "region2", "region3"} {
		s.hosts[name].Cut()
		s.hosts[name].Unplug(t)
	}
	s.hosts[server] = s.net.Boot(t, server, address)
	s.hosts[server].Await(t)
	if out, err := s.sh(t, line+" </dev/null"); err == nil || !strings.Contains(out, "Nothing was done") {
		t.Fatalf("it is done though nobody said yes: %v\n%s", err, out)
	}
	out, err := s.typed(t, line, "Type the host's name to go on", server)
	if err != nil {
		t.Fatalf("%s: %v\n%s", line, err, out)
	}
	if !strings.Contains(out, "WARNING") || !strings.Contains(out, "ATTENTION") {
		t.Errorf("nothing warns:\n%s", out)
	}
	hosttest.Within(t, time.Minute, func() error {
		st, err := s.status(t, address)
		if err != nil {
			return err
		}
		if st.Leader != server || len(st.Servers) != 1 {
			return fmt.Errorf("the region is %+v", st)
		}
		return nil
	})
	s.decides(t, address)
	s.connected(t, "hugo-1", address)
	s.serving(t, "hugo-1")

	// A new server in the place of the one that had founded the region founds no second.
	s.hosts["region1"] = s.net.Boot(t, "region1", region1)
	s.hosts["region1"].Await(t)
	if out, err := s.sh(t, "ansible-playbook -i my-region site.yml --limit region1"); err == nil || !strings.Contains(out, server+" belongs to a region already") {
		t.Errorf("a new server founds a second region: %v\n%s", err, out)
	}
}
