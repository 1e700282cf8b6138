package badgerblock

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"preau/cache/block"
	"preau/cache/block/blocktest"
)

const pressEnv = childEnv + "_PRESS"

// percents are the shares that the child of TestKill9UnderPressure may be told
// to keep.
var percents = map[string]int{"all": 100, "nothing": 0}

func openPressed(dir, keep string) (*Store, error) {
	k := &lottery{percent: percents[keep], gone: make(map[block.Digest]bool)}
	s, err := New(smallest(dir), k, slog.New(slog.DiscardHandler), prometheus.NewRegistry())
	k.store = s
	return s, err
}

// pressChild puts blocks into a store that is full, by several writers, until
// it is killed. It prints the number of each block that was put, and "full"
// where one was refused.
func pressChild(dir, keep string) {
	s, err := openPressed(dir, keep)
	if err != nil {
		fmt.Println("error:", err)
		os.Exit(1)
	}
	go s.Run(context.Background()) //nolint:errcheck // it is killed
	var mu sync.Mutex
	var wg sync.WaitGroup
	var next atomic.Int64
	for range 4 {
		wg.Go(func() {
			for {
				i := int(next.Add(1))
				p := blocktest.Bytes(uint64(i), childSize(i))
				_, err := s.Put(context.Background(), block.Ring(i%3), block.Sum(p), p)
				mu.Lock()
				switch {
				case errors.Is(err, block.ErrNoSpace):
					fmt.Println("full")
				case err != nil:
					fmt.Println("error:", err)
				default:
					fmt.Println(i)
				}
				mu.Unlock()
			}
		})
	}
	wg.Wait()
}

// TestKill9UnderPressure kills a process whose store is full. What was put and
// not given up by the keeper must be there, also once the next start has made
// room.
func TestKill9UnderPressure(t *testing.T) {
	tests := map[string]int{"all": 200, "nothing": 300}
	if testing.Short() {
		tests = map[string]int{"nothing": 220} // making room is the harder one
	}
	for keep, enough := range tests {
		t.Run("keeping "+keep, func(t *testing.T) {
			dir := t.TempDir()
			cmd := exec.Command(os.Args[0])
			cmd.Env = append(os.Environ(), childEnv+"="+dir, pressEnv+"="+keep)
			out, err := cmd.StdoutPipe()
			if err != nil {
				t.Fatal(err)
			}
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			var put []int
			full, killed := 0, false
			lines := bufio.NewScanner(out)
			for lines.Scan() {
				if lines.Text() == "full" {
					full++
				} else if i, err := strconv.Atoi(lines.Text()); err == nil {
					put = append(put, i)
				} else {
					t.Errorf("child: %s", lines.Text())
				}
				if full+len(put) >= enough && !killed {
					killed = true
					if err := cmd.Process.Kill(); err != nil {
						t.Fatal(err)
					}
				}
			}
			_, _ = io.Copy(io.Discard, out)
			if err := cmd.Wait(); err == nil || !strings.Contains(err.Error(), "killed") {
				t.Fatalf("child: %v", err)
			}
			if keep == "all" && full == 0 {
				t.Fatal("the store was not full")
			}
			s, err := openPressed(dir, keep)
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() {
				if err := s.Close(); err != nil {
					t.Error(err)
				}
			})
			run(t, s)
			time.Sleep(200 * time.Millisecond) //nolint:forbidigo // for Run to make room, if it will
			if keep == "nothing" {
				// Those that were begun last: the rest had its time. They need not be
				// the last that were told of.
				slices.Sort(put)
				put = put[len(put)-10:]
			}
			for _, i := range put {
				p := blocktest.Bytes(uint64(i), childSize(i))
				blocktest.Check(t, s, block.Sum(p), p)
			}
			if n, err := allocated(dir); err != nil || n > smallest(dir).BudgetBytes {
				t.Errorf("%d bytes on disk, %v", n, err)
			}
		})
	}
}

// TestBudgetLowered opens a store with less than it takes: it shrinks, also
// where half of each segment is pinned, and loses nothing that is.
func TestBudgetLowered(t *testing.T) {
	if testing.Short() {
		t.Skip("a longer one: make test-system runs it")
	}
	t.Parallel() // it waits for the disk mostly
	before, after, n := int64(64*mib), int64(48*mib), 180
	cfg := testConfig(t.TempDir())
	cfg.BudgetBytes = before
	cfg.SegmentBytes = 2 * mib
	s := mustOpen(t, cfg, &shelf{})
	for i := range n {
		mustPut(t, s, block.Ring(i%3), blocktest.Bytes(uint64(i), 300_000))
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	cfg.BudgetBytes = after
	pinned := func(d block.Digest) (block.Ring, bool) { return 1, d[0] < 128 }
	s = mustOpen(t, cfg, &shelf{keep: pinned})
	mustPut(t, s, 0, []byte("x"))
	if used := s.used(); used > cfg.BudgetBytes {
		t.Errorf("%d bytes used of %d", used, cfg.BudgetBytes)
	}
	if n, err := allocated(cfg.Dir); err != nil || n > cfg.BudgetBytes {
		t.Errorf("%d bytes on disk, %v", n, err)
	}
	for i := range n {
		p := blocktest.Bytes(uint64(i), 300_000)
		if _, keep := pinned(block.Sum(p)); keep {
			blocktest.Check(t, s, block.Sum(p), p)
		}
	}
}

// TestActiveIsSealedEarly has a keeper make room in a ring of which nothing is
// sealed yet.
func TestActiveIsSealedEarly(t *testing.T) {
	s := mustOpen(t, testConfig(t.TempDir()), &shelf{ring: 2})
	d, seg := mustPut(t, s, 2, []byte("documents"))
	mustPut(t, s, 0, []byte("probation"))
	g := s.oldest(func(block.Ring) bool { return true })
	if g == nil || g.id() != seg || !g.sealed() {
		t.Fatalf("to be retired: %v", g)
	}
	blocktest.Check(t, s, d, []byte("documents"))
	if _, again := mustPut(t, s, 2, []byte("more")); again == seg {
		t.Error("a sealed segment was written to")
	}
}
