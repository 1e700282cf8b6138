//go:build appliance && linux

package images_test

import (
	"context"
	"crypto/rand"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"preau/images/hosttest"
)

// notTyped are the README's lines that this test does not run, and why.
var notTyped = map[string]string{
	"preau box --config box.toml": "the settings that it explains keep their data in /var/lib/preau",
	"PREAU_SCREENSHOTS=/tmp/pages go test -tags system ./node/portal/browser":           "a system test",
	"PREAU_UPLOAD_MIB=2048 go test -tags system -run TestASchool ./node/portal/browser": "a system test",
	`make build && export PATH="$PWD/bin:$PATH"`:                                        "the program is that of the package",
}

// before and after a line are what people do besides: they look at a page, and end what
// they do not need any more.
var (
	before = map[string]string{
		"preau region init --data r1":               "kill $(jobs -p); wait", // what was tried in five minutes
		"preau region run --data r1 --central":      "kill %1 %2 %3; wait %1 %2 %3",
		"preau explain https://cloud.example.org/s": "try 'preau status --box 127.0.0.1:9190'",
	}
	after = map[string]string{
		"preau publish README.md":          "try 'shows 8081 && shows 8082'",
		"preau purge --collection lessons": "if shows 8081 || shows 8082; then echo 'purged, and still there'; exit 1; fi",
	}
)

// instead are lines that are typed in another way: the program is there already, and
// what runs until somebody ends it is left to itself.
var instead = strings.NewReplacer("go run ./cmd/preau", "preau", "make run", "preau demo &", "--data ./cache-data", "--data ./cache-data &", "sleep 5\n", "")

// prologue is for a shell that types the README's lines. What fails is typed again for
// a minute: servers start no slower than people type, on a machine of their own.
const prologue = `set -m
export HOME="$PWD"
try() {
	for i in $(seq 120); do
		if eval "$1" >said 2>&1; then echo "done: $1"; return; fi
		sleep 0.5
	done
	cat said; echo "NOT DONE: $1"; exit 1
}
shows() { curl -sfL --max-time 10 "http://127.0.0.1:$1/r/" | grep -q 'What Préau is'; }
trap 'kill $(jobs -p) 2>/dev/null; wait' EXIT
`

// site is whoever reads the README, who has one.
const site = "PREAU_TEST_SERVE=127.0.0.1:18000=site \"$OWN\" &\n"

// typed are the statements in the README's boxes of commands, in their order.
func typed(t *testing.T) []string {
	t.Helper()
	text, err := os.ReadFile("../README.md")
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for _, m := range regexp.MustCompile("(?s)```[a-z]*\n(.*?)```").FindAllStringSubmatch(string(text), -1) {
		box := m[1]
		if strings.ContainsAny(box, "│─") || strings.HasPrefix(box, "[[site]]") {
			continue // a picture, or settings
		}
		if strings.Contains(box, "\nEND\n") { // a loop with a text in it, which is one statement
			loop, rest, _ := strings.Cut(box, "\ndone\n")
			out = append(out, loop+"\ndone")
			box = rest
		}
		for line := range strings.Lines(box) {
			line, _, _ = strings.Cut(line, "   #")
			if line = strings.TrimSpace(line); line != "" {
				out = append(out, line)
			}
		}
	}
	if len(out) < 25 {
		t.Fatalf("the README has only %d lines to type: does this test still find them?", len(out))
	}
	return out
}

// extra is what m has for a line that begins with one of its keys.
func extra(m map[string]string, line string) string {
	for key, text := range m {
		if strings.HasPrefix(line, key) {
			return text + "\n"
		}
	}
	return ""
}

// TestTheReadmesLinesDoWhatTheySay types every line of the project's README, in a
// network of its own.
func TestTheReadmesLinesDoWhatTheySay(t *testing.T) {
	t.Parallel()
	hosttest.Need(t, "ip=iproute2", "curl=curl", "bash=bash")
	dir := t.TempDir()
	hosttest.Do(t, "", nil, "dpkg-deb", "-x", filepath.Join(hosttest.Packages(t), "preau_2.0.0_amd64.deb"), dir)
	hosttest.Do(t, "", nil, "cp", "../README.md", "../CHANGELOG.md", dir)
	own, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	film := make([]byte, 4<<20)
	if _, err := rand.Read(film); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(filepath.Join(dir, "site"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "site/film.mp4"), film, 0o644); err != nil {
		t.Fatal(err)
	}
	script := prologue + site
	skipped := 0
	for _, line := range typed(t) {
		if _, ok := notTyped[line]; ok {
			skipped++
			continue
		}
		script += extra(before, line)
		now := strings.TrimSpace(instead.Replace(line + "\n"))
		switch {
		case now == "":
			continue
		case strings.HasSuffix(now, "&"), strings.HasPrefix(now, "export "), strings.HasPrefix(now, "for "):
			script += now + "\n"
		default:
			script += "try " + quoted(now) + "\n"
		}
		script += extra(after, line)
	}
	if skipped != len(notTyped) {
		t.Errorf("%d of %d lines that are not typed are in the README", skipped, len(notTyped))
	}
	n := hosttest.NewNetwork(t)
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Minute)
	defer cancel()
	began := time.Now()
	// All that it has started goes with it.
	c := n.Command(ctx, "unshare", "--pid", "--fork", "--kill-child", "--mount-proc", "bash", "-c", script)
	c.Dir = dir
	c.Env = append(os.Environ(), "OWN="+own, "PATH="+filepath.Join(dir, "usr/bin")+":"+os.Getenv("PATH"))
	c.WaitDelay = 20 * time.Second
	out, err := c.CombinedOutput()
	if err != nil || strings.Count(string(out), "\ndone: ") < 20 {
		t.Fatalf("%v\n%s", err, out)
	}
	t.Logf("all lines took %v", time.Since(began).Round(time.Second))
}

// quoted is a line as one word of a shell.
func quoted(line string) string { return "'" + strings.ReplaceAll(line, "'", `'\''`) + "'" }
