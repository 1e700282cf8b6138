package uplink_test

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"preau/cache/block"
	"preau/node/uplink"
	"preau/replication/catalogue"
	"preau/replication/central"
	"preau/replication/central/store"
	"preau/replication/hold"
	"preau/replication/identity"
)

const school = identity.School("0690001A")

func noise(seed byte, n int) []byte {
	b := make([]byte, n)
	_, _ = rand.NewChaCha8([32]byte{seed}).Read(b) // never fails
	return b
}

func TestABucketBecomesResources(t *testing.T) {
	g, r := newGateway(t), newRegion(t)
	begin(t, r, g)
	o := g.publish("6e/Leçon d'été.pdf", noise(1, 3<<20), central.Meta{
		Title: "Été", Collection: "Français 6e", ContentType: "application/pdf", Audience: []identity.School{school},
	})
	g.publish("empty.txt", nil, central.Meta{})
	until(t, "two resources", func() bool { return len(list[catalogue.Resource](r, catalogue.KindResource)) == 2 })
	got, ok, err := r.Resource(central.ResourceID("lecons", o.Key))
	if err != nil || !ok {
		t.Fatal(ok, err)
	}
	if got.Filename != "Leçon d'été.pdf" || got.Title != "Été" || got.Collection != "francais-6e" || got.SHA256 != o.SHA256 ||
		got.ETag != o.ETag || !got.Modified.Equal(o.Modified) || got.Manifest != o.List || !got.Listed || got.Bucket != "lecons" || got.Key != o.Key ||
		len(got.Audience) != 1 {
		t.Errorf("%+v", got)
	}
	// Another version, then none.
	v2 := g.publish(o.Key, noise(2, 1<<20), central.Meta{Collection: "Français 6e"})
	until(t, "the new version", func() bool {
		got, _, err := r.Resource(central.ResourceID("lecons", o.Key))
		return err == nil && got.SHA256 == v2.SHA256
	})
	g.remove(o.Key)
	until(t, "its end", func() bool { return len(list[catalogue.Resource](r, catalogue.KindResource)) == 1 })
	until(t, "the place written down", func() bool { s, _, _ := r.Source("lecons"); return s.Seq == 4 && s.Epoch == "one" })
}

func TestAnotherUplinkGoesOnWhereOneWas(t *testing.T) {
	g, r := newGateway(t), newRegion(t)
	for i := range 450 {
		g.publish(fmt.Sprintf("f%03d", i), []byte{1}, central.Meta{})
	}
	t.Run("first", func(t *testing.T) {
		begin(t, r, g)
		until(t, "the history", func() bool { s, _, _ := r.Source("lecons"); return s.Seq == 450 })
	})
	index := r.index
	g.publish("more", []byte{2}, central.Meta{})
	begin(t, r, g)
	until(t, "one more", func() bool { s, _, _ := r.Source("lecons"); return s.Seq == 451 })
	if n := r.index - index; n != 2 {
		t.Errorf("%d commands for one change, want it and its place", n)
	}
}

func TestWhatIsNotInANewHistoryIsGone(t *testing.T) {
	g, r := newGateway(t), newRegion(t)
	for i := range 5 {
		g.publish(fmt.Sprintf("old%d", i), []byte{1}, central.Meta{})
	}
	begin(t, r, g)
	until(t, "the old history", func() bool { s, _, _ := r.Source("lecons"); return s.Seq == 5 })
	g.mu.Lock()
	g.epoch, g.changes = "two", nil
	g.mu.Unlock()
	g.publish("old3", []byte{1}, central.Meta{})
	g.publish("new", []byte{1}, central.Meta{})
	until(t, "the new history", func() bool { s, _, _ := r.Source("lecons"); return s.Epoch == "two" && s.Seq == 2 })
	var keys []string
	for _, res := range list[catalogue.Resource](r, catalogue.KindResource) {
		keys = append(keys, res.Key)
	}
	if len(keys) != 2 {
		t.Errorf("%v are left, want old3 and new", keys)
	}
}

// A history that was only written anew costs the region one command, and one in
// which an older version comes first ends with the present one.
func TestAHistoryWrittenAnewIsNoNews(t *testing.T) {
	g, r := newGateway(t), newRegion(t)
	for i := range 20 {
		g.publish(fmt.Sprintf("f%02d", i), []byte{1}, central.Meta{})
	}
	g.publish("f00", []byte{2}, central.Meta{})
	begin(t, r, g)
	until(t, "the old history", func() bool { s, _, _ := r.Source("lecons"); return s.Seq == 21 })
	before := r.commands()
	g.mu.Lock()
	compacted := slices.Clone(g.changes[1:])
	g.mu.Unlock()
	for i := range compacted {
		compacted[i].Seq = uint64(i + 1)
	}
	g.anew("two", compacted)
	until(t, "the new history", func() bool { s, _, _ := r.Source("lecons"); return s.Epoch == "two" && s.Seq == 20 })
	if n := r.commands() - before; n != 1 {
		t.Errorf("%d commands for a history that says the same", n)
	}
	g.anew("three", nil)
	for _, v := range []byte{1, 2} {
		g.publish("f00", []byte{v}, central.Meta{})
	}
	until(t, "another one", func() bool { s, _, _ := r.Source("lecons"); return s.Epoch == "three" && s.Seq == 2 })
	if got, _, err := r.Resource(central.ResourceID("lecons", "f00")); err != nil || got.SHA256 != block.Sum([]byte{2}) {
		t.Errorf("it ends with another version: %+v, %v", got, err)
	}
}

