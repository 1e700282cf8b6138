//go:build linux

package hosttest

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// AnsibleTools are what Playbooks need, for Need and Missing.
var AnsibleTools = []string{"ansible-playbook=ansible", "ssh=openssh-client", "ssh-keygen=openssh-client"}

// Playbooks are a copy of the folder ansible, from which an IT officer drives hosts.
type Playbooks struct {
	Dir string   // the copy
	Env []string // of what is typed in it
}

// NewPlaybooks makes the copy. The Vault is opened by that password.
func NewPlaybooks(t *testing.T, vault string) *Playbooks {
	t.Helper()
	Need(t, AnsibleTools...)
	from := must(t)(sources(t.Context()))
	root := t.TempDir()
	p := &Playbooks{Dir: filepath.Join(root, "ansible")}
	Do(t, "", nil, "cp", "-r", filepath.Join(from, "ansible"), p.Dir)
	// The roles find what they copy beside this folder.
	if err := os.MkdirAll(filepath.Join(root, "images"), 0o755); err != nil {
		t.Fatal(err)
	}
	Do(t, "", nil, "cp", "-r", filepath.Join(from, "images/monitoring"), filepath.Join(root, "images/monitoring"))
	// What whoever types the commands has set for themselves: where Ansible finds the
	// Vault's password, which is in no file of the project.
	password := filepath.Join(root, "vault-password")
	if err := os.WriteFile(password, []byte("#!/bin/sh\necho '"+vault+"'\n"), 0o700); err != nil {
		t.Fatal(err)
	}
	p.Env = append(os.Environ(), "ANSIBLE_CONFIG="+filepath.Join(p.Dir, "ansible.cfg"), "ANSIBLE_NOCOLOR=1",
		"ANSIBLE_LOCALHOST_WARNING=false", "ANSIBLE_VAULT_PASSWORD_FILE="+password,
		"ANSIBLE_SSH_CONTROL_PATH_DIR="+filepath.Join(root, "cp"))
	return p
}

// Write writes files of an inventory, by their names in the copy.
func (p *Playbooks) Write(t *testing.T, files map[string]string) {
	t.Helper()
	for name, text := range files {
		name = filepath.Join(p.Dir, name)
		if err := os.MkdirAll(filepath.Dir(name), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

// Run types a line of shell in the copy.
func (p *Playbooks) Run(ctx context.Context, line string) (string, error) {
	c := exec.CommandContext(ctx, "sh", "-c", line)
	c.Dir, c.Env = p.Dir, p.Env
	var out bytes.Buffer
	c.Stdout, c.Stderr = &out, &out
	if err := c.Run(); err != nil {
		return out.String(), fmt.Errorf("%s: %w\n%s", line, err, out.String())
	}
	return out.String(), nil
}

// Connection is what an inventory says of the way to hosts that let in who has the
// key: variables of all, indented so.
func Connection(key, indent string) string {
	return fmt.Sprintf("%[1]sansible_user: root\n%[1]sansible_ssh_private_key_file: %[2]s\n%[1]sansible_ssh_common_args: %[3]s\n", indent, key, strings.Join(SSH(), " "))
}

// recap is what Ansible counts for each host at the end.
var recap = regexp.MustCompile(`(?m)^(\S+) +: ok=(\d+) +changed=(\d+) +unreachable=(\d+) +failed=(\d+)`)

// Recap are the hosts that a playbook has been at, and those of them that it has
// changed.
func Recap(out string) (hosts, changed []string) {
	for _, m := range recap.FindAllStringSubmatch(out, -1) {
		hosts = append(hosts, m[1])
		if m[3] != "0" {
			changed = append(changed, m[1])
		}
	}
	slices.Sort(hosts)
	return hosts, changed
}
