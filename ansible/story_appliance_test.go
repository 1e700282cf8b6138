//go:build appliance && linux

package ansible_test

import (
	"crypto/rand"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"preau/images/hosttest"
)

// commands are what the README has people type, in its order.
func commands(t *testing.T) []string {
	t.Helper()
	text, err := os.ReadFile("README.md")
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for _, block := range regexp.MustCompile("(?s)```sh\n(.*?)```").FindAllStringSubmatch(string(text), -1) {
		for line := range strings.Lines(block[1]) {
			if line = strings.TrimSpace(line); line != "" && !strings.HasPrefix(line, "#") {
				out = append(out, line)
			}
		}
	}
	if len(out) == 0 {
		t.Fatal("the README has no command")
	}
	return out
}

const (
	region1, region2, region3 = "10.99.0.11", "10.99.0.12", "10.99.0.13"
	hugo, zola                = "10.99.0.21", "10.99.0.22"
)

// inventory is what an IT officer writes into the example's file.
const inventory = `---
all:
  vars:
%s  children:
    region:
      vars:
        region_name: Académie de Lyon
        region_settings:
          site: [{name: library, upstream: "http://10.99.0.1:8000", hosts: []}]
      hosts:
        region1: {ansible_host: 10.99.0.11}
        region2: {ansible_host: 10.99.0.12}
        region3: {ansible_host: 10.99.0.13}
    box:
      vars:
        box_settings:
          budget: 256MiB
          site: [{name: library, upstream: "http://10.99.0.1:8000", hosts: []}]
      hosts:
        hugo-1: {ansible_host: 10.99.0.21, box_school: 0690001A}
        zola-1: {ansible_host: 10.99.0.22, box_school: 0690002B}
`

// general is what holds for all of them: the package comes from a repository that the
// region signs.
const general = `---
package_repository: %s
package_key_file: "{{ inventory_dir }}/preau.asc"
package_version: 1.0.0
backup_passphrase: "{{ vault_backup_passphrase }}"
`

// backupPassphrase is in the Vault, and nowhere else.
const backupPassphrase = "a long passphrase of the test"

// story is the README's region, on hosts that have nothing of ours.
type story struct {
	*stage
	packages, repository string
	films                string // what the site has
	program, operator    string // of the machine beside the hosts
	deployed             bool
	backup               string // the file
	kept                 int    // decisions that were acknowledged
}

// TestTheReadmesRegionFromNothing types what the README says, and nothing else. One
// set of hosts goes through all of it: its life is what each step is tried on.
func TestTheReadmesRegionFromNothing(t *testing.T) {
	t.Parallel()
	packages := hosttest.Packages(t)
	s := &story{packages: packages, repository: hosttest.Repository(t, "http://10.99.0.1:8001"), films: films(t)}
	s.stage = newStage(t, map[string]string{"region1": region1, "region2": region2, "region3": region3, "hugo-1": hugo, "zola-1": zola})
	s.net.Serve(t, 8000, s.films)
	s.net.Serve(t, 8001, s.repository)
	// The program of the machine beside the hosts, where operators have it too.
	dir := t.TempDir()
	hosttest.Do(t, "", nil, "dpkg-deb", "-x", filepath.Join(packages, "preau_1.0.0_amd64.deb"), dir)
	s.program, s.operator = filepath.Join(dir, "usr/bin/preau"), filepath.Join(dir, "operator")
	s.env = append(s.env, "PREAU="+s.program, "PREAU_OPERATOR="+s.operator)

	began := time.Now()
	for _, line := range commands(t) {
		s.step(t, line)
	}
	t.Logf("all of it took %v", since(began))
}

