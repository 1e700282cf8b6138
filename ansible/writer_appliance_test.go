//go:build appliance && linux

package ansible_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"sync"
	"syscall"
	"testing"
	"time"

	"preau/node/control"
)

// writeEnv turns the test's own program into an operator who decides something
// fifty times a second until its input ends, from inside the hosts' network. It has
// the operator's folder.
const writeEnv = "PREAU_TEST_WRITE"

func TestMain(m *testing.M) {
	if dir := os.Getenv(writeEnv); dir != "" {
		if err := write(dir); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	os.Exit(m.Run())
}

// written is what came of it.
type written struct {
	Sent     int      `json:"sent"`
	Missing  int      `json:"missing"` // acknowledged, and not there at the end
	Failures []string `json:"failures"`
	Seconds  float64  `json:"seconds"`
	Slowest  float64  `json:"slowest"` // seconds
}

const writesPerSecond = 50

// write sends decisions at an even pace, however long each takes. Each is about
// another school, so that at the end it can be seen whether all are there.
func write(dir string) error {
	c, err := control.Open(dir, nil)
	if err != nil {
		return err
	}
	stop := make(chan struct{})
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin) // it ends when whoever started this says so, or is gone
		close(stop)
	}()
	var (
		mu    sync.Mutex
		group sync.WaitGroup
		out   written
		kept  []string
	)
	began := time.Now()
	tick := time.NewTicker(time.Second / writesPerSecond)
	defer tick.Stop()
	for running := true; running; {
		select {
		case <-stop:
			running = false
			continue
		case <-tick.C:
		}
		school := fmt.Sprintf("%07dA", out.Sent)
		out.Sent++
		group.Go(func() {
			ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
			defer cancel()
			asked := time.Now()
			_, err := c.SetPolicy(ctx, control.Policy{School: school, PrefetchRate: 1 << 20})
			mu.Lock()
			defer mu.Unlock()
			out.Slowest = max(out.Slowest, time.Since(asked).Seconds())
			if err != nil {
				out.Failures = append(out.Failures, err.Error())
			} else {
				kept = append(kept, school)
			}
		})
	}
	out.Seconds = time.Since(began).Seconds()
	group.Wait()
	there := map[string]bool{}
	c.Consistent = true
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	policies, err := c.Policies(ctx)
	if err != nil {
		return err
	}
	for _, p := range policies {
		there[p.School] = true
	}
	for _, school := range kept {
		if !there[school] {
			out.Missing++
		}
	}
	if err := json.NewEncoder(os.Stdout).Encode(out); err != nil {
		return err
	}
	return c.Close()
}

// writing has an operator write until the function that it returns is called,
// which tells what came of it.
func (n *network) writing(t *testing.T, operator string) func() written {
	t.Helper()
	program, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	c := exec.Command("ip", "netns", "exec", n.space, program) // its end is told below
	c.Env = append(os.Environ(), writeEnv+"="+operator)
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
	return func() written {
		t.Helper()
		var out written
		if err := input.Close(); err != nil {
			t.Fatal(err)
		}
		if err := json.NewDecoder(output).Decode(&out); err != nil {
			t.Fatal(err)
		}
		ended = true
		if err := c.Wait(); err != nil {
			t.Fatal(err)
		}
		return out
	}
}
