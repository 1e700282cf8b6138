package badgerblock

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"

	"preau/cache/block"
	"preau/cache/block/blocktest"
)

// childEnv names the folder to write to, for a test binary that is to be
// killed.
const childEnv = "PREAU_BADGERBLOCK_CHILD"

func childSize(i int) int { return 1 + (i*7919)%300_000 }

// childMain puts blocks until it is killed and prints the number of each that
// was put.
func childMain(dir string) {
	s, err := New(testConfig(dir), &shelf{}, slog.New(slog.DiscardHandler), prometheus.NewRegistry())
	if err != nil {
		fmt.Println("error:", err)
		os.Exit(1)
	}
	go s.Run(context.Background()) //nolint:errcheck // it is killed
	start, _ := strconv.Atoi(os.Getenv(childEnv + "_FROM"))
	for i := start; ; i++ {
		p := blocktest.Bytes(uint64(i), childSize(i))
		if _, err := s.Put(context.Background(), block.Ring(i%3), block.Sum(p), p); err != nil {
			fmt.Println("error:", err)
			os.Exit(1)
		}
		fmt.Println(i)
	}
}

func TestKill9(t *testing.T) {
	dir := t.TempDir()
	from := 0
	rounds := 4
	if testing.Short() {
		rounds = 1
	}
	for round := range rounds {
		cmd := exec.Command(os.Args[0])
		cmd.Env = append(os.Environ(), childEnv+"="+dir, fmt.Sprintf("%s_FROM=%d", childEnv, from))
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		last := -1
		lines := bufio.NewScanner(out)
		for lines.Scan() {
			i, err := strconv.Atoi(lines.Text())
			if err != nil {
				t.Errorf("child: %s", lines.Text())
				break
			}
			last = i
			if i-from == 60+round*17 {
				if err := cmd.Process.Kill(); err != nil {
					t.Fatal(err)
				}
			}
		}
		_, _ = io.Copy(io.Discard, out)
		if err := cmd.Wait(); err == nil || !strings.Contains(err.Error(), "killed") {
			t.Fatalf("child: %v", err)
		}
		s := mustOpen(t, testConfig(dir), &shelf{})
		for i := from; i <= last; i++ {
			p := blocktest.Bytes(uint64(i), childSize(i))
			blocktest.Check(t, s, block.Sum(p), p)
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		from = last + 1
	}
}