func TestWhatIsNotSignedIsLeftOut(t *testing.T) {
	g, r := newGateway(t), newRegion(t)
	other := newGateway(t)
	forged := other.publish("a", []byte("forged"), central.Meta{})
	g.tell(other.changes[0], nil)
	g.publish("b", []byte("b"), central.Meta{Title: strings.Repeat("x", 4000)}) // more than a title may be
	g.publish("c", []byte("c"), central.Meta{})
	begin(t, r, g)
	until(t, "the history", func() bool { s, _, _ := r.Source("lecons"); return s.Seq == 3 })
	if _, there, _ := r.Resource(central.ResourceID("lecons", forged.Key)); there {
		t.Error("a forged change was taken")
	}
	if n := len(list[catalogue.Resource](r, catalogue.KindResource)); n != 2 {
		t.Errorf("%d resources, want b, for all its title, and c", n)
	}
}

func TestABlockCrossesOnce(t *testing.T) {
	g, r := newGateway(t), newRegion(t)
	body := noise(3, 3<<20)
	o := g.publish("film", body, central.Meta{})
	id := central.ResourceID("lecons", o.Key)
	t.Run("the resource", func(t *testing.T) {
		begin(t, r, g)
		until(t, "the resource", func() bool { _, ok, _ := r.Resource(id); return ok })
	})
	entries, err := hold.DecodeList(g.lists[o.List], o.Length)
	if err != nil {
		t.Fatal(err)
	}
	synctest.Test(t, func(t *testing.T) {
		var gate chan struct{}
		rt := inside{h: g.handler(), gate: &gate}
		u, err := uplink.New(uplink.Config{}, r, rt, rt, quiet, prometheus.NewRegistry())
		if err != nil {
			t.Fatal(err)
		}
		var got []byte
		for _, e := range entries {
			gate = make(chan struct{})
			var wg sync.WaitGroup
			var last []byte
			var mu sync.Mutex
			for range 40 {
				wg.Go(func() {
					p, err := u.Fill(t.Context(), e.Digest, id, false)
					if err != nil || block.Sum(p) != e.Digest {
						t.Errorf("%d bytes, %v", len(p), err)
					}
					mu.Lock()
					defer mu.Unlock()
					last = p
				})
			}
			synctest.Wait() // all of them wait for the block
			close(gate)
			wg.Wait()
			got = append(got, last...)
		}
		if !bytes.Equal(got, body) {
			t.Error("other bytes")
		}
	})
	if n := g.bodies.Load(); n != int64(len(entries)) {
		t.Errorf("%d fetches of %d blocks by 40 readers", n, len(entries))
	}
	rt := inside{h: g.handler()}
	u, err := uplink.New(uplink.Config{}, r, rt, rt, quiet, prometheus.NewRegistry())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := u.Fill(t.Context(), block.Sum([]byte("none of its")), id, false); !errors.Is(err, block.ErrNotFound) {
		t.Errorf("a block of something else: %v", err)
	}
	if _, err := u.Fill(t.Context(), entries[0].Digest, "c-none", false); !errors.Is(err, block.ErrNotFound) {
		t.Errorf("a block of nothing: %v", err)
	}
	// Another server's turn.
	before := g.bodies.Load()
	r.owner, r.ask = "beta", func(d block.Digest) ([]byte, error) { return r.Read(t.Context(), d) }
	if _, err := u.Fill(t.Context(), entries[0].Digest, id, false); err != nil || g.bodies.Load() != before {
		t.Errorf("another server was not asked (%v)", err)
	}
	r.ask = func(block.Digest) ([]byte, error) { return nil, errors.New("away") }
	if _, err := u.Fill(t.Context(), entries[0].Digest, id, false); err != nil || g.bodies.Load() != before+1 {
		t.Errorf("a server that is away was not passed over (%v)", err)
	}
}

