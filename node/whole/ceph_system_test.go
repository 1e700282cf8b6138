//go:build system && linux

package whole_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"os"
	"os/exec"
	"path"
	"strings"
	"testing"
	"time"

	"preau/node/control"
	"preau/node/whole/ministry"
	"preau/replication/central/cephtest"
	"preau/replication/central/s3store"
	"preau/replication/central/store"
)

const (
	lessons   = "lessons" // the bucket that is watched
	cephComes = 3 * time.Minute
)

// centre is a whole ministry of real processes, as its people see it.
type centre struct {
	*ministry.Ministry
	store    store.Store // Ceph, as any S3 tool sees it
	operator *control.Client
	client   *http.Client
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
	cfg := s3store.DefaultConfig()
	cfg.Endpoint, cfg.Region = m.Ceph.Endpoint, m.Ceph.Region
	cfg.Keys = func(context.Context) (s3store.Key, error) {
		return s3store.Key{ID: m.Ceph.AccessKey, Secret: m.Ceph.SecretKey}, nil
	}
	s3, err := s3store.New(cfg, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s3.Close() }) // only connections
	c.store = s3
	if c.operator, err = control.Open(m.Operator, nil); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.operator.Close() }) // only connections
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

// refused is a status that is not the one that was to be.
type refused struct {
	status int
	said   string
}

// Error implements error.
func (r refused) Error() string { return fmt.Sprintf("%d: %s", r.status, r.said) }

func (c *centre) do(ctx context.Context, method, url string, body []byte, want int, fields ...string) ([]byte, error) {
	req, err := http.NewRequestWithContext(ctx, method, url, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	for i := 0; i < len(fields); i += 2 {
		req.Header.Set(fields[i], fields[i+1])
	}
	resp, err := c.client.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	got, err := io.ReadAll(resp.Body)
	if err == nil && resp.StatusCode != want {
		err = refused{resp.StatusCode, string(got[:min(len(got), 300)])}
	}
	return got, err
}

// deposit adds a file on a box, and returns its id once the box has it.
func (c *centre) deposit(ctx context.Context, b *ministry.Box, f *file) (string, error) {
	token, err := os.ReadFile(b.TokenFile())
	if err != nil {
		return "", err
	}
	got, err := c.do(ctx, http.MethodPut, b.URL+"/d/"+f.name, f.bytes(), http.StatusCreated, "Authorization", "Bearer "+strings.TrimSpace(string(token)))
	if err != nil {
		return "", err
	}
	var d struct{ ID string }
	if err := json.Unmarshal(got, &d); err != nil || d.ID == "" {
		return "", fmt.Errorf("the box answers %q (%w)", got, err)
	}
	return d.ID, nil
}

// inCentre reports whether the box says that the centre keeps a deposit.
func (c *centre) inCentre(ctx context.Context, b *ministry.Box, id string) error {
	got, err := c.do(ctx, http.MethodGet, b.URL+"/d/"+id, nil, http.StatusOK)
	if err != nil {
		return err
	}
	var d struct{ State, Waiting string }
	if err := json.Unmarshal(got, &d); err != nil {
		return err
	}
	if d.State != "central" {
		return fmt.Errorf("%s of %s is at %q: %s", id, b.Name, d.State, d.Waiting)
	}
	return nil
}

// key is where the centre keeps a deposit.
func key(b *ministry.Box, f *file) string {
	return fmt.Sprintf("%s/%x/%s", b.School, f.sum[:16], f.name)
}

// deposited lists the bucket of deposits.
func (c *centre) deposited(ctx context.Context) ([]string, error) {
	var keys []string
	for after := ""; ; {
		p, err := c.store.List(ctx, ministry.Deposits, "", after, store.MaxPage)
		if err != nil {
			return nil, err
		}
		for _, o := range p.Objects {
			keys = append(keys, o.Key)
		}
		if after = p.Next; after == "" {
			return keys, nil
		}
	}
}

// object reads an object from Ceph.
func (c *centre) object(ctx context.Context, bucket, key string) ([]byte, error) {
	body, _, err := c.store.Get(ctx, bucket, key, 0, -1, "")
	if err != nil {
		return nil, err
	}
	p, err := io.ReadAll(body)
	return p, errors.Join(err, body.Close())
}

// published is where boxes serve what the catalogue has of the bucket, by its
// key there. Two of one key are an error.
func (c *centre) published(ctx context.Context) (map[string]string, error) {
	out := map[string]string{}
	for rec, err := range c.operator.Records(ctx, "resources") {
		if err != nil {
			return nil, err
		}
		value, ok := rec.Value.(map[string]any)
		if !ok {
			return nil, fmt.Errorf("%+v", rec)
		}
		key, ok := value["key"].(string)
		if !ok || out[key] != "" {
			return nil, fmt.Errorf("the catalogue has %q twice, or no key: %+v", key, rec)
		}
		out[key] = "/r/" + rec.ID + "/" + path.Base(key)
	}
	return out, nil
}

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
		all, err := c.published(ctx)
		if at = all["6e/"+film.name]; err == nil && at == "" {
			err = errors.New("it is not published")
		}
		return err
	})
	at = strings.ReplaceAll(at, " ", "%20")
	for _, b := range c.Boxes {
		within(t, 60*time.Second, func() error {
			got, err := c.do(ctx, http.MethodGet, b.URL+at, nil, http.StatusOK)
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
	here, err := c.do(ctx, http.MethodGet, b.URL+"/d/"+id+"/"+offline.name, nil, http.StatusOK)
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
	if keys, err := c.deposited(ctx); err != nil || len(keys) != 1 || keys[0] != key(c.Boxes[1], online) {
		t.Errorf("without a line there is %q, %v", keys, err)
	}
	began := time.Now()
	c.Mend()
	// A box that lost all servers comes back within a minute.
	within(t, 3*time.Minute, func() error { return c.inCentre(ctx, b, id) })
	t.Logf("in the centre %v after the line came back", time.Since(began).Round(100*time.Millisecond))
	got, err := c.object(ctx, ministry.Deposits, key(b, offline))
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
		if _, err := c.store.Put(t.Context(), lessons, key, bytes.NewReader(f.bytes()), int64(f.size), store.Options{}, store.Condition{}); err != nil {
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
