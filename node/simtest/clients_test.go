package simtest_test

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/anishathalye/porcupine"

	"preau/cache/block"
	"preau/replication/catalogue"
	"preau/replication/identity"
)

// call is a command that somebody had the region decide on.
type call struct {
	id           catalogue.CommandID
	began, ended time.Duration
	acked, lost  bool
	result       catalogue.Result
}

// access is what was done to a register: the policy of a school.
type access struct {
	write    bool
	old, new int64 // old 0 writes whatever there is
}

// seen is what came of it.
type seen struct {
	value            int64
	refused, unknown bool
}

// unsaid is what a register has before anything is known of it.
const unsaid = int64(-1)

// register allows what a register does; of a write whose outcome is unknown
// either may be true.
var register = porcupine.Model{
	Init: func() any { return unsaid },
	Step: func(state, input, output any) (bool, any) {
		s, ok := state.(int64)
		in, ok1 := input.(access)
		out, ok2 := output.(seen)
		switch {
		case !ok || !ok1 || !ok2:
			return false, state
		case !in.write:
			return s == unsaid || out.value == s, out.value
		case in.old != 0 && s == unsaid:
			// Nothing is known yet: it may have been either.
			if out.refused || out.unknown {
				return true, s
			}
			return true, in.new
		case in.old != 0 && in.old != s:
			return out.refused || out.unknown, s
		default:
			return !out.refused, in.new
		}
	},
	DescribeOperation: func(in, out any) string { return fmt.Sprintf("%+v -> %+v", in, out) },
}

// registerKey is one register in one life of the region.
type registerKey struct {
	school identity.School
	life   int
}

// anyServer is a server that runs, nil if none does.
func (w *world) anyServer(rng *rand.Rand) *running {
	from := rng.IntN(len(w.servers))
	for i := range w.servers {
		if r := w.servers[(from+i)%len(w.servers)].run.Load(); r != nil {
			return r
		}
	}
	return nil
}

// command has the region decide on ops, whichever servers it takes.
func (w *world) command(ctx context.Context, rng *rand.Rand, ops ...catalogue.Op) (catalogue.Result, bool) {
	r := w.anyServer(rng)
	if r == nil {
		return catalogue.Result{}, false
	}
	cmd := catalogue.NewCommand("operator/sim", r.s.now(), ops...)
	data, err := catalogue.Encode(cmd)
	if err != nil {
		w.fail("encode command: %v", err)
		return catalogue.Result{}, false
	}
	c := call{id: cmd.ID, began: time.Since(w.born)}
	for range 4 {
		if r != nil {
			if c.result, err = r.submit(ctx, data); err == nil {
				c.acked = true
				break
			}
		}
		if !again(ctx) {
			break
		}
		r = w.anyServer(rng)
	}
	c.ended = time.Since(w.born)
	w.mu.Lock()
	defer w.mu.Unlock()
	w.calls = append(w.calls, c)
	return c.result, c.acked
}

func put(w *world, f catalogue.Fact) catalogue.Op {
	op, err := catalogue.NewPut(f)
	if err != nil {
		w.fail("put: %v", err)
	}
	return op
}

// client asks for one thing after another until ctx ends.
func (w *world) client(ctx context.Context, id, life int, seed uint64) {
	rng := rand.New(rand.NewPCG(seed, uint64(id)))
	last := map[identity.School]catalogue.Record{}
	for again(ctx) {
		time.Sleep(time.Duration(rng.IntN(1200)) * time.Millisecond)
		if ctx.Err() != nil {
			return
		}
		if rng.IntN(2) == 0 {
			w.access(ctx, rng, id, life, last)
			continue
		}
		w.command(ctx, rng, w.wish(rng)...)
	}
}

