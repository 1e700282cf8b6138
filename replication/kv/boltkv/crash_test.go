package boltkv

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"preau/replication/kv"
	"preau/replication/kv/kvtest"
)

// childEnv makes the test binary a process that updates the store it names
// until somebody kills it.
const childEnv = "PREAU_BOLTKV_CHILD"

// child writes round n of updates: "n" and 20 keys that all hold n, the older
// ones deleted; every tenth round a Replace. It prints n once n is durable.
func child() {
	fail := func(err error) {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	s, err := Open(os.Getenv(childEnv), DefaultConfig())
	if err != nil {
		fail(err)
	}
	n, err := roundIn(s)
	if err != nil {
		fail(err)
	}
	for {
		n++
		write := func(put func(k, v []byte) error) error {
			v := binary.BigEndian.AppendUint64(nil, n)
			for i := range 20 {
				k := fmt.Sprintf("round/%d/%d", n, i)
				if err := put([]byte(k), append(v, make([]byte, (i*n2i(n))%900)...)); err != nil {
					return err
				}
			}
			return put([]byte("n"), v)
		}
		if n%10 == 0 {
			err = s.Replace(write)
		} else {
			err = s.Update(func(tx kv.Tx) error {
				var old [][]byte
				if err := tx.Scan([]byte("round/"), nil, func(k, _ []byte) bool {
					old = append(old, append([]byte(nil), k...))
					return true
				}); err != nil {
					return err
				}
				for _, k := range old {
					if err := tx.Delete(k); err != nil {
						return err
					}
				}
				return write(tx.Put)
			})
		}
		if err != nil {
			fail(err)
		}
		fmt.Println(n)
	}
}

func n2i(n uint64) int { return int(n % 1000) }

// roundIn returns the round that s holds, whole, or an error.
func roundIn(s *Store) (uint64, error) {
	v, err := s.View()
	if err != nil {
		return 0, err
	}
	b, err := v.Get([]byte("n"))
	if errors.Is(err, kv.ErrNotFound) {
		return 0, v.Close()
	}
	if err != nil {
		return 0, errors.Join(err, v.Close())
	}
	n := binary.BigEndian.Uint64(b)
	count := 0
	prefix := fmt.Sprintf("round/%d/", n)
	err = v.Scan([]byte("round/"), nil, func(k, val []byte) bool {
		if len(k) < len(prefix) || string(k[:len(prefix)]) != prefix || binary.BigEndian.Uint64(val) != n {
			count = -1
			return false
		}
		count++
		return true
	})
	if err == nil && count != 20 {
		err = fmt.Errorf("round %d has %d keys of its own, want 20", n, count)
	}
	return n, errors.Join(err, v.Close())
}

func TestKill(t *testing.T) {
	rounds := 60
	if testing.Short() {
		rounds = 6
	}
	path := filepath.Join(t.TempDir(), "kv")
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	rng := rand.New(rand.NewPCG(11, 12))
	var acked uint64
	for round := range rounds {
		cmd := exec.CommandContext(t.Context(), exe)
		cmd.Env = append(os.Environ(), childEnv+"="+path)
		cmd.Stderr = os.Stderr
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		lines := bufio.NewScanner(out)
		goal := rng.IntN(30)
		for i := 0; i <= goal && lines.Scan(); i++ {
			if acked, err = strconv.ParseUint(lines.Text(), 10, 64); err != nil {
				t.Fatal(err)
			}
		}
		timer := time.AfterFunc(time.Duration(rng.IntN(5000))*time.Microsecond, func() { _ = cmd.Process.Kill() })
		for lines.Scan() { // what it still said before it died was acknowledged too
			if acked, err = strconv.ParseUint(lines.Text(), 10, 64); err != nil {
				t.Fatal(err)
			}
		}
		timer.Stop()
		if err := cmd.Wait(); cmd.ProcessState.Exited() {
			t.Fatalf("round %d: the child ended by itself: %v", round, err)
		}
		s := mustOpen(t, path)
		if n, err := roundIn(s); err != nil || n < acked || n > acked+1 {
			t.Fatalf("round %d: the store holds %d, %v; acknowledged: %d", round, n, err, acked)
		}
		if err := s.Check(t.Context()); err != nil {
			t.Fatal(err)
		}
		mustClose(t, s)
	}
	if acked == 0 {
		t.Error("nothing was ever acknowledged")
	}
}

// A disk that fails in the middle of an update, by way of the one failure that
// can be had without a special disk: the limit on a file's length.
func TestCommitThatCannotGrow(t *testing.T) {
	s := mustOpen(t, filepath.Join(t.TempDir(), "kv"))
	kvtest.Put(t, s, "a", "1")
	if err := s.cur.f.Close(); err != nil { // every write fails from now on
		t.Fatal(err)
	}
	err := s.Update(func(tx kv.Tx) error { return tx.Put([]byte("b"), []byte("2")) })
	if err == nil || errors.Is(err, kv.ErrFull) {
		t.Fatalf("Update without a disk: %v", err)
	}
	if _, err := s.View(); err == nil {
		t.Error("the store goes on after a write whose outcome is in doubt")
	}
	if err := s.Update(func(kv.Tx) error { return nil }); err == nil {
		t.Error("Update after a write whose outcome is in doubt: no error")
	}
	path := s.path
	_ = s.Close() // its file is closed already
	s = mustOpen(t, path)
	kvtest.Check(t, s, map[string]string{"a": "1"})
	mustClose(t, s)
}
