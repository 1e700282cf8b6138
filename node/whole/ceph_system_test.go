//go:build system && linux

package whole_test

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"os"
	"os/exec"
	"path"
	"strings"
	"testing"
	"time"

	"preau/node/whole/ministry"
	"preau/replication/central/cephtest"
	"preau/replication/central/store"
)

const (
	lessons   = "lessons" // the bucket that is watched
	cephComes = 3 * time.Minute
)

// centre is a whole ministry of real processes, as its people see it.
type centre struct {
	*ministry.Ministry
	*ministry.Centre
	client *http.Client
}

// withCeph brings up a ministry of two boxes.
func withCeph(t *testing.T, osds int, lines bool) *centre {
	t.Helper()
	if missing := cephtest.Missing(); missing != "" {
		cannot(t, "%s", missing)
	}
	// Not t.TempDir, whose paths are too long for Ceph's sockets.
	dir, err := os.MkdirTemp("/tmp", "whole") //nolint:usetesting // see above
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	ctx, cancel := context.WithTimeout(t.Context(), cephComes)
	defer cancel()
	began := time.Now()
	m, err := ministry.Up(ctx, ministry.Config{
		Dir: dir, Binary: os.Getenv(binaryEnv), OSDs: osds, Boxes: 2, Bucket: lessons, Every: 2 * time.Second, Lines: lines,
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := m.Close(); err != nil {
			t.Error(err)
		}
		if t.Failed() {
			for _, p := range append([]*ministry.Process{m.Central, m.Boxes[0].Process, m.Boxes[1].Process}, m.Servers...) {
				t.Logf("end of the log of %s:\n%s", p.Name, p.Tail())
			}
		}
	})
	t.Logf("a ministry is up after %v", time.Since(began).Round(time.Millisecond))
	c := &centre{Ministry: m, client: &http.Client{Timeout: 30 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}}}
	if c.Centre, err = m.Centre(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Centre.Close() }) // only connections
	return c
}

// file is one whose bytes are those of its seed.
type file struct {
	name string
	seed uint64
	size int
	sum  [sha256.Size]byte
}

// newFile is a file of 1 KiB to 3 MiB: as many small ones as large ones.
func newFile(rng *rand.Rand, name string) *file {
	f := &file{name: name, seed: rng.Uint64(), size: 1 << 10 << rng.IntN(12)}
	f.size = min(3<<20, f.size+rng.IntN(f.size))
	f.sum = sha256.Sum256(f.bytes())
	return f
}

func (f *file) bytes() []byte {
	var seed [32]byte
	for i := range 8 {
		seed[i] = byte(f.seed >> (8 * i))
	}
	p := make([]byte, f.size)
	rand.NewChaCha8(seed).Read(p)
	return p
}

// is reports whether these are the file's bytes.
func (f *file) is(p []byte) error {
	if sha256.Sum256(p) != f.sum {
		return fmt.Errorf("%s: %d other bytes, it has %d", f.name, len(p), f.size)
	}
	return nil
}

// deposit adds a file on a box, and returns its id once the box has it.
func (c *centre) deposit(ctx context.Context, b *ministry.Box, f *file) (string, error) {
	return b.Deposit(ctx, c.client, f.name, f.bytes())
}

// inCentre reports whether the box says that the centre keeps a deposit.
func (c *centre) inCentre(ctx context.Context, b *ministry.Box, id string) error {
	return b.InCentre(ctx, c.client, id)
}

// get asks a box for what must be there.
func (c *centre) get(ctx context.Context, b *ministry.Box, path string) ([]byte, error) {
	return b.Do(ctx, c.client, http.MethodGet, path, nil, http.StatusOK)
}

// key is where the centre keeps a deposit.
func key(b *ministry.Box, f *file) string { return b.Key(f.sum, f.name) }

// TestAMinistryWithCeph has one ministry for what does no harm to it.
func TestAMinistryWithCeph(t *testing.T) {
	t.Parallel()
	c := withCeph(t, 1, true)
	rng := seeded(t)
	t.Run("what the readme says", func(t *testing.T) { c.readme(t, rng) })
	t.Run("deposits wait for Ceph", func(t *testing.T) { c.waits(t, rng) })
}

// readme puts a file into Ceph with a tool that is not ours, has devices of two
// schools download it, and brings one back the other way while the box's line is
// cut.
func (c *centre) readme(t *testing.T, rng *rand.Rand) {
	t.Helper()
	ctx := t.Context()
	film := &file{name: "Les fractions.mp4", seed: rng.Uint64(), size: 9<<20 + 77}
	film.sum = sha256.Sum256(film.bytes())
	c.tool(t, film, "6e/"+film.name)
	var at string
	within(t, 60*time.Second, func() error {
		all, err := c.Published(ctx)
		if at = all["6e/"+film.name]; err == nil && at == "" {
			err = errors.New("it is not published")
		}
		return err
	})
	at = strings.ReplaceAll(at, " ", "%20")
	for _, b := range c.Boxes {
		within(t, 60*time.Second, func() error {
			got, err := c.get(ctx, b, at)
			if err == nil {
				err = film.is(got)
			}
			return err
		})
	}

	b := c.Boxes[0]
	if err := c.Cut(b); err != nil {
		t.Fatal(err)
	}
	defer c.Mend() // also for those who come after a failure
	offline := newFile(rng, "carte.pdf")
	id, err := c.deposit(ctx, b, offline)
	if err != nil {
		t.Fatalf("a deposit without a line: %v", err)
	}
	here, err := c.get(ctx, b, "/d/"+id+"/"+offline.name)
	if err != nil || offline.is(here) != nil {
		t.Errorf("it can't be had in the school: %v", err)
	}
	// The other school's goes through meanwhile, so the way is there.
	online := newFile(rng, "carte.pdf")
	other, err := c.deposit(ctx, c.Boxes[1], online)
	if err != nil {
		t.Fatal(err)
	}
	within(t, 60*time.Second, func() error { return c.inCentre(ctx, c.Boxes[1], other) })
	if keys, err := c.Deposited(ctx); err != nil || len(keys) != 1 || keys[0] != key(c.Boxes[1], online) {
		t.Errorf("without a line there is %q, %v", keys, err)
	}
	began := time.Now()
	c.Mend()
	// A box that lost all servers comes back within a minute.
	within(t, 3*time.Minute, func() error { return c.inCentre(ctx, b, id) })
	t.Logf("in the centre %v after the line came back", time.Since(began).Round(100*time.Millisecond))
	got, err := c.Object(ctx, ministry.Deposits, key(b, offline))
	if err == nil {
		err = offline.is(got)
	}
	if err != nil {
		t.Error(err)
	}
}

// tool puts a file into the bucket with s3cmd, or without it as we do.
func (c *centre) tool(t *testing.T, f *file, key string) {
	t.Helper()
	s3cmd, err := exec.LookPath("s3cmd")
	if err != nil {
		t.Log("s3cmd is not here (package s3cmd): the file is put with our own client")
		if err := c.Put(t.Context(), lessons, key, f.bytes(), store.Options{}); err != nil {
			t.Fatal(err)
		}
		return
	}
	local := path.Join(t.TempDir(), "file")
	if err := os.WriteFile(local, f.bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), s3cmd, "--config=/dev/null", "--no-ssl", "--host="+c.Host(), "--host-bucket="+c.Host(),
		"--access_key="+c.Ceph.AccessKey, "--secret_key="+c.Ceph.SecretKey, "--multipart-chunk-size-mb=5", "put", local, "s3://"+lessons+"/"+key)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
}
