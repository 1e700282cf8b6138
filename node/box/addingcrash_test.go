package box

import (
	"bytes"
	"context"
	"crypto/sha256"
	"io"
	"math/rand/v2"
	"net/http"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"preau/node/config"
)

// TestKilledWhileDepositsComeIn kills a box again and again while files are
// added. Whatever it has acknowledged is there afterwards, byte for byte.
func TestKilledWhileDepositsComeIn(t *testing.T) {
	t.Parallel()
	rounds := 8
	if testing.Short() {
		rounds = 2
	}
	rng := newRand(t)
	cfg := oneSite(filepath.Join(t.TempDir(), "data"), "http://127.0.0.1:1")
	cfg.Deposits.Budget = 4 * config.GiB
	type kept struct {
		path string
		sum  [sha256.Size]byte
	}
	var mu sync.Mutex
	var all []kept
	var box *process
	check := func() {
		t.Helper()
		for _, k := range all {
			resp, err := http.Get(box.url(k.path)) //nolint:forbidigo // the test has a limit
			if err != nil {
				t.Fatal(err)
			}
			h := sha256.New()
			_, err = io.Copy(h, resp.Body)
			resp.Body.Close()
			if err != nil || resp.StatusCode != http.StatusOK || [sha256.Size]byte(h.Sum(nil)) != k.sum {
				t.Errorf("%s was acknowledged and is not there: %s, %v", k.path, resp.Status, err)
			}
		}
	}
	for round := range rounds {
		box = begin(t, cfg)
		check()
		ctx, stop := context.WithCancel(t.Context())
		before := len(all)
		enough := make(chan struct{})
		var once sync.Once
		var wg sync.WaitGroup
		for range 4 {
			rng := rand.New(rand.NewPCG(rng.Uint64(), 1))
			wg.Go(func() {
				for ctx.Err() == nil {
					content := noiseOf(rng.IntN(900<<10), rng.Uint64())
					req, err := http.NewRequestWithContext(ctx, http.MethodPut, "http://"+box.Admin+"/d/f.bin", bytes.NewReader(content))
					if err != nil {
						t.Error(err)
						return
					}
					resp, err := http.DefaultClient.Do(req) //nolint:forbidigo // ctx is its limit
					if err != nil {
						continue
					}
					_, _ = io.Copy(io.Discard, resp.Body)
					resp.Body.Close()
					if resp.StatusCode != http.StatusCreated {
						continue
					}
					mu.Lock()
					all = append(all, kept{resp.Header.Get("Location"), sha256.Sum256(content)})
					if len(all) >= before+6 {
						once.Do(func() { close(enough) })
					}
					mu.Unlock()
				}
			})
		}
		select {
		case <-enough:
		case <-time.After(2 * time.Minute):
			t.Error("six files were not kept in two minutes")
		}
		time.Sleep(time.Duration(rng.IntN(60)) * time.Millisecond) // anywhere in one
		box.kill(t)
		stop()
		wg.Wait()
		t.Logf("round %d: %d kept so far", round, len(all))
	}
	box = begin(t, cfg)
	check()
	box.stop(t)
}
