package manual_test

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"preau/node/manual"
)

var about = manual.About{Version: "1.2.3", Date: time.Date(2026, 11, 23, 0, 0, 0, 0, time.UTC)}

// example is a program with one of everything.
func example() manual.Program {
	return manual.Program{
		Name: "tool", Title: "do things", Detail: "Words.\n\n    tool one --data .\n\nMore words.",
		Files: []manual.Entry{{Name: "/etc/tool", Text: "Settings."}}, SeeAlso: []string{"cat(1)", "tool.conf(5)"},
		Commands: []manual.Command{
			{Name: "one", Help: "Do one thing.", Flags: []manual.Flag{
				{Name: "data", Placeholder: "DIR", Help: "The folder.", Required: true},
				{Name: "file", Placeholder: "FILE", Help: "A file's name.", Short: 'f'},
				{Name: "level", Placeholder: "LEVEL", Help: `How much: \fBlow\fR or high.`, Values: []string{"low", "high"}},
				{Name: "count", Placeholder: "N", Help: ".how often"},
				{Name: "json", Help: "As JSON.", Switch: true},
			}, Detail: "'quoted' first\n.dots too\n\n    .not a macro\n    'nor this\n    a\\b `c` ~d ^e -f\n"},
			{Name: "many", Group: "More:", Help: "Many things.", Commands: []manual.Command{
				{Name: "red", Help: "A red thing's help.", Args: []manual.Arg{{Name: "shade", Help: "Which.", Values: []string{"dark", "light"}}}},
				{Name: "blue", Help: "A blue thing.", Args: []manual.Arg{{Name: "path", Help: "Where.", Optional: true, Many: true}}},
			}},
		},
	}
}

const reference = `# A file.
#
# Two paragraphs.

# The folder.
data = "/x"

# A table.
[log]

# How much.
level = "info"

# Those of a kind.
#[[listen.certificate]]

# A key that is off.
#cert = "/c"
`

var settings = manual.Settings{File: "x.toml", Title: "settings", Paths: []manual.Entry{{Name: "/etc/x.toml", Text: "It."}}, SeeAlso: []string{"tool(1)"}}

func TestPagesSayAllThatThereIs(t *testing.T) {
	page := string(example().Page(about))
	for _, want := range []string{
		".TH \"TOOL\" 1 \"2026-11-23\" \"tool 1.2.3\"", ".SS \"tool one \\-\\-data=DIR [FLAGS]\"", ".SS \"tool many COMMAND\"",
		".SS \"tool many red SHADE\"", ".SS \"tool many blue [PATH...]\"", ".SH \"MORE\"", "\\-f, \\-\\-file=FILE",
		"\n\\&.how often\n", "\\(rsfBlow\\(rsfR", "\n\\&.not a macro\n", "\n\\&\\(aqnor this\n", "a\\(rsb \\(gac\\(ga \\(tid \\(hae \\-f",
		".BR cat (1) ,\n.BR tool.conf (5)\n",
	} {
		if !strings.Contains(page, want) {
			t.Errorf("the page lacks %q:\n%s", want, page)
		}
	}
	for line := range strings.Lines(page) {
		if len(line) > 200 || strings.HasPrefix(line, "'") {
			t.Errorf("odd line %q", line)
		}
	}
}

func TestSettingsPagesSayEveryKey(t *testing.T) {
	raw, err := settings.Page("tool", about, []byte(reference))
	if err != nil {
		t.Fatal(err)
	}
	page := string(raw)
	for _, want := range []string{
		".TH \"TOOL\\-X.TOML\" 5", ".B \"data = \\(dq/x\\(dq\"\nThe folder.", ".SS \"[log]\"", ".SS \"[[listen.certificate]]\"",
		".B \"cert = \\(dq/c\\(dq\"", "It is off unless it is written.", ".BR tool (1)",
	} {
		if !strings.Contains(page, want) {
			t.Errorf("the page lacks %q:\n%s", want, page)
		}
	}
}

