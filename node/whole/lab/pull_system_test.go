//go:build system && linux

package lab_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"preau/node/whole/ministry"
)

// signer is who signs what boxes of the region run: a key of GnuPG's in a folder.
type signer struct{ home, public string }

func newSigner(t *testing.T, dir string) signer {
	t.Helper()
	s := signer{filepath.Join(dir, "gnupg"), filepath.Join(dir, "update.gpg")}
	if err := os.Mkdir(s.home, 0o700); err != nil {
		t.Fatal(err)
	}
	s.run(t, "--passphrase", "", "--quick-generate-key", "Updates <updates@example.org>", "ed25519", "sign", "never")
	s.run(t, "--export", "--output", s.public)
	return s
}

// run runs gpg. Its agent ends with the namespace.
func (s signer) run(t *testing.T, args ...string) {
	t.Helper()
	c := exec.CommandContext(t.Context(), "gpg", append([]string{"--homedir", s.home, "--batch", "--quiet"}, args...)...)
	if out, err := c.CombinedOutput(); err != nil {
		t.Fatalf("gpg %s: %v: %s", strings.Join(args, " "), err, out)
	}
}

// pull publishes the second version for boxes, signed. In their schools, where nobody
// reaches them, they take it from their region.
func (o *hosts) pull(t *testing.T, c *country) {
	t.Helper()
	files := []string{packageOf(o.packages, first), packageOf(o.packages, second)}
	operate := func(args ...string) []byte {
		t.Helper()
		ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
		defer cancel()
		out, err := c.Command(ctx, args...)
		if err != nil {
			t.Fatal(err)
		}
		return out
	}
	publish := func(file, id string) {
		t.Helper()
		operate("publish", file, "--collection", "updates", "--id", id, "--as", c.Ministry.Operator, "--json")
	}
	plan := filepath.Join(c.dir, "plan")
	if err := os.WriteFile(plan, operate(append([]string{"update", "plan", "--serial", "1"}, files...)...), 0o600); err != nil {
		t.Fatal(err)
	}
	o.signer.run(t, "--clearsign", "--output", plan+".asc", plan)
	var size int64
	for _, file := range files {
		publish(file, filepath.Base(file))
		info, err := os.Stat(file)
		if err != nil {
			t.Fatal(err)
		}
		size += info.Size()
	}
	publish(plan+".asc", "preau-updates")
	before := c.schools[0].line.Crossed(t)
	// The first boxes of both schools at once, then the second ones: a school is served
	// meanwhile.
	for n := range each {
		errs := make([]error, len(c.schools))
		var wg sync.WaitGroup
		for i, s := range c.schools {
			wg.Go(func() { errs[i] = c.take(t, s.boxes[n]) })
		}
		wg.Wait()
		if err := errors.Join(errs...); err != nil {
			t.Fatal(err)
		}
	}
	c.did(t, "each box takes the new version from its region, and is well with it", "signed, over its school's slow line: of two packages, %s together, %s came down to the two boxes of school 1",
		megabytes(size), megabytes(c.schools[0].line.Crossed(t).Since(before).Down))
}

// take has a box take what its region wants, now and not at night, and is nil once it
// runs the second version.
func (c *country) take(t *testing.T, b *ministry.Box) error {
	t.Helper()
	m, ok := b.Machine.(*machine)
	if !ok {
		return fmt.Errorf("%s is no host", b.Name)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	defer cancel()
	again := time.NewTicker(200 * time.Millisecond)
	defer again.Stop()
	for { // until it has heard of it
		text, err := c.look(ctx, b.Name, "/published/preau-updates")
		if err == nil && strings.Contains(string(text), "serial = 1\n") {
			break
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%s knows of no new version: %w: %.300s", b.Name, err, text)
		case <-again.C:
		}
	}
	said, err := m.host.Run(t, "preau", "update", "now", "--steady", "5s")
	if err != nil {
		return fmt.Errorf("%w: %s", err, said)
	}
	if got, err := c.version(ctx, b.Name); err != nil || got != "v"+second {
		return fmt.Errorf("%s runs %q after an update, %w: %s", b.Name, got, err, said)
	}
	return nil
}
