package ansible_test

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

func read(t *testing.T, path string) string {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// names are what the first group of re finds, sorted.
func names(text, re string) []string {
	var out []string
	for _, m := range regexp.MustCompile(re).FindAllStringSubmatch(text, -1) {
		out = append(out, m[1])
	}
	slices.Sort(out)
	return out
}

func TestEveryVariableIsExplainedAndHasADefault(t *testing.T) {
	roles, err := filepath.Glob("roles/*")
	if err != nil || len(roles) != 5 {
		t.Fatalf("%d roles, %v", len(roles), err)
	}
	for _, role := range roles {
		prefix := filepath.Base(role) + "_"
		have := names(read(t, role+"/defaults/main.yml"), `(?m)^(\w+):`)
		spec, _, _ := strings.Cut(read(t, role+"/meta/argument_specs.yml"), "\n  gate:")
		told := names(spec, `(?m)^      (\w+):\n        description:`)
		if len(have) == 0 || !slices.Equal(have, told) {
			t.Errorf("%s has defaults for %v and explains %v", role, have, told)
		}
		for _, name := range have {
			if !strings.HasPrefix(name, prefix) {
				t.Errorf("%s: %s could be another role's", role, name)
			}
		}
	}
}

func TestTheReadmeNamesEveryPlaybookAndNoOther(t *testing.T) {
	text := read(t, "README.md")
	there, err := filepath.Glob("*.yml")
	if err != nil {
		t.Fatal(err)
	}
	told := names(text, `\b([a-z-]+\.yml)\b`)
	for _, name := range there {
		if !slices.Contains(told, name) {
			t.Errorf("the README says nothing of %s", name)
		}
	}
	for _, name := range told {
		if !slices.Contains(there, name) && !slices.Contains([]string{"hosts.yml", "main.yml", "vault.yml", "specs.yml"}, name) {
			t.Errorf("the README speaks of %s, which is not there", name)
		}
	}
}

// TestWhatMakesOrTakesASecretIsNotLogged: an invitation, a key, a passphrase.
func TestWhatMakesOrTakesASecretIsNotLogged(t *testing.T) {
	tasks, err := filepath.Glob("roles/*/tasks/*.yml")
	if err != nil {
		t.Fatal(err)
	}
	playbooks, err := filepath.Glob("*.yml")
	if err != nil {
		t.Fatal(err)
	}
	secret := regexp.MustCompile(`(?m)(^ +stdin:|package_secrets\[item\]|monitoring_key \}\}|content: "\{\{ monitoring_password|src: datasource|PASSPHRASE:)`)
	found := 0
	for _, file := range slices.Concat(tasks, playbooks) {
		for _, task := range regexp.MustCompile(`(?m)^ *- name: [A-Z]`).Split(read(t, file), -1) {
			if !secret.MatchString(task) {
				continue
			}
			found++
			if !strings.Contains(task, "no_log: true") {
				t.Errorf("%s: a task has a secret and may be logged: …%s", file, task)
			}
		}
	}
	if found < 6 {
		t.Errorf("only %d tasks have secrets: does this test still find them?", found)
	}
	if ask := read(t, "roles/region/tasks/ask.yml"); !strings.Contains(ask, "no_log: \"{{ region_ask_secret") {
		t.Error("invitations are logged as they are made")
	}
	asks := 0
	for _, file := range tasks {
		for _, line := range regexp.MustCompile(`region_ask: \[region, token.*\n(.*)\n`).FindAllStringSubmatch(read(t, file), -1) {
			asks++
			if !strings.Contains(line[1], "region_ask_secret: true") {
				t.Errorf("%s: an invitation is logged", file)
			}
		}
	}
	if asks != 3 {
		t.Errorf("%d roles ask for invitations, not 3", asks)
	}
}
