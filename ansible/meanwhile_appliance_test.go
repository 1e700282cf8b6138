//go:build appliance && linux

package ansible_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"syscall"
	"testing"

	"preau/images/hosttest"
)

// TestMain is also what people do while hosts are upgraded: the test's own program,
// started once more from inside the hosts' network. It goes on until its input ends,
// and then prints what came of it.
func TestMain(m *testing.M) {
	hosttest.Main()
	for env, do := range map[string]func(string, <-chan struct{}) (any, error){writeEnv: write, readEnv: download} {
		arg := os.Getenv(env)
		if arg == "" {
			continue
		}
		stop := make(chan struct{})
		go func() {
			_, _ = io.Copy(io.Discard, os.Stdin) // it ends when whoever started this says so, or is gone
			close(stop)
		}()
		out, err := do(arg, stop)
		if err == nil {
			err = json.NewEncoder(os.Stdout).Encode(out)
		}
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// meanwhile starts the test's own program with a setting. The function that it returns
// ends it, and reads what came of it.
func (s *stage) meanwhile(t *testing.T, setting string) func(into any) {
	t.Helper()
	program, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	c := s.net.Command(context.Background(), "env", setting, program) // its end is told below
	c.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	c.Stderr = os.Stderr
	input, err := c.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	output, err := c.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	ended := false
	t.Cleanup(func() {
		if !ended {
			_ = c.Process.Kill() // or it has just ended
			_ = c.Wait()         // it was killed
		}
	})
	return func(into any) {
		t.Helper()
		if err := input.Close(); err != nil {
			t.Fatal(err)
		}
		if err := json.NewDecoder(output).Decode(into); err != nil {
			t.Fatal(err)
		}
		ended = true
		if err := c.Wait(); err != nil {
			t.Fatal(err)
		}
	}
}