// films are what a site has that classes ask for: enough that boxes have new ones to
// ask their region for all the time.
func films(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	for i := range 400 {
		text := make([]byte, 200<<10)
		if _, err := rand.Read(text); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, fmt.Sprintf("%03d.webm", i)), text, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// step types one line of the README, and looks at what it should have done. A line
// that this function does not know fails.
func (s *story) step(t *testing.T, line string) {
	t.Helper()
	switch what := regexp.MustCompile(`[a-z-]+\.(yml|py)( --check)?|^cp|^ansible-vault`).FindString(strings.ReplaceAll(line, "vault.yml", "")); what {
	case "cp":
		s.must(t, line)
		s.fill(t)
	case "ansible-vault":
		s.must(t, line)
		if text, err := os.ReadFile(filepath.Join(s.work, "my-region/group_vars/all/vault.yml")); err != nil || !strings.HasPrefix(string(text), "$ANSIBLE_VAULT;") {
			t.Errorf("the Vault is %.40q, %v", text, err)
		}
	case "site.yml --check":
		out := s.must(t, line)
		if s.hosts["hugo-1"].Has(t, "/usr/bin/preau") {
			t.Error("a dry run has installed the program")
		}
		if looked, _ := hosttest.Recap(out); len(looked) != len(s.hosts) {
			t.Errorf("a dry run did not look at all hosts:\n%s", out)
		}
	case "site.yml":
		s.site(t, line)
	case "enrol.yml":
		nothingNew(t, s.must(t, line))
	case "upgrade.yml", "rollback.yml":
		s.change(t, line)
	case "fleet.py":
		if out := s.must(t, line); !strings.Contains(out, "@school_0690001A:") || !strings.Contains(out, "|--hugo-1") {
			t.Errorf("the fleet has no hugo-1 in its school:\n%s", out)
		}
	case "backup.yml":
		s.save(t, line)
	case "decommission.yml":
		s.takeAway(t, line)
	case "recover-quorum.yml":
		s.recoverQuorum(t, line)
	case "restore.yml":
		s.restore(t, line)
	default:
		t.Errorf("the README has a line that is not tried: %s", line)
	}
	if t.Failed() {
		t.FailNow() // what comes next is tried on what is there now
	}
}

// fill writes the officer's own inventory into the copy of the example.
func (s *story) fill(t *testing.T) {
	t.Helper()
	key, err := os.ReadFile(filepath.Join(s.repository, "preau.asc"))
	if err != nil {
		t.Fatal(err)
	}
	for file, text := range map[string]string{
		"hosts.yml":                fmt.Sprintf(inventory, s.connection()),
		"group_vars/all/main.yml":  fmt.Sprintf(general, "http://10.99.0.1:8001"),
		"group_vars/all/vault.yml": "---\nvault_backup_passphrase: " + backupPassphrase + "\n",
		"preau.asc":                string(key),
	} {
		if err := os.WriteFile(filepath.Join(s.work, "my-region", file), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

// site runs it for the first time, and again.
func (s *story) site(t *testing.T, line string) {
	t.Helper()
	began := time.Now()
	out := s.must(t, line)
	if s.deployed {
		nothingNew(t, out)
		return
	}
	s.deployed = true
	t.Logf("from a bare Debian to serving: %v for %d hosts, the package's download included", since(began), len(s.hosts))
	s.serving(t, "hugo-1", "zola-1")
	// The README has officers keep one.
	s.hosts["region1"].Fetch(t, "/var/lib/preau-region/operator", s.operator)
}

// serving has boxes say that they are ready, and show what they have.
func (s *story) serving(t *testing.T, boxes ...string) {
	t.Helper()
	for _, box := range boxes {
		if out, err := s.hosts[box].Run(t, "sh", "-c", "curl -sf --max-time 20 http://127.0.0.1:9190/readyz && curl -sfL --max-time 20 -o /dev/null http://127.0.0.1/r/"); err != nil {
			t.Errorf("%s does not serve: %v\n%s", box, err, out)
		}
	}
}

// change goes to another version, while an operator decides fifty things a second and
// two classes download.
func (s *story) change(t *testing.T, line string) {
	t.Helper()
	writes := s.meanwhile(t, writeEnv+"="+s.operator)
	reads := s.meanwhile(t, readEnv+"="+s.films+"="+hugo+","+zola)
	s.must(t, line)
	var w written
	writes(&w)
	t.Logf("meanwhile %d writes in %.0f s, %d failed, the slowest took %.1f s", w.Sent, w.Seconds, len(w.Failures), w.Slowest)
	if len(w.Failures) > 0 || w.Missing > 0 || w.Sent == 0 {
		t.Errorf("of %d writes %d failed, and %d that were acknowledged are not there: %.500q", w.Sent, len(w.Failures), w.Missing, w.Failures)
	}
	s.kept = max(s.kept, w.Sent)
	var d downloads
	reads(&d)
	t.Logf("and %d downloads of %d MB, %d failed, %d went on after their own box had restarted, the slowest took %.1f s", d.Whole+len(d.Failures), d.Bytes>>20, len(d.Failures), d.WentOn, d.Slowest)
	if len(d.Failures) > 0 || d.Whole == 0 {
		t.Errorf("of %d downloads %d failed: %.800q", d.Whole+len(d.Failures), len(d.Failures), d.Failures)
	}
	want := regexp.MustCompile(`package_version=(\S+)`).FindStringSubmatch(line)[1]
	for name, h := range s.hosts {
		if got, err := h.Run(t, "preau", "version"); err != nil || !strings.HasPrefix(got, "preau v"+want+" ") {
			t.Errorf("%s has %s, want %s: %v", name, got, want, err)
		}
	}
	s.serving(t, "hugo-1", "zola-1")
}

// box is what the region says of one.
type box struct{ Name, School, State string }

// boxes asks the region, as an operator on the machine beside the hosts.
func (s *story) boxes(t *testing.T, servers ...string) ([]box, error) {
	t.Helper()
	args := []string{"boxes", "--json", "--timeout=20s", "--as=" + s.operator}
	for _, at := range servers {
		args = append(args, "--region="+at+":4433")
	}
	out, err := s.net.Command(t.Context(), s.program, args...).Output()
	if err != nil {
		return nil, fmt.Errorf("preau boxes: %w: %s", err, out)
	}
	var list []box
	if err := json.Unmarshal(out, &list); err != nil {
		return nil, fmt.Errorf("preau boxes says %s: %w", out, err)
	}
	return list, nil
}

// connected waits until a box follows the region.
func (s *story) connected(t *testing.T, name string, servers ...string) {
	t.Helper()
	hosttest.Within(t, 2*time.Minute, func() error {
		list, err := s.boxes(t, servers...)
		if err != nil {
			return err
		}
		i := slices.IndexFunc(list, func(b box) bool { return b.Name == name })
		if i < 0 || list[i].State != "connected" {
			return fmt.Errorf("%s is not connected: %+v", name, list)
		}
		return nil
	})
}

// takeAway takes a box away: it is stopped, and shut out.
func (s *story) takeAway(t *testing.T, line string) {
	t.Helper()
	const box = "zola-1"
	// Once it is not named twice, nothing happens.
	if out, err := s.sh(t, strings.Replace(line, "confirmed="+box, "confirmed=hugo-1", 1)); err == nil {
		t.Errorf("a box is taken away that was named once:\n%s", out)
	}
	s.must(t, line)
	if out, err := s.hosts[box].Run(t, "systemctl", "is-active", "preau-box"); err == nil || strings.TrimSpace(out) != "inactive" {
		t.Errorf("a box that was taken away is %s, %v", out, err)
	}
	if out, err := s.hosts[box].Run(t, "systemctl", "is-enabled", "preau-box"); err == nil {
		t.Errorf("a box that was taken away would start again: %s", out)
	}
	list, err := s.boxes(t)
	if err != nil {
		t.Fatal(err)
	}
	for _, b := range list {
		if want := b.Name == box; want != (b.State == "revoked") {
			t.Errorf("%s is %s", b.Name, b.State)
		}
	}
	if len(list) != 2 {
		t.Errorf("the region has %+v", list)
	}
}