func TestAReferenceWithoutWordsIsRefused(t *testing.T) {
	for name, text := range map[string]string{
		"a key without words":    "# File.\n\ndata = 1\n",
		"words without a key":    "# File.\n\n# Words.\n\n# More.\na = 1\n",
		"nothing about the file": "# Words.\na = 1\n",
		"nothing":                "",
	} {
		if page, err := settings.Page("tool", about, []byte(text)); err == nil {
			t.Errorf("%s: a page was made:\n%s", name, page)
		}
	}
}

func FuzzSettings(f *testing.F) {
	f.Add([]byte(reference))
	f.Add([]byte("# a\n\n# '\n#[[x]]\n\n# .\ny = '\\'\n"))
	f.Fuzz(func(t *testing.T, text []byte) {
		page, err := settings.Page("tool", about, text)
		if err != nil {
			return
		}
		// Words never become macros: a line that begins with a dot is one of ours.
		macros := []string{".\\\"", ".TH ", ".nh", ".ad l", ".SH ", ".SS ", ".TP", ".B ", ".BR ", ".PP", ".RS 4", ".RE", ".nf", ".fi"}
		for line := range bytes.Lines(page) {
			if line[0] == '\'' || line[0] == '.' && !slices.ContainsFunc(macros, func(m string) bool { return bytes.HasPrefix(line, []byte(m)) }) {
				t.Errorf("%q became a macro", line)
			}
		}
	})
}

// bash completes a command line as bash does, by the words that it makes of it.
func complete(t *testing.T, words ...string) []string {
	t.Helper()
	dir := t.TempDir()
	for _, f := range []string{"a.txt", "b.txt"} {
		if err := os.WriteFile(filepath.Join(dir, f), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Mkdir(filepath.Join(dir, "folder"), 0o700); err != nil {
		t.Fatal(err)
	}
	script := filepath.Join(t.TempDir(), "tool.bash")
	if err := os.WriteFile(script, example().Bash(), 0o600); err != nil {
		t.Fatal(err)
	}
	bash, err := exec.LookPath("bash")
	if err != nil {
		t.Skip("no bash here to complete with")
	}
	c := exec.CommandContext(t.Context(), bash, append([]string{"--norc", "-c", `set -u; . "$0"; COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); _tool; printf '%s\n' "${COMPREPLY[@]:-}"`, script}, words...)...)
	c.Dir = dir
	out, err := c.CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %v\n%s", words, err, out)
	}
	list := strings.Fields(string(out))
	slices.Sort(list)
	return list
}

func TestBashCompletes(t *testing.T) {
	for line, want := range map[string]string{
		"tool ":                              "many one",
		"tool m":                             "many",
		"tool many ":                         "blue red",
		"tool many red ":                     "dark light",
		"tool many blue ":                    "a.txt b.txt folder",
		"tool one --":                        "--count --data --file --help --json --level",
		"tool one --data ":                   "folder",
		"tool one --data = ":                 "folder",
		"tool one --level = l":               "low",
		"tool one --level h":                 "high",
		"tool one --level = high --fi":       "--file",
		"tool one --file a":                  "a.txt",
		"tool one --count ":                  "",
		"tool one --data many --js":          "--json",
		"tool many --data x red ":            "dark light",
		"tool one --json ":                   "a.txt b.txt folder",
		"tool many red --":                   "--help",
		"tool --h":                           "--help",
		"tool one --level = high --data = f": "folder",
	} {
		t.Run(line, func(t *testing.T) {
			if got := strings.Join(complete(t, strings.Split(line, " ")...), " "); got != want {
				t.Errorf("%q: offered %q, want %q", line, got, want)
			}
		})
	}
}

func TestCompletionsNameEveryCommandAndFlag(t *testing.T) {
	p := example()
	for shell, text := range map[string]string{"bash": string(p.Bash()), "zsh": string(p.Zsh()), "fish": string(p.Fish())} {
		for _, want := range []string{"one", "many", "red", "blue", "data", "file", "level", "count", "json", "dark", "high"} {
			if !strings.Contains(text, want) {
				t.Errorf("%s: %s is not there", shell, want)
			}
		}
	}
}
