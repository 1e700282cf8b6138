//go:build system

package manual_test

import (
	"bytes"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

func TestMandocFindsNoFault(t *testing.T) {
	mandoc := tool(t, "mandoc", "mandoc")
	page, err := settings.Page("tool", about, []byte(reference))
	if err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string][]byte{"commands": example().Page(about), "settings": page} {
		if out := said(t, text, mandoc, "-T", "lint", "-W", "warning"); out != "" {
			t.Errorf("%s:\n%s", name, out)
		}
	}
}

func TestZshCompletes(t *testing.T) {
	zsh := tool(t, "zsh", "zsh")
	script := filepath.Join(t.TempDir(), "_tool")
	if err := os.WriteFile(script, example().Zsh(), 0o600); err != nil {
		t.Fatal(err)
	}
	// The shell's own part is left out: what is asked of it is printed.
	const stub = `
compdef() { : }
compset() { : }
_describe() { print -l -- "${(@P)@[-1]}" }
_files() { print files "$@" }
_message() { print nothing }
source "$1"; shift
words=("$@"); CURRENT=$#
_tool`
	for line, want := range map[string]string{
		"tool ":                     "many:Many things.|one:Do one thing.",
		"tool many ":                "blue:A blue thing.|red:A red thing’s help.",
		"tool many red ":            "dark|light",
		"tool many blue ":           "files",
		"tool one --data ":          "files -/",
		"tool one --data=":          "files -/",
		"tool one --file ":          "files",
		"tool one --level ":         "high|low",
		"tool one --count ":         "nothing",
		"tool one --data many --":   "--count:.how often|--data:The folder.|--file:A file’s name.|--help:Say how it is used.|--json:As JSON.|--level:How much: /fBlow/fR or high.",
		"tool many --data one red ": "dark|light",
	} {
		out := said(t, nil, zsh, append([]string{"-f", "-c", stub, "zsh", script}, strings.Split(line, " ")...)...)
		list := strings.Split(strings.TrimSpace(out), "\n")
		slices.Sort(list)
		if got := strings.Join(list, "|"); got != want {
			t.Errorf("%q: offered %q, want %q", line, got, want)
		}
	}
}

func TestFishCompletes(t *testing.T) {
	fish := tool(t, "fish", "fish")
	dir := t.TempDir()
	t.Setenv("HOME", dir)
	script := filepath.Join(dir, "tool.fish")
	if err := os.WriteFile(script, example().Fish(), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(filepath.Join(dir, "folder"), 0o700); err != nil {
		t.Fatal(err)
	}
	for line, want := range map[string]string{
		"tool ":                     "many one",
		"tool many ":                "blue red",
		"tool many red ":            "dark light",
		"tool one --level ":         "high low",
		"tool one --level=h":        "--level=high",
		"tool one --data fol":       "folder/",
		"tool one --data many --js": "--json",
		"tool many --data one red ": "dark light",
		"tool one --count ":         "",
	} {
		out := said(t, nil, fish, "--no-config", "-c", `cd $argv[1]; source tool.fish; complete -C $argv[2]`, dir, line)
		var list []string
		for l := range strings.Lines(out) {
			word, _, _ := strings.Cut(strings.TrimSpace(l), "\t")
			list = append(list, word)
		}
		slices.Sort(list)
		if got := strings.Join(list, " "); got != want {
			t.Errorf("%q: offered %q, want %q", line, got, want)
		}
	}
}

// tool finds a program of this machine.
func tool(t *testing.T, name, debian string) string {
	t.Helper()
	path, err := exec.LookPath(name)
	if err != nil {
		t.Fatalf("%s is missing: apt-get install %s", name, debian)
	}
	return path
}

// said is what a command prints; an exit code is not looked at.
func said(t *testing.T, stdin []byte, name string, args ...string) string {
	t.Helper()
	c := exec.CommandContext(t.Context(), name, args...)
	c.Stdin = bytes.NewReader(stdin)
	out, err := c.CombinedOutput()
	if exit := new(exec.ExitError); err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	return string(out)
}
