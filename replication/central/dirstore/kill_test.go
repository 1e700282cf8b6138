package dirstore_test

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"preau/replication/central/dirstore"
	"preau/replication/central/store"
	"preau/replication/central/storetest"
)

const (
	childDir  = "PREAU_DIRSTORE_CHILD"
	childSeed = "PREAU_DIRSTORE_SEED"
	slots     = 6 // keys of each of the child's workers, which it writes over and over
)

// version is what the child writes under a key the nth time. The first bytes tell
// n, so that whoever finds it knows what the rest must be.
func version(key string, n int) []byte {
	sum := uint64(n)
	for _, c := range key {
		sum = sum*31 + uint64(c)
	}
	return append([]byte(fmt.Sprintf("%s %09d ", key, n)), storetest.Bytes(sum, int(sum%5)*70_000)...)
}

// child writes until it is killed, and says on standard output what it is about
// to do and what was acknowledged.
func child(dir string) int {
	seed, err := strconv.ParseUint(os.Getenv(childSeed), 10, 64)
	if err != nil {
		return 3
	}
	s, err := dirstore.Open(dir, slog.New(slog.DiscardHandler))
	if err != nil {
		fmt.Println("error", err)
		return 1
	}
	ctx := context.Background()
	if err := s.MakeBucket(ctx, bucket); err != nil {
		fmt.Println("error", err)
		return 1
	}
	var (
		say sync.Mutex
		all sync.WaitGroup
	)
	tell := func(what, key string, n int) {
		say.Lock()
		defer say.Unlock()
		fmt.Println(what, key, n)
	}
	for w := range 4 {
		all.Go(func() {
			r := rand.New(rand.NewPCG(seed, uint64(w)))
			for n := int(seed)*1_000_000 + 1; ; n++ {
				key := fmt.Sprintf("w%d/%d", w, r.IntN(slots))
				p := version(key, n)
				var err error
				switch r.IntN(5) {
				case 0:
					tell("deleting", key, n)
					if err = s.Delete(ctx, bucket, key); err == nil {
						tell("deleted", key, n)
					}
				case 1:
					tell("putting", key, n)
					if err = inParts(ctx, s, key, p); err == nil {
						tell("put", key, n)
					}
				default:
					tell("putting", key, n)
					if err = put(ctx, s, key, p, store.Condition{}); err == nil {
						tell("put", key, n)
					}
				}
				if err != nil {
					tell("error "+err.Error(), key, n)
				}
			}
		})
	}
	all.Wait()
	return 0
}

func inParts(ctx context.Context, s store.Store, key string, p []byte) error {
	id, err := s.Begin(ctx, bucket, key, store.Options{})
	if err != nil {
		return err
	}
	part, err := s.PutPart(ctx, bucket, key, id, 1, bytes.NewReader(p), int64(len(p)))
	if err != nil {
		return err
	}
	_, err = s.Complete(ctx, bucket, key, id, []store.Part{part})
	return err
}

// fate is what must be found under a key: what was acknowledged last, or what was
// begun after that. Zero is nothing.
type fate struct {
	acked, begun int
	ackedGone    bool
	begunGone    bool
	open         bool // begun and not acknowledged
}

// TestKilledWhileWriting kills a process at random moments. What it had
// acknowledged must be there, and nothing half-written.
func TestKilledWhileWriting(t *testing.T) {
	rounds := 40
	if testing.Short() {
		rounds = 3
	}
	dir := filepath.Join(t.TempDir(), "s")
	known := map[string]*fate{}
	acked := 0
	r := rand.New(rand.NewPCG(1, uint64(time.Now().UnixNano())))
	for round := range rounds {
		acked += killOnce(t, dir, round, r.IntN(150), known)
		verify(t, dir, known)
		if t.Failed() {
			t.Fatalf("round %d", round)
		}
	}
	t.Logf("%d acknowledged in %d rounds", acked, rounds)
	if acked == 0 {
		t.Error("nothing was acknowledged: the test has tested nothing")
	}
}

// killOnce runs a child, kills it some lines after its first acknowledgement, and
// records what it said.
func killOnce(t *testing.T, dir string, round, lines int, known map[string]*fate) (acked int) {
	t.Helper()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), exe)
	cmd.Env = append(os.Environ(), childDir+"="+dir, childSeed+"="+strconv.Itoa(round))
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	said := bufio.NewScanner(out)
	killed := false
	for said.Scan() {
		fields := strings.Fields(said.Text())
		if len(fields) != 3 {
			if !killed {
				t.Errorf("the child says: %s", said.Text())
			}
			continue
		}
		n, err := strconv.Atoi(fields[2])
		if err != nil {
			t.Errorf("the child says: %s", said.Text())
			continue
		}
		f := known[fields[1]]
		if f == nil {
			f = &fate{ackedGone: true}
			known[fields[1]] = f
		}
		switch fields[0] {
		case "putting", "deleting":
			f.begun, f.begunGone, f.open = n, fields[0] == "deleting", true
		case "put", "deleted":
			f.acked, f.ackedGone, f.open = n, fields[0] == "deleted", false
			acked++
		}
		if lines--; lines < 0 && acked > 0 && !killed {
			killed = true
			if err := cmd.Process.Kill(); err != nil {
				t.Error(err)
			}
		}
	}
	if err := cmd.Wait(); err == nil || !killed {
		t.Errorf("the child ended by itself: %v", err)
	}
	return acked
}

func verify(t *testing.T, dir string, known map[string]*fate) {
	t.Helper()
	s, err := dirstore.Open(dir, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { closed(t, s) }()
	listed := map[string]store.Info{}
	page, err := s.List(t.Context(), bucket, "", "", store.MaxPage)
	if err != nil {
		t.Fatal(err)
	}
	for _, o := range page.Objects {
		listed[o.Key] = o
		if known[o.Key] == nil {
			t.Errorf("%q is there, and nobody put it", o.Key)
		}
	}
	for key, f := range known {
		p, info, err := get(t.Context(), s, key)
		gone := errors.Is(err, store.ErrNotFound)
		n := 0
		if !gone {
			if err != nil {
				t.Errorf("%q: %v", key, err)
				continue
			}
			if _, err := fmt.Sscanf(string(p), key+" %d ", &n); err != nil || !bytes.Equal(p, version(key, n)) {
				t.Errorf("%q: %d bytes that were never put: %v", key, len(p), err)
			}
		}
		wasAcked := gone == f.ackedGone && (gone || n == f.acked)
		wasBegun := f.open && gone == f.begunGone && (gone || n == f.begun)
		if !wasAcked && !wasBegun {
			t.Errorf("%q: gone %v, version %d; acknowledged: gone %v, version %d; begun since: %v, gone %v, version %d",
				key, gone, n, f.ackedGone, f.acked, f.open, f.begunGone, f.begun)
		}
		if o, ok := listed[key]; ok == gone || !gone && (o.ETag != info.ETag || o.Size != int64(len(p))) {
			t.Errorf("%q is listed as %+v (%v), and is %+v", key, o, ok, info)
		}
		// What is there now is what the next round begins with.
		f.acked, f.ackedGone, f.open = n, gone, false
	}
	if left, err := os.ReadDir(filepath.Join(dir, "tmp")); err != nil || len(left) != 0 {
		t.Errorf("left in tmp: %v, %v", left, err)
	}
}
