package upload_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"os"
	"path"
	"strconv"
	"testing"

	"preau/node/upload"
)

var errKilled = errors.New("the box was killed")

// TestNoKillLosesOrDoublesAFile kills the box before each step that it takes for
// a file, one run for each, and cuts the power: what was not synced is garbage
// or gone. Whatever offset a client was told is there afterwards, and the file
// is in the outbox once.
func TestNoKillLosesOrDoublesAFile(t *testing.T) {
	t.Parallel()
	body := noise(11, 150<<10)
	for kill := 1; ; kill++ {
		if !story(t, body, kill, 0, rand.New(rand.NewPCG(uint64(kill), 3))) {
			if kill < 15 {
				t.Errorf("the file took %d steps only: the test looks at nothing", kill)
			}
			return
		}
	}
}

// TestManyKillsLoseNothing kills the box again and again. A seed that fails is
// run again with PREAU_SEED.
func TestManyKillsLoseNothing(t *testing.T) {
	t.Parallel()
	first, rounds := rand.Uint64N(1<<32), uint64(40)
	if testing.Short() {
		rounds = 5
	}
	if text := os.Getenv("PREAU_SEED"); text != "" {
		var err error
		if first, err = strconv.ParseUint(text, 10, 64); err != nil {
			t.Fatal(err)
		}
		rounds = 1
	}
	for seed := first; seed < first+rounds; seed++ {
		rng := rand.New(rand.NewPCG(seed, 4))
		story(t, noise(seed, 1+rng.IntN(400<<10)), 1+rng.IntN(10), 1+rng.IntN(10), rng)
		if t.Failed() {
			t.Fatalf("PREAU_SEED=%d", seed)
		}
	}
}

// story sends a file to a box that is killed before its step numbered kill, and
// then every so many steps, if more is not 0. It reports whether it was killed.
func story(t *testing.T, body []byte, kill, more int, rng *rand.Rand) (killed bool) {
	t.Helper()
	box, cfg := newShelf(), config(t.TempDir())
	kills, dead, left := 0, false, kill
	var s *upload.Server
	start := func() {
		dead = false
		s = open(t, cfg, box)
		s.SetStep(func(string) error {
			if left--; left == 0 {
				kills++
				dead = true
			}
			if dead { // nothing is done any more
				return errKilled
			}
			return nil
		})
	}
	restart := func(at string, told int64) {
		if at != "" {
			powerCut(t, s.File(path.Base(at)), told, rng)
		}
		if left = more; kills > 30 {
			left = 0
		}
		start()
	}
	start()
	name := fmt.Sprint("f", kill, "-", more)
	at, told := "", int64(0)
	for try := 0; ; try++ {
		if try > 200 {
			t.Fatal("it never ends")
		}
		if at == "" {
			w := call(s, http.MethodPost, prefix, http.NoBody, "Upload-Length", strconv.Itoa(len(body)), "Upload-Metadata", metadata("filename", name))
			if w.Code == http.StatusCreated {
				at = w.Header().Get("Location")
			}
			if dead {
				at = "" // an answer that nobody heard: the client makes another
				restart("", 0)
			}
			continue
		}
		from := offset(t, s, at)
		if from < told {
			t.Fatalf("kill %d: the client was told of %d bytes, and there are %d", kill, told, from)
		}
		told = from
		if from < int64(len(body)) {
			to := min(from+1+rng.Int64N(150<<10), int64(len(body)))
			w := patch(s, at, from, bytes.NewReader(body[from:to]))
			if w.Code == http.StatusNoContent {
				told = to
			}
		}
		if !dead {
			upload.HandOn(s, context.Background())
		}
		if dead {
			restart(at, told)
			continue
		}
		if done := box.all(); len(done) > 0 {
			break
		}
	}
	upload.HandOn(s, t.Context())
	restart(at, told)
	left = 0
	upload.HandOn(s, t.Context())
	only(t, box, name, body)
	if n := len(box.all()); n != 1 {
		t.Errorf("kill %d: the outbox has %d files", kill, n)
	}
	if n := offset(t, s, at); n != int64(len(body)) {
		t.Errorf("kill %d: the offset of what is kept is %d", kill, n)
	}
	if _, err := os.Stat(s.File(path.Base(at))); !os.IsNotExist(err) {
		t.Errorf("kill %d: its bytes are still here: %v", kill, err)
	}
	return kills > 0
}

// powerCut leaves of a file what was synced, which is all that the record counts,
// and anything or nothing behind it.
func powerCut(t *testing.T, name string, synced int64, rng *rand.Rand) {
	t.Helper()
	info, err := os.Stat(name)
	if os.IsNotExist(err) {
		return
	}
	if err != nil {
		t.Fatal(err)
	}
	f, err := os.OpenFile(name, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if info.Size() <= synced {
		return
	}
	if rng.IntN(2) == 0 {
		// The record may count more than the client was told.
		return
	}
	// What lies behind all that may have been counted.
	junk := noise(rng.Uint64(), 1+rng.IntN(10<<10))
	if _, err := f.WriteAt(junk, info.Size()); err != nil {
		t.Fatal(err)
	}
}
