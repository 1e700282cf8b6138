//go:build system && linux

package main

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"preau/replication/central/cephtest"
)

// said collects what is said, and tells when it is all.
type said struct {
	mu   sync.Mutex
	text strings.Builder
	all  chan struct{}
}

// Write implements io.Writer.
func (s *said) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	before := strings.Contains(s.text.String(), "Ctrl-C ends")
	s.text.Write(p)
	if !before && strings.Contains(s.text.String(), "Ctrl-C ends") {
		close(s.all)
	}
	return len(p), nil
}

func (s *said) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.text.String()
}

// TestWhatItSaysWorks does what the words tell a stranger to do, and ends it.
func TestWhatItSaysWorks(t *testing.T) {
	if missing := cephtest.Missing(); missing != "" {
		if os.Getenv("CI") == "true" {
			t.Fatal(missing)
		}
		t.Skip(missing)
	}
	t.Chdir("../../../..") // where README.md is
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	out := &said{all: make(chan struct{})}
	ended := make(chan error, 1)
	go func() { ended <- run(ctx, out, nil) }()
	select {
	case <-out.all:
	case err := <-ended:
		t.Fatalf("%v: %s", err, out)
	case <-time.After(4 * time.Minute):
		t.Fatalf("nothing works: %s", out)
	}
	command := func(begins string) string {
		t.Helper()
		for line := range strings.Lines(out.String()) {
			line = strings.TrimSpace(line)
			tool, _, _ := strings.Cut(line, " ")
			if !strings.HasPrefix(line, begins) && !strings.Contains(line, "/preau "+begins) {
				continue
			}
			if _, err := exec.LookPath(tool); err != nil {
				t.Logf("%s is not here", tool)
				return ""
			}
			answer, err := exec.CommandContext(t.Context(), "sh", "-c", line).CombinedOutput()
			if err != nil {
				t.Errorf("%s: %v: %s", line, err, answer)
			}
			return string(answer)
		}
		t.Errorf("no command %q is told of: %s", begins, out)
		return ""
	}
	command("s3cmd -c")
	command("curl --aws-sigv4")
	for late := time.Now().Add(time.Minute); !strings.Contains(command("list resources"), "README.md"); {
		if t.Failed() || time.Now().After(late) {
			t.Error("what was put is not in the catalogue")
			break
		}
		select {
		case <-t.Context().Done():
		case <-time.After(200 * time.Millisecond):
		}
	}
	if answer := command("deposit"); !strings.Contains(answer, "README.md is in the centre") {
		t.Errorf("the deposit: %s", answer)
	}
	stop()
	if err := <-ended; err != nil {
		t.Error(err)
	}
	dir := regexp.MustCompile(`/tmp/ministry-[0-9]+`).FindString(out.String())
	if _, err := os.Stat(dir); dir == "" || !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the folder %q is left: %v", dir, err)
	}
}