// access reads or writes a register. No value is written twice: a condition is on
// the version that was read, and stands in the model for the value.
func (w *world) access(ctx context.Context, rng *rand.Rand, id, life int, last map[identity.School]catalogue.Record) {
	school := w.schools[rng.IntN(len(w.schools))]
	began := time.Since(w.born)
	op := porcupine.Operation{ClientId: id, Call: int64(began)}
	if rng.IntN(2) == 0 {
		rec, err := w.read(ctx, rng, school)
		if err != nil {
			return
		}
		last[school] = rec
		op.Input, op.Output = access{}, seen{value: valueOf(rec)}
	} else {
		value := w.values.Add(1)
		in := access{write: true, new: value}
		change := put(w, catalogue.Policy{School: school, PrefetchRate: value})
		if rec := last[school]; rec.Index > 0 && rng.IntN(2) == 0 {
			in.old = valueOf(rec)
			change.Put.If = &rec.Index
		}
		result, ok := w.command(ctx, rng, change)
		op.Input, op.Output = in, seen{unknown: !ok, refused: result.Code == catalogue.CodeConflict}
		if !ok {
			op.Return = 1 << 60 // it may take effect at any time from now on
		}
	}
	if op.Return == 0 {
		op.Return = int64(time.Since(w.born))
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	k := registerKey{school, life}
	w.accesses[k] = append(w.accesses[k], op)
}

func valueOf(r catalogue.Record) int64 {
	if r.Index == 0 {
		return 0
	}
	p, err := catalogue.Body[catalogue.Policy](r)
	if err != nil {
		return 0
	}
	return p.PrefetchRate
}

// read shows a policy as of now, on whichever server.
func (w *world) read(ctx context.Context, rng *rand.Rand, school identity.School) (rec catalogue.Record, err error) {
	r := w.anyServer(rng)
	if r == nil {
		return rec, errors.New("no server runs")
	}
	if err := r.consistent(ctx); err != nil {
		return rec, err
	}
	v, err := r.state.View()
	if err != nil {
		return rec, err
	}
	defer func() { err = errors.Join(err, v.Close()) }()
	rec, err = v.Get(catalogue.KindPolicy, string(school))
	if errors.Is(err, catalogue.ErrNotFound) {
		return catalogue.Record{}, nil
	}
	return rec, err
}

func (w *world) audience(rng *rand.Rand) []identity.School {
	if rng.IntN(3) == 0 {
		return nil
	}
	var out []identity.School
	for _, s := range w.schools {
		if rng.IntN(2) == 0 {
			out = append(out, s)
		}
	}
	return out
}

// wish is what an operator, a box or a server might want.
func (w *world) wish(rng *rand.Rand) []catalogue.Op {
	one := func(f catalogue.Fact) []catalogue.Op { return []catalogue.Op{put(w, f)} }
	resource := fmt.Sprint("r", rng.IntN(40))
	collection := fmt.Sprint("c", rng.IntN(4))
	switch rng.IntN(20) {
	case 0, 1, 2, 3, 4:
		var ops []catalogue.Op
		for range 1 + rng.IntN(3) {
			ops = append(ops, put(w, w.resource(rng, fmt.Sprint("r", rng.IntN(40)), collection)))
		}
		return ops
	case 5:
		return []catalogue.Op{catalogue.NewDelete(catalogue.KindResource, resource)}
	case 6, 7:
		return one(catalogue.Collection{ID: collection, Title: fmt.Sprint("T", rng.IntN(100)), Audience: w.audience(rng)})
	case 8:
		return one(catalogue.Pin{ID: fmt.Sprint("pin", rng.IntN(6)), Resource: resource, Schools: w.audience(rng)})
	case 9:
		return []catalogue.Op{{Delete: &catalogue.Delete{Kind: catalogue.KindPin, ID: fmt.Sprint("pin", rng.IntN(6)), Missing: true}}}
	case 10:
		return one(catalogue.Subscription{ID: fmt.Sprint("sub", rng.IntN(6)), School: w.schools[rng.IntN(len(w.schools))], Collection: collection})
	case 11:
		return one(catalogue.Purge{ID: w.id("p"), Scope: catalogue.ScopeResource, Target: resource})
	case 12:
		return one(catalogue.Purge{ID: w.id("p"), Scope: catalogue.ScopeCollection, Target: collection})
	case 13:
		return []catalogue.Op{{Count: &catalogue.Count{Box: "box-0", Number: uint64(time.Since(w.born)), Counts: []catalogue.Tally{{Key: "r/" + resource, N: 3}}}}}
	case 14:
		return one(catalogue.Hints{Keys: []catalogue.Hint{{Key: "r/" + resource, Sum: uint64(rng.IntN(1000))}}})
	case 15:
		b := w.boxes[rng.IntN(len(w.boxes))]
		if rng.IntN(2) == 0 {
			return []catalogue.Op{{Delete: &catalogue.Delete{Kind: catalogue.KindRevocation, ID: catalogue.RevocationID(identity.Box, string(b.id.Name)), Missing: true}}}
		}
		if rng.IntN(3) > 0 {
			return one(catalogue.Policy{KAnonymity: rng.IntN(100)})
		}
		return one(catalogue.Revocation{Role: identity.Box, Name: string(b.id.Name), Reason: fmt.Sprint(rng.IntN(100))})
	default:
		return []catalogue.Op{w.purge(rng)}
	}
}

// purge makes an object's new version and the purge of the old one.
func (w *world) purge(rng *rand.Rand) catalogue.Op {
	o := objects[rng.IntN(len(objects))]
	p := catalogue.Purge{ID: w.id("p"), Scope: catalogue.ScopeExact, Site: o.site, Mark: o.mark()}
	if rng.IntN(4) == 0 {
		p.Scope, p.Mark = catalogue.ScopeSite, [8]byte{}
	}
	w.origin.change(p)
	return put(w, p)
}

func (w *world) resource(rng *rand.Rand, id, collection string) catalogue.Resource {
	digest := block.Digest(sha256.Sum256([]byte(w.id("body"))))
	r := catalogue.Resource{
		ID: id, Collection: collection, Title: w.id("title"), Filename: "a.pdf", ContentType: "application/pdf",
		Length: 1000, SHA256: digest, Blocks: []block.Digest{digest}, Modified: w.born.UTC(),
	}
	if rng.IntN(2) == 0 {
		r.Audience = w.audience(rng)
	}
	return r
}
