package feed

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/fxamacker/cbor/v2"
	"github.com/google/go-cmp/cmp"

	"preau/replication/catalogue"
	"preau/replication/identity"
	"preau/replication/kv/kvtest"
)

// The real catalogue, from commands to a box's copy.
func TestTheCatalogueReachesABox(t *testing.T) {
	state, err := catalogue.Open(kvtest.NewMemory())
	if err != nil {
		t.Fatal(err)
	}
	enc, err := cbor.CoreDetEncOptions().EncMode()
	if err != nil {
		t.Fatal(err)
	}
	index := uint64(0)
	apply := func(ops ...catalogue.Op) []catalogue.Record {
		t.Helper()
		index++
		data, err := catalogue.Encode(catalogue.Command{ID: catalogue.CommandID{byte(index)}, At: time.UnixMilli(1e12), By: "operator/anne", Ops: ops})
		if err != nil {
			t.Fatal(err)
		}
		results, changed, err := state.Apply([]catalogue.Entry{{Index: index, Term: 1, Data: data}})
		if err != nil || results[0].Code != "" {
			t.Fatalf("%+v, %v", results, err)
		}
		return changed
	}
	put := func(k catalogue.Kind, id string, fact any) []catalogue.Record {
		t.Helper()
		body, err := enc.Marshal(fact)
		if err != nil {
			t.Fatal(err)
		}
		return apply(catalogue.Op{Put: &catalogue.Put{Kind: k, ID: id, Body: body}})
	}
	collection := func(id string, schools ...identity.School) []catalogue.Record {
		t.Helper()
		return put(catalogue.KindCollection, id, catalogue.Collection{ID: id, Title: "Atlas", Audience: schools})
	}
	collection("open")
	collection("lyon", lyon)
	ca := newAuthority(t)
	synctest.Test(t, func(t *testing.T) {
		h := startHost(t, "alpha", FromCatalogue(state, func() uint64 { return 0 }), ca, nil)
		defer h.end()
		a := startBox(t, boxOf("a", lyon), newDisk(t), ca, nil, h)
		defer a.end()
		b := startBox(t, boxOf("b", brest), newDisk(t), ca, nil, h)
		defer b.end()
		check := func() {
			t.Helper()
			time.Sleep(5 * time.Second)
			for _, b := range []*box{a, b} {
				want := make(map[string]bool)
				v, err := state.View()
				if err != nil {
					t.Fatal(err)
				}
				err = v.Changes(0, 1<<62, func(r catalogue.Record) bool {
					if r.SeenBy(b.id.School) == catalogue.Visible {
						want[r.ID] = true
					}
					return true
				})
				if err != nil || v.Close() != nil {
					t.Fatal(err)
				}
				got := make(map[string]bool)
				for k := range holds(t, b.copy) {
					got[k.id] = true
				}
				if d := cmp.Diff(want, got); d != "" || len(got) == 0 {
					t.Errorf("%s (-want +got):\n%s", b.id.Name, d)
				}
			}
		}
		publish := func(changed []catalogue.Record) { h.server.Publish(index, changed) }
		check()
		publish(collection("lyon"))
		publish(collection("open", brest))
		check()
		publish(apply(catalogue.Op{Delete: &catalogue.Delete{Kind: catalogue.KindCollection, ID: "lyon"}}))
		publish(collection("more"))
		check()
	})
}
