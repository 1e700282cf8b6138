package badgerblock

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/prometheus/client_golang/prometheus"

	"preau/cache/block"
	"preau/cache/block/blocktest"
)

// wanted says which of the blocks that fillOne puts are kept.
func wanted(i int) bool { return i%8 != 0 }

func oneBlock(i int) []byte { return blocktest.Bytes(uint64(i), 20_000+i) }

// fillOne puts 40 blocks and records into one segment of ring 2 and seals it.
func fillOne(s *Store) error {
	for i := range 40 {
		p := oneBlock(i)
		if _, err := s.Put(context.Background(), 2, block.Sum(p), p); err != nil {
			return err
		}
		if _, err := s.PutRecord(context.Background(), 2, fmt.Append(nil, "key", i), fmt.Append(nil, "value", i)); err != nil {
			return err
		}
	}
	for _, r := range s.rings {
		r.mu.Lock()
		r.fillUp()
		r.mu.Unlock()
	}
	s.sealFull()
	return nil
}

func keepWanted() *shelf {
	keep := make(map[block.Digest]bool)
	for i := range 40 {
		keep[block.Sum(oneBlock(i))] = wanted(i)
	}
	return &shelf{keep: func(d block.Digest) (block.Ring, bool) { return 1, keep[d] }}
}

// checkOne checks what fillOne put: all that is wanted is there, and the rest
// is not if dropped.
func checkOne(t *testing.T, s *Store, dropped bool) {
	t.Helper()
	for i := range 40 {
		p := oneBlock(i)
		if wanted(i) {
			blocktest.Check(t, s, block.Sum(p), p)
		} else if _, ok := s.Has(block.Sum(p)); ok && dropped {
			t.Errorf("block %d is there, though it was dropped", i)
		}
	}
	records := make(map[string]string)
	err := s.Records(t.Context(), func(_ block.Segment, key, value []byte) error {
		records[string(key)] = string(value)
		return nil
	})
	if err != nil {
		t.Error(err)
	}
	for i := range 40 {
		if records[fmt.Sprint("key", i)] != fmt.Sprint("value", i) {
			t.Errorf("record %d is %q", i, records[fmt.Sprint("key", i)])
		}
	}
}

// smallest makes segments so small that fillOne's is none to be merged.
func smallest(dir string) Config {
	cfg := testConfig(dir)
	cfg.BudgetBytes = 24 * mib
	return cfg
}

func TestRelabel(t *testing.T) {
	cfg := smallest(t.TempDir())
	k := keepWanted()
	s := mustOpen(t, cfg, k)
	if err := fillOne(s); err != nil {
		t.Fatal(err)
	}
	// One block is open before, in the middle of being read, and after.
	p := oneBlock(1)
	b, err := s.Open(block.Sum(p))
	if err != nil {
		t.Fatal(err)
	}
	gone, err := s.Open(block.Sum(oneBlock(0)))
	if err != nil {
		t.Fatal(err)
	}
	g := s.all()[0]
	from, used := g.id(), s.used()
	if gain, err := s.retire(t.Context(), g); err != nil || !gain {
		t.Fatalf("retire: %v, %v", gain, err)
	}
	if len(k.relabelled) != 1 || k.relabelled[0][0] != from || len(k.retired) != 1 || k.retired[0] != from {
		t.Fatalf("relabelled %v, retired %v", k.relabelled, k.retired)
	}
	to := k.relabelled[0][1]
	if to <= from || g.id() != to || g.ring() != 1 || s.Segments()[0] != to || len(s.Segments()) != 1 {
		t.Errorf("segment %d of ring %d, told %d", g.id(), g.ring(), to)
	}
	if _, err := os.Stat(filepath.Join(cfg.Dir, segments, fmt.Sprintf("main-%08d", to))); err != nil {
		t.Error(err)
	}
	if n := s.used() - used; n > 8192 || n < -8192 {
		t.Errorf("disk use changed by %d", n)
	}
	checkOne(t, s, true)
	for d, seg := range k.moved {
		if at, ok := s.Has(d); !ok || at != seg {
			t.Errorf("told segment %d, is in %d, %v", seg, at, ok)
		}
	}
	for blk, want := range map[block.Block][]byte{b: p, gone: oneBlock(0)} {
		var buf bytes.Buffer
		if _, err := blk.WriteRange(&buf, 0, blk.Len()); err != nil || !bytes.Equal(buf.Bytes(), want) {
			t.Errorf("a block that was open: %v", err)
		}
		if err := blk.Close(); err != nil {
			t.Error(err)
		}
	}
	// A large block is read from the folder's new name with sendfile.
	b, err = s.Open(block.Sum(p))
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	if b.(*storedBlock).ownFile() == nil {
		t.Error("no descriptor for sendfile after the change of name")
	}
	s.Drop(block.Sum(oneBlock(2))) // noted under the new name
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = mustOpen(t, cfg, &shelf{})
	if _, ok := s.Has(block.Sum(oneBlock(2))); ok {
		t.Error("a block dropped after the change of name is back")
	}
	p = oneBlock(2)
	mustPut(t, s, 0, p)
	checkOne(t, s, true)
}

