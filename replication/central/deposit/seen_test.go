package deposit_test

import (
	"bytes"
	"context"
	"errors"
	"sync"
	"testing"

	"preau/cache/block"
	"preau/replication/central"
	"preau/replication/central/deposit"
	"preau/replication/central/storetest"
)

// counted is a store that counts what is read of the files.
func counted(t *testing.T) *storetest.Faulty {
	t.Helper()
	return storetest.NewFaulty(memory(t), 1)
}

// A gateway that has seen every byte reads none of them back.
func TestWhatWasSeenIsNotReadBack(t *testing.T) {
	s := counted(t)
	// A read of a file, unlike one of a record, fails.
	s.Add(storetest.Fault{Ops: []storetest.Op{storetest.Get}, Bucket: config.Bucket})
	c := gateway(t, s, here)
	for id, size := range map[string]int{"d-short": 1000, "d-one": central.MaxDelivered + 1, "d-long": central.PartSize + 7} {
		body := file(4, size)
		d := announce(id, id, body)
		state, err := c.Push(t.Context(), d, reader(body), nil)
		if err != nil || !state.Kept {
			t.Fatalf("%s: %+v, %v", id, state, err)
		}
	}
	s.Clear()
	if got := kept(t, s); len(got) != 3 {
		t.Errorf("%d files, want 3", len(got))
	}
}

// A short file costs the store two requests: who it is of, and itself.
func TestAShortDepositIsOneCall(t *testing.T) {
	s := counted(t)
	c := gateway(t, s, here)
	before := s.Calls()
	body := file(5, central.MaxDelivered)
	d := announce("d-1", "a", body)
	if _, err := c.Push(t.Context(), d, reader(body), nil); err != nil {
		t.Fatal(err)
	}
	if n := s.Calls() - before; n != 2 {
		t.Errorf("%d requests to the store, want 2", n)
	}
	// An answer that was lost: the same comes again, and is there.
	again, err := c.Push(t.Context(), d, reader(body), nil)
	if err != nil || !again.Kept || again.Key != deposit.Key(d) || len(kept(t, s)) != 1 {
		t.Errorf("the second time: %+v, %v", again, err)
	}
	other := announce("d-1", "a", []byte("other"))
	if _, err := c.Push(t.Context(), other, reader([]byte("other")), nil); !errors.Is(err, central.ErrInvalid) {
		t.Errorf("an id taken for another file: %v", err)
	}
	wrong := announce("d-2", "b", []byte("what was announced"))
	if _, err := c.Push(t.Context(), wrong, reader([]byte("WHAT was announced")), nil); !errors.Is(err, central.ErrWrongBytes) {
		t.Errorf("other bytes: %v", err)
	}
	foreign := announce("d-3", "c", body)
	if _, err := gateway(t, s, there).Push(t.Context(), foreign, reader(body), nil); !errors.Is(err, central.ErrInvalid) {
		t.Errorf("a foreign region: %v", err)
	}
	if got := kept(t, s); len(got) != 1 {
		t.Errorf("%d files can be seen, want 1", len(got))
	}
}

// A store that fails between the two requests, or whose answer is lost, is asked
// again.
func TestAShortDepositSurvivesTheStoresTroubles(t *testing.T) {
	for _, lost := range []bool{false, true} {
		for skip := range 2 {
			s := counted(t)
			c := gateway(t, s, here)
			s.Add(storetest.Fault{Ops: []storetest.Op{storetest.Put}, Skip: skip, Times: 1, Lost: lost})
			body := file(6, 4321)
			d := announce("d-1", "a", body)
			if _, err := c.Push(t.Context(), d, reader(body), nil); !errors.Is(err, central.ErrWaiting) {
				t.Fatalf("put %d, lost %v: %v", skip, lost, err)
			}
			state, err := c.Push(t.Context(), d, reader(body), nil)
			if err != nil || !state.Kept || !bytes.Equal(kept(t, s)[deposit.Key(d)], body) {
				t.Errorf("put %d, lost %v, the second time: %+v, %v", skip, lost, state, err)
			}
		}
	}
}

