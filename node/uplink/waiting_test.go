package uplink_test

import (
	"fmt"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"preau/replication/catalogue"
	"preau/replication/central"
	"preau/replication/central/store"
)

// What the centre's store does not take waits, and everybody is told why at
// once. The store is not asked for each of them, and all go on by themselves when
// it takes something again.
func TestAStoreInTroubleIsNoDepositsFault(t *testing.T) {
	tests := map[string]struct {
		kind error
		why  string
	}{
		"full":    {fmt.Errorf("%w: %w", central.ErrFull, store.ErrFull), central.WhyFull},
		"denied":  {fmt.Errorf("%w: %w", central.ErrDenied, store.ErrDenied), central.WhyDenied},
		"stalled": {fmt.Errorf("%w: %w", central.ErrStalled, store.ErrUnavailable), central.WhyStalled},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				g, r := newGateway(t), newRegion(t)
				const many = 40
				for i := range many {
					deposited(t, r, fmt.Sprint("d-", i), "a.txt", fmt.Append(nil, i))
				}
				var asked atomic.Int64
				g.hurdle = func(central.Deposit) error {
					// What differs from try to try is not written down each time.
					return fmt.Errorf("%w: try %d", tt.kind, asked.Add(1))
				}
				beginOver(t, r, inside{h: g.handler()})
				all := func(ok func(catalogue.Deposit) bool) (n int) {
					for _, d := range list[catalogue.Deposit](r, catalogue.KindDeposit) {
						if ok(d) {
							n++
						}
					}
					return n
				}
				time.Sleep(time.Minute) //nolint:forbidigo // in a bubble
				if n := all(func(d catalogue.Deposit) bool { return d.Waiting == tt.why }); n != many {
					t.Errorf("after a minute %d of %d say why they wait", n, many)
				}
				index := r.commands()
				time.Sleep(time.Hour) //nolint:forbidigo // in a bubble
				if n := asked.Load(); n > 3*120*rising {
					t.Errorf("a store in trouble was asked %d times in an hour", n)
				}
				if n := r.commands() - index; n != 0 {
					t.Errorf("%d commands to say the same again", n)
				}
				g.mu.Lock()
				g.hurdle = nil
				g.mu.Unlock()
				time.Sleep(61 * time.Second) //nolint:forbidigo // in a bubble
				if n := all(func(d catalogue.Deposit) bool { return d.Kept && d.Waiting == "" }); n != many {
					t.Errorf("a minute after it takes something again %d of %d are kept", n, many)
				}
			})
		})
	}
}

// Large files that a quota does not let in keep no small ones out.
func TestWhatFitsPassesWhatDoesNot(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g, r := newGateway(t), newRegion(t)
		for i := range 40 {
			deposited(t, r, fmt.Sprintf("d-%02d", i), "large.txt", noise(byte(i), 100))
		}
		small := deposited(t, r, "d-99", "small.txt", []byte("s"))
		g.hurdle = func(d central.Deposit) error {
			if d.Length > 10 {
				return fmt.Errorf("%w: %w", central.ErrFull, store.ErrFull)
			}
			return nil
		}
		beginOver(t, r, inside{h: g.handler()})
		time.Sleep(10 * time.Minute) //nolint:forbidigo // in a bubble
		if d, ok, err := get[catalogue.Deposit](r, catalogue.KindDeposit, small.ID); err != nil || !ok || !d.Kept {
			t.Errorf("it waits for %q, %v", d.Waiting, err)
		}
	})
}
