//go:build appliance && linux

package ansible_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"
)

// packages are a folder with versions 1.0.0 and 2.0.0.
func packages(t *testing.T) string {
	t.Helper()
	if dir := os.Getenv("PREAU_TEST_PACKAGES"); dir != "" {
		return dir
	}
	dir := t.TempDir()
	for _, version := range []string{"v1.0.0", "v2.0.0"} {
		do(t, "env", "SOURCE_DATE_EPOCH=1763890000", "go", "run", "../images/pack", "deb", "-version", version, "-arch", "amd64", "-compression", "gzip", "-out", dir)
	}
	return dir
}

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

// recap is what Ansible counts for each host at the end.
var recap = regexp.MustCompile(`(?m)^(\S+) +: ok=(\d+) +changed=(\d+) +unreachable=(\d+) +failed=(\d+)`)

const inventory = `---
all:
  vars:
    ansible_user: root
    ansible_ssh_private_key_file: %[1]s
    ansible_ssh_common_args: %[2]s
    package_folder: %[3]s
    package_file: "{{ package_folder }}/preau_{{ package_version if package_version != '' else '1.0.0' }}_amd64.deb"
    backup_passphrase: a long passphrase of the test
  children:
    region:
      vars: {region_name: Académie de Lyon}
      hosts:
        region1: {ansible_host: 10.99.0.11}
        region2: {ansible_host: 10.99.0.12}
        region3: {ansible_host: 10.99.0.13}
    box:
      vars: {box_settings: {budget: 128MiB}}
      hosts:
        hugo-1: {ansible_host: 10.99.0.21, box_school: 0690001A}
        zola-1: {ansible_host: 10.99.0.22, box_school: 0690002B}
`

// TestTheReadmesRegionFromNothing types what the README says, on hosts that have
// nothing of ours.
func TestTheReadmesRegionFromNothing(t *testing.T) {
	from := packages(t)
	n := newNetwork(t)
	hosts := map[string]string{"region1": "10.99.0.11", "region2": "10.99.0.12", "region3": "10.99.0.13", "hugo-1": "10.99.0.21", "zola-1": "10.99.0.22"}
	for name, address := range hosts {
		n.boot(t, name, address)
	}
	for _, address := range hosts {
		n.await(t, address)
	}
	work := filepath.Join(t.TempDir(), "ansible")
	do(t, "cp", "-r", ".", work)

	sh := func(line string) (string, error) {
		t.Helper()
		began := time.Now()
		c := exec.CommandContext(t.Context(), "ip", "netns", "exec", n.space, "sh", "-c", line)
		c.Dir = work
		c.Env = append(os.Environ(), "ANSIBLE_CONFIG="+filepath.Join(work, "ansible.cfg"), "ANSIBLE_NOCOLOR=1", "ANSIBLE_LOCALHOST_WARNING=false")
		out, err := c.CombinedOutput()
		t.Logf("%s: %v", line, time.Since(began).Round(100*time.Millisecond))
		return string(out), err
	}
	must := func(line string) string {
		t.Helper()
		out, err := sh(line)
		if err != nil {
			t.Fatalf("%s: %v\n%s", line, err, out)
		}
		return out
	}
	deployed := false
	after := map[string]func(string){
		"cp": func(string) {
			text := fmt.Sprintf(inventory, n.key, strings.Join(n.options(), " "), from)
			if err := os.WriteFile(filepath.Join(work, "my-region/hosts.yml"), []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
			if err := os.RemoveAll(filepath.Join(work, "my-region/group_vars")); err != nil {
				t.Fatal(err)
			}
		},
		"site.yml --check": func(out string) {
			if here, err := n.on(t, hosts["hugo-1"], "test -e /usr/bin/preau"); err == nil {
				t.Errorf("a dry run has installed the program %s", here)
			}
			if len(recap.FindAllString(out, -1)) != len(hosts) {
				t.Errorf("a dry run did not look at all hosts:\n%s", out)
			}
		},
		"site.yml": func(out string) {
			if !deployed {
				deployed = true
				n.serving(t, hosts["hugo-1"], hosts["zola-1"])
				if strings.Contains(out, "PREAU1-") {
					t.Error("an invitation is in what Ansible prints")
				}
				return
			}
			for _, m := range recap.FindAllStringSubmatch(out, -1) {
				if m[3] != "0" {
					t.Errorf("a second run has changed %s:\n%s", m[1], out)
				}
			}
		},
	}
	for _, line := range commands(t) {
		words := strings.Fields(line)
		what := words[0]
		for i, w := range words {
			if strings.HasSuffix(w, ".yml") && what == "ansible-playbook" {
				what = w
				if i+1 < len(words) && words[i+1] == "--check" {
					what += " --check"
				}
			}
		}
		var stop func() written
		if what == "upgrade.yml" || what == "rollback.yml" {
			operator := filepath.Join(t.TempDir(), "operator")
			n.fetch(t, hosts["region1"], "/var/lib/preau-region/operator", operator)
			stop = n.writing(t, operator)
		}
		out := must(line)
		if stop != nil {
			w := stop()
			t.Logf("meanwhile %d writes in %.0f s, %d failed, the slowest took %.1f s", w.Sent, w.Seconds, len(w.Failures), w.Slowest)
			if len(w.Failures) > 0 || w.Missing > 0 || w.Sent == 0 {
				t.Errorf("of %d writes %d failed, and %d that were acknowledged are not there: %.500q", w.Sent, len(w.Failures), w.Missing, w.Failures)
			}
			want := regexp.MustCompile(`package_version=(\S+)`).FindStringSubmatch(line)[1]
			for name, address := range hosts {
				if got, err := n.on(t, address, "preau version"); err != nil || !strings.HasPrefix(got, "preau v"+want+" ") {
					t.Errorf("%s has %s, want %s: %v", name, got, want, err)
				}
			}
			n.serving(t, hosts["hugo-1"], hosts["zola-1"])
		}
		if fn := after[what]; fn != nil {
			fn(out)
		}
	}
}

// serving has boxes say that they serve, and belong to the region.
func (n *network) serving(t *testing.T, boxes ...string) {
	t.Helper()
	for _, address := range boxes {
		if out, err := n.on(t, address, "curl -sf --max-time 20 http://127.0.0.1:9190/readyz && curl -sfL --max-time 20 -o /dev/null http://127.0.0.1/r/"); err != nil {
			t.Errorf("the box at %s does not serve: %v\n%s", address, err, out)
		}
	}
}

// fetch copies a folder of a host.
func (n *network) fetch(t *testing.T, address, from, to string) {
	t.Helper()
	args := append([]string{"netns", "exec", n.space, "scp", "-q", "-r", "-i", n.key}, n.options()...)
	do(t, "ip", append(args, "root@"+address+":"+from, to)...)
}