// Parts come in any order, and are hashed in their own.
func TestPartsComeInAnyOrder(t *testing.T) {
	s := counted(t)
	c := gateway(t, s, here)
	body := file(7, 2*central.PartSize+9)
	d := announce("d-1", "a", body)
	if _, err := c.Begin(t.Context(), d); err != nil {
		t.Fatal(err)
	}
	for _, number := range []int{3, 1, 2} {
		p := body[(number-1)*central.PartSize:]
		if err := c.PutPart(t.Context(), d.ID, number, p[:min(len(p), central.PartSize)]); err != nil {
			t.Fatal(err)
		}
	}
	s.Add(storetest.Fault{Ops: []storetest.Op{storetest.Get}, Bucket: config.Bucket})
	if state, err := c.Complete(t.Context(), d.ID); err != nil || !state.Kept {
		t.Fatalf("%+v, %v", state, err)
	}
	s.Clear()
	if !bytes.Equal(kept(t, s)[deposit.Key(d)], body) {
		t.Error("not what was deposited")
	}
}

// What one gateway has seen of a file proves nothing once another one, or the
// same part twice, was in between.
func TestWhatWasNotSeenIsReadBack(t *testing.T) {
	body := file(8, central.PartSize+100)
	wrong := bytes.Clone(body)
	wrong[central.PartSize] ^= 1
	type step struct { // a part that a gateway gets
		gateway, number int
		of              []byte
	}
	tests := map[string]struct {
		steps []step
		kept  bool
	}{
		"another gateway's part over one that was seen":  {[]step{{0, 1, body}, {0, 2, body}, {1, 2, wrong}}, false},
		"another gateway's part in place of a wrong one": {[]step{{0, 1, body}, {0, 2, wrong}, {1, 2, body}, {0, 2, body}}, true},
		"the same gateway's, twice":                      {[]step{{0, 2, wrong}, {0, 2, body}, {0, 1, body}}, true},
		"half of it by another one":                      {[]step{{1, 1, body}, {0, 2, body}}, true},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			s := memory(t)
			gateways := []*central.Client{gateway(t, s, here), gateway(t, s, here)}
			d := announce("d-1", "a", body)
			if _, err := gateways[0].Begin(t.Context(), d); err != nil {
				t.Fatal(err)
			}
			for _, step := range tt.steps {
				p := step.of[:central.PartSize]
				if step.number == 2 {
					p = step.of[central.PartSize:]
				}
				if err := gateways[step.gateway].PutPart(t.Context(), d.ID, step.number, p); err != nil {
					t.Fatal(err)
				}
			}
			state, err := gateways[0].Complete(t.Context(), d.ID)
			if tt.kept && (err != nil || !state.Kept || !bytes.Equal(kept(t, s)[deposit.Key(d)], body)) {
				t.Errorf("%+v, %v", state, err)
			}
			if !tt.kept && (!errors.Is(err, central.ErrWrongBytes) || len(kept(t, s)) != 0) {
				t.Errorf("wrong bytes are kept: %+v, %v", state, err)
			}
		})
	}
}

// The store fails at a part: the file is sent on, and is what it was.
func TestAPartThatFailsIsSentAgain(t *testing.T) {
	s := counted(t)
	c := gateway(t, s, here)
	body := file(9, central.PartSize+1)
	d := announce("d-1", "a", body)
	s.Add(storetest.Fault{Ops: []storetest.Op{storetest.PutPart}, Skip: 1, Times: 1})
	if _, err := c.Push(t.Context(), d, reader(body), nil); !errors.Is(err, central.ErrWaiting) {
		t.Fatal(err)
	}
	if _, err := c.Push(t.Context(), d, reader(body), nil); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(kept(t, s)[deposit.Key(d)], body) {
		t.Error("not what was deposited")
	}
}

// Several files at once, on one gateway.
func TestManyDepositsAtOnce(t *testing.T) {
	if testing.Short() {
		t.Skip("hashes 16 MiB and more")
	}
	s := memory(t)
	c := gateway(t, s, here)
	var all sync.WaitGroup
	bodies := make(map[string][]byte)
	for i := range 2 {
		body := file(byte(20+i), central.PartSize+1000*i+1)
		d := announce("d-"+string(rune('a'+i)), "x", body)
		bodies[deposit.Key(d)] = body
		all.Go(func() {
			if _, err := c.Push(context.WithoutCancel(t.Context()), d, reader(body), nil); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	got := kept(t, s)
	for key, body := range bodies {
		if block.Sum(got[key]) != block.Sum(body) {
			t.Errorf("%s is another file", key)
		}
	}
}
