package obs

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"sync"
	"time"
)

// patience is how long one check may take before it counts as failed.
const patience = 2 * time.Second

type check struct {
	name string
	ask  func(ctx context.Context) error
}

type checks struct {
	mu   sync.Mutex
	list []check
}

func (c *checks) add(name string, ask func(ctx context.Context) error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.list = append(c.list, check{name, ask})
}

// readiness is the body of /readyz. Checks holds "ok" or the reason.
type readiness struct {
	Ready  bool              `json:"ready"`
	Checks map[string]string `json:"checks"`
}

func (c *checks) serve(w http.ResponseWriter, r *http.Request) {
	c.mu.Lock()
	list := append([]check(nil), c.list...)
	c.mu.Unlock()

	ctx, done := context.WithTimeoutCause(r.Context(), patience, fmt.Errorf("no answer within %v", patience))
	defer done()
	reasons := make([]error, len(list))
	var asking sync.WaitGroup
	for i, one := range list {
		asking.Go(func() { reasons[i] = one.ask(ctx) })
	}
	asking.Wait()

	answer := readiness{Ready: true, Checks: map[string]string{}}
	for i, one := range list {
		answer.Checks[one.name] = "ok"
		if reasons[i] != nil {
			answer.Ready = false
			answer.Checks[one.name] = reasons[i].Error()
		}
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	if !answer.Ready {
		w.WriteHeader(http.StatusServiceUnavailable)
	}
	body := json.NewEncoder(w)
	body.SetIndent("", "  ")
	// The client is gone if this fails, and there is nobody left to tell.
	_ = body.Encode(answer) //nolint:errcheck // see above
}
