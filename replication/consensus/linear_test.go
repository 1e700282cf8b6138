package consensus_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/anishathalye/porcupine"

	"preau/replication/consensus"
	"preau/replication/consensus/consensustest"
)

// op is one thing that was done to the register.
type op struct {
	write    bool
	old, new string // old "" writes whatever there is
}

// seen is what came of it.
type seen struct {
	value   string
	refused bool
	unknown bool
}

// register allows what a register does; of a write whose outcome is unknown
// either may be true.
var register = porcupine.Model{
	Init: func() any { return "" },
	Step: func(state, input, output any) (bool, any) {
		s, in, out := state.(string), input.(op), output.(seen)
		switch {
		case !in.write:
			return out.value == s, s
		case in.old != "" && in.old != s:
			return out.refused || out.unknown, s
		default:
			return !out.refused, in.new
		}
	},
	DescribeOperation: func(in, out any) string { return fmt.Sprintf("%+v -> %+v", in, out) },
}

// world is a cluster to which bad things happen.
type world struct {
	*cluster
	mu   sync.Mutex // of what the servers are, which change under the clients
	rng  *rand.Rand
	ops  []porcupine.Operation
	born time.Time
}

func (w *world) node(i int) (*consensus.Node, *consensustest.Machine) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.servers[i].node, w.servers[i].machine
}

func (w *world) record(client int, in op, out seen, call int64) {
	w.mu.Lock()
	defer w.mu.Unlock()
	end := int64(time.Since(w.born))
	if out.unknown {
		end = 1 << 60 // it may take effect at any time from now on
	}
	w.ops = append(w.ops, porcupine.Operation{ClientId: client, Input: in, Output: out, Call: call, Return: end})
}

// client reads and writes through random servers until ctx ends.
func (w *world) client(ctx context.Context, id int, seed uint64) {
	rng := rand.New(rand.NewPCG(seed, uint64(id)))
	last := ""
	for n := 0; ctx.Err() == nil; n++ {
		pass(time.Duration(rng.IntN(100)) * time.Millisecond)
		node, machine := w.node(rng.IntN(len(w.servers)))
		if node == nil {
			continue
		}
		call := int64(time.Since(w.born))
		if rng.IntN(2) == 0 {
			limit, cancel := context.WithTimeout(ctx, 5*time.Second)
			_, err := node.ReadIndex(limit)
			cancel()
			if err == nil {
				last, _ = machine.Get("r")
				w.record(id, op{}, seen{value: last}, call)
			}
			continue
		}
		in := op{write: true, new: fmt.Sprintf("%d.%d", id, n)}
		cmd := consensustest.Command{ID: in.new, Key: "r", Value: in.new}
		if rng.IntN(2) == 0 && last != "" {
			in.old = last
			cmd.Old = &in.old
		}
		limit, cancel := context.WithTimeout(ctx, 5*time.Second)
		res, _, err := node.Apply(limit, cmd.Encode())
		cancel()
		refusal, _ := res.(error)
		switch {
		case errors.Is(err, consensus.ErrNotLeader), errors.Is(err, consensus.ErrStopped):
			// Not kept, but a stop in the middle may be either: say so.
			if errors.Is(err, consensus.ErrStopped) {
				w.record(id, in, seen{unknown: true}, call)
			}
		case err != nil:
			w.record(id, in, seen{unknown: true}, call)
		case errors.Is(refusal, consensustest.ErrMismatch):
			w.record(id, in, seen{refused: true}, call)
		default:
			last = in.new
			w.record(id, in, seen{}, call)
		}
	}
}

// harm does one bad thing.
func (w *world) harm() {
	i := w.rng.IntN(len(w.servers))
	s := w.servers[i]
	var rest []string
	for _, o := range w.servers {
		if o != s {
			rest = append(rest, o.cfg.Address)
		}
	}
	switch w.rng.IntN(6) {
	case 0:
		w.net.Part([]string{s.cfg.Address}, rest)
	case 1:
		w.net.Cut(s.cfg.Address, rest[w.rng.IntN(len(rest))])
	case 2:
		w.net.SetDelay(0, time.Duration(w.rng.IntN(200))*time.Millisecond)
		w.net.SetLoss(w.rng.Float64() / 5)
	case 3:
		w.net.Heal()
		w.net.SetDelay(0, 0)
		w.net.SetLoss(0)
	case 4:
		w.mu.Lock()
		node := s.node
		w.mu.Unlock()
		if node != nil {
			ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
			// It may be no leader, which is nothing bad.
			_ = node.TransferLeadership(ctx, "")
			cancel()
		}
	case 5:
		w.mu.Lock()
		running := s.node != nil
		w.mu.Unlock()
		if !running {
			return
		}
		if w.rng.IntN(2) == 0 {
			w.swap(s, (*server).halt)
		} else {
			w.swap(s, (*server).kill)
			w.net.Heal()
		}
		pass(time.Duration(w.rng.IntN(3000)) * time.Millisecond)
		w.swap(s, (*server).start)
	}
}

// swap changes a server beside the clients: they see it as it was until it is
// as it will be.
func (w *world) swap(s *server, f func(*server)) {
	c := *s
	f(&c)
	w.mu.Lock()
	defer w.mu.Unlock()
	*s = c
}

func TestARegisterIsLinearizable(t *testing.T) {
	seeds := uint64(60)
	if testing.Short() {
		seeds = 2
	}
	for seed := range seeds {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := &world{cluster: begin(t, 3, 3, small), rng: rand.New(rand.NewPCG(seed, 0)), born: time.Now()}
				ctx, cancel := context.WithTimeout(t.Context(), 45*time.Second)
				defer cancel()
				var clients sync.WaitGroup
				for i := range 4 {
					clients.Go(func() { w.client(ctx, i, seed) })
				}
				for ctx.Err() == nil {
					pass(time.Duration(w.rng.IntN(3000)) * time.Millisecond)
					w.harm()
				}
				clients.Wait()
				w.net.Heal()
				w.net.SetDelay(0, 0)
				w.net.SetLoss(0)
				w.set("r", "end")
				w.same()
				w.halt()
				if len(w.ops) < 50 {
					t.Errorf("only %d operations", len(w.ops))
				}
				if res := porcupine.CheckOperationsTimeout(register, w.ops, time.Hour); res != porcupine.Ok {
					t.Errorf("%d operations are not linearizable: %v", len(w.ops), res)
				}
			})
		})
	}
}
