//go:build appliance && linux

package ansible_test

import (
	"context"
	"fmt"
	"sync"
	"time"

	"preau/node/control"
)

// writeEnv turns the test's own program into an operator who decides something
// fifty times a second, from inside the hosts' network. It has the operator's folder.
const writeEnv = "PREAU_TEST_WRITE"

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
func write(dir string, stop <-chan struct{}) (any, error) {
	c, err := control.Open(dir, nil)
	if err != nil {
		return nil, err
	}
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
		return nil, err
	}
	for _, p := range policies {
		there[p.School] = true
	}
	for _, school := range kept {
		if !there[school] {
			out.Missing++
		}
	}
	return out, c.Close()
}