// TestRelabelRefused has the keeper refuse, and the disk.
func TestRelabelRefused(t *testing.T) {
	cfg := smallest(t.TempDir())
	k := keepWanted()
	s := mustOpen(t, cfg, k)
	if err := fillOne(s); err != nil {
		t.Fatal(err)
	}
	g := s.all()[0]
	from := g.id()
	// Something is in the way: a folder that is not empty.
	for n := from + 1; n < from+4; n++ {
		if err := os.MkdirAll(filepath.Join(s.segmentDir(s.rings[1], n), "x"), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := s.retire(t.Context(), g); err == nil {
		t.Fatal("no error")
	}
	if g.id() != from || g.retiring.Load() || s.Segments()[0] != from {
		t.Errorf("segment %d, retiring %v", g.id(), g.retiring.Load())
	}
	// The number that was told is taken back, the old one is not.
	if len(k.retired) != 1 || k.retired[0] != k.relabelled[0][1] {
		t.Errorf("relabelled %v, retired %v", k.relabelled, k.retired)
	}
	checkOne(t, s, true)
}

// TestReadWhileRelabelled reads blocks, and drops and looks up others, while
// their segment goes round.
func TestReadWhileRelabelled(t *testing.T) {
	k := keepWanted()
	s := mustOpen(t, smallest(t.TempDir()), k)
	if err := fillOne(s); err != nil {
		t.Fatal(err)
	}
	stop := make(chan struct{})
	var wg sync.WaitGroup
	for w := range 4 {
		wg.Go(func() {
			for i := w; ; i++ {
				select {
				case <-stop:
					return
				default:
				}
				if n := i % 40; wanted(n) {
					p := oneBlock(n)
					blocktest.Check(t, s, block.Sum(p), p)
				} else {
					s.Drop(block.Sum(oneBlock(n)))
				}
				s.Segments()
				s.Usage()
			}
		})
	}
	rounds := 60
	if testing.Short() {
		rounds = 20
	}
	for range rounds {
		if _, err := s.retire(t.Context(), s.all()[0]); err != nil {
			t.Error(err)
		}
	}
	close(stop)
	wg.Wait()
	checkOne(t, s, true)
}

const stepEnv = childEnv + "_STEP"

// relabelChild relabels a segment and kills itself at the step that is asked
// for.
func relabelChild(dir, step string) {
	k := keepWanted()
	s, err := New(smallest(dir), k, slog.New(slog.DiscardHandler), prometheus.NewRegistry())
	if err == nil {
		k.store = s
		err = fillOne(s)
	}
	if err != nil {
		fmt.Println("error:", err)
		os.Exit(1)
	}
	g := s.all()[0]
	fmt.Println("segment", g.id())
	s.step = func(at string) {
		if at == step {
			_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
			select {}
		}
	}
	_, err = s.retire(context.Background(), g)
	fmt.Println("error: not killed:", err)
	os.Exit(1)
}

// TestKillWhileRelabelling kills a process between the steps of a relabelling.
func TestKillWhileRelabelling(t *testing.T) {
	for i, step := range []string{"numbered", "told", "dropped", "renamed", "forgotten"} {
		t.Run(step, func(t *testing.T) {
			dir := t.TempDir()
			cmd := exec.Command(os.Args[0])
			cmd.Env = append(os.Environ(), childEnv+"="+dir, stepEnv+"="+step)
			out, err := cmd.StdoutPipe()
			if err != nil {
				t.Fatal(err)
			}
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			var from block.Segment
			lines := bufio.NewScanner(out)
			for lines.Scan() {
				if _, err := fmt.Sscanf(lines.Text(), "segment %d", &from); err != nil {
					t.Errorf("child: %s", lines.Text())
				}
			}
			if err := cmd.Wait(); err == nil || !strings.Contains(err.Error(), "killed") {
				t.Fatalf("child: %v", err)
			}
			k := keepWanted()
			s := mustOpen(t, smallest(dir), k)
			checkOne(t, s, i >= 2)
			at, told := s.Segments(), from+1
			want := from
			if i >= 3 {
				want = told
			}
			if len(at) != 1 || at[0] != want {
				t.Fatalf("segments %v, want %d", at, want)
			}
			// What the keeper was told about stands for nothing else, ever.
			if _, seg := mustPut(t, s, 0, []byte("new")); seg <= told {
				t.Errorf("a new segment is number %d, as one that the keeper was told of", seg)
			}
			for _, g := range s.all() {
				if g.id() == want {
					if _, err := s.retire(t.Context(), g); err != nil {
						t.Fatal(err)
					}
				}
			}
			if to := k.relabelled[0][1]; to <= told {
				t.Errorf("relabelled as %d again", to)
			}
			checkOne(t, s, true)
		})
	}
}
