//go:build system && linux

package whole_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"preau/node/whole/ministry"
	"preau/replication/central"
)

// goesOn is how long a deposit may take to go on when what it waited for is gone.
const goesOn = 75 * time.Second

// waits has Ceph refuse deposits, or take none, in every way that it has: each
// waits, says why where people look, and goes on by itself. No process is started
// anew.
func (c *centre) waits(t *testing.T, rng *rand.Rand) {
	t.Helper()
	ceph := c.Ceph
	command := func(args ...string) func(context.Context) error {
		return func(ctx context.Context) error { _, err := ceph.Command(ctx, args...); return err }
	}
	quota := func(bucket string, bytes int64) func(context.Context) error {
		return func(ctx context.Context) error { return ceph.SetQuota(ctx, bucket, bytes) }
	}
	tests := []struct {
		name       string
		begin, end func(context.Context) error
		why        string
	}{
		{"the account's quota is reached", quota("", 1), quota("", -1), central.WhyFull},
		{
			"the account is locked",
			func(ctx context.Context) error { return ceph.Suspend(ctx, true) },
			func(ctx context.Context) error { return ceph.Suspend(ctx, false) },
			central.WhyDenied,
		},
		{"the key is replaced", ceph.RenewKey, func(context.Context) error { return c.WriteKeys() }, central.WhyDenied},
		{"Ceph is full", func(ctx context.Context) error { return ceph.Fill(ctx, true) }, func(ctx context.Context) error { return ceph.Fill(ctx, false) }, central.WhyStalled},
		{"Ceph is paused", command("osd", "set", "pause"), command("osd", "unset", "pause"), central.WhyStalled},
	}
	for i, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
			defer cancel()
			if err := tt.begin(ctx); err != nil {
				t.Fatal(err)
			}
			began := time.Now()
			b := c.Boxes[i%len(c.Boxes)]
			f := newFile(rng, fmt.Sprintf("lesson-%d.pdf", i))
			id, err := c.deposit(t.Context(), b, f)
			if err != nil {
				t.Fatal(err)
			}
			within(t, 60*time.Second, func() error {
				err := c.inCentre(t.Context(), b, id)
				if err == nil {
					t.Fatal("it is in the centre, in spite of that")
				}
				if !strings.Contains(err.Error(), tt.why) {
					return err
				}
				return nil
			})
			said := time.Since(began)
			within(t, 20*time.Second, func() error { return c.statusSays(t.Context(), tt.why) })
			if err := tt.end(t.Context()); err != nil {
				t.Fatal(err)
			}
			began = time.Now()
			within(t, goesOn, func() error { return c.inCentre(t.Context(), b, id) })
			t.Logf("said why after %v, in the centre %v after the cause was gone", said.Round(100*time.Millisecond), time.Since(began).Round(100*time.Millisecond))
			within(t, 10*time.Second, func() error { // our own client learns of a new key, too
				got, err := c.Object(t.Context(), ministry.Deposits, key(b, f))
				if err == nil {
					err = f.is(got)
				}
				return err
			})
		})
	}
}

// statusSays reports whether preau status says why the oldest deposit waits.
func (c *centre) statusSays(ctx context.Context, why string) error {
	s, err := c.Centre.Operator.Status(ctx)
	if err == nil && s.Waiting.Reason != why {
		err = fmt.Errorf("status says that %d deposits wait for %q", s.Waiting.Count, s.Waiting.Reason)
	}
	return err
}