// deposited puts a deposit as a box has the region put it.
func deposited(t *testing.T, r *region, id, name string, body []byte) catalogue.Deposit {
	t.Helper()
	cut, err := hold.SplitContent(t.Context(), bytes.NewReader(body), int64(len(body)), r.Keep)
	if err != nil {
		t.Fatal(err)
	}
	d := catalogue.Deposit{
		ID: id, School: school, Box: "library-1", Filename: name, ContentType: "text/plain", At: time.UnixMilli(1e12).UTC(),
		Length: cut.Length, SHA256: cut.SHA256, Description: catalogue.WithLicence("Un conte.", "CC BY 4.0"),
	}
	if len(cut.Entries) > 0 {
		raw, err := hold.EncodeList(cut.Entries)
		if err != nil {
			t.Fatal(err)
		}
		d.Manifest, d.Listed = block.Sum(raw), true
		if err := r.Keep(t.Context(), d.Manifest, raw); err != nil {
			t.Fatal(err)
		}
	}
	op, err := catalogue.NewPut(d)
	if err != nil {
		t.Fatal(err)
	}
	if err := r.Submit(t.Context(), op); err != nil {
		t.Fatal(err)
	}
	return d
}

func TestDepositsGoUp(t *testing.T) {
	g, r := newGateway(t), newRegion(t)
	bodies := map[string][]byte{"d-1": noise(4, 9<<20), "d-2": []byte("small"), "d-3": {}}
	for id, body := range bodies {
		deposited(t, r, id, id+".txt", body)
	}
	u := begin(t, r, g)
	u.Poke()
	until(t, "all kept", func() bool {
		kept := 0
		for _, d := range list[catalogue.Deposit](r, catalogue.KindDeposit) {
			if d.Kept {
				kept++
			}
		}
		return kept == 3
	})
	for _, d := range list[catalogue.Deposit](r, catalogue.KindDeposit) {
		body, info, err := g.store.Get(t.Context(), d.Bucket, d.Key, 0, -1, "")
		if err != nil {
			t.Fatal(err)
		}
		got := new(bytes.Buffer)
		if _, err := got.ReadFrom(body); err != nil || body.Close() != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(got.Bytes(), bodies[d.ID]) || info.ETag != d.ETag || d.KeptAt.IsZero() {
			t.Errorf("%s is not what was deposited", d.ID)
		}
		if got := info.Meta["licence"]; got != "CC BY 4.0" || info.Meta["description"] != "Un conte." {
			t.Errorf("%s: its licence is %q, and all it says %v", d.ID, got, info.Meta)
		}
	}
}

func TestADepositWaitsAndGoesOn(t *testing.T) {
	g, r := newGateway(t), newRegion(t)
	g.hurdle = func(central.Deposit) error { return fmt.Errorf("%w: %w", central.ErrInvalid, store.ErrFull) }
	deposited(t, r, "d-1", "a.txt", []byte("a"))
	u := begin(t, r, g)
	u.Poke()
	waiting := func() string {
		d, _, err := get[catalogue.Deposit](r, catalogue.KindDeposit, "d-1")
		if err != nil {
			t.Error(err)
		}
		return d.Waiting
	}
	until(t, "the reason", func() bool { return strings.Contains(waiting(), "full") })
	if d, _, _ := get[catalogue.Deposit](r, catalogue.KindDeposit, "d-1"); d.Kept {
		t.Error("it is said to be kept")
	}
}

// A gateway that was away for long is no reason for deposits to wait once it is
// back, and one that is away is not asked for each of them.
func TestDepositsGoUpAsSoonAsTheGatewayIsBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g, r := newGateway(t), newRegion(t)
		const many = 40
		for i := range many {
			deposited(t, r, fmt.Sprint("d-", i), "a.txt", fmt.Append(nil, i))
		}
		line := &cuttable{inside: inside{h: g.handler()}}
		line.cut.Store(true)
		beginOver(t, r, line)
		time.Sleep(30 * time.Minute) //nolint:forbidigo // in a bubble
		kept := func() (n int) {
			for _, d := range list[catalogue.Deposit](r, catalogue.KindDeposit) {
				if d.Kept {
					n++
				}
			}
			return n
		}
		// A look takes three of them, every 30 s; buckets are asked for beside.
		if n := line.refused.Load(); n > 60*(rising+2)+100 {
			t.Errorf("a gateway that is away was asked %d times in half an hour", n)
		}
		if d, _, err := get[catalogue.Deposit](r, catalogue.KindDeposit, "d-0"); err != nil || !strings.Contains(d.Waiting, "can't reach the centre") {
			t.Errorf("it waits for %q, %v", d.Waiting, err)
		}
		line.cut.Store(false)
		time.Sleep(31 * time.Second) //nolint:forbidigo // in a bubble
		if n := kept(); n != many {
			t.Errorf("%d of %d are kept 31 s after the gateway is back", n, many)
		}
	})
}

// rising is how many deposits go up at once.
const rising = 3

// cuttable is a way that can be cut.
type cuttable struct {
	inside
	cut     atomic.Bool
	refused atomic.Int64
}

func (c *cuttable) RoundTrip(r *http.Request) (*http.Response, error) {
	if c.cut.Load() {
		c.refused.Add(1)
		return nil, errors.New("no way there")
	}
	return c.inside.RoundTrip(r)
}
