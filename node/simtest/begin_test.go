package simtest_test

import (
	"context"
	"crypto/sha256"
	"errors"
	"math/rand/v2"
	"sync"
	"time"

	"preau/replication/catalogue"
	"preau/replication/consensus"
	"preau/replication/identity"
)

// begin founds the region: one server, then the others, then the boxes.
func (w *world) begin() {
	first := w.servers[0]
	w.founding = first.name
	first.start()
	w.founding = ""
	w.leader()
	ops := []catalogue.Op{
		put(w, catalogue.Region{ID: here, Name: "Lyon", Epoch: 1, MarkKey: [32]byte{1}}),
		put(w, catalogue.Authority{CA: []byte("ca"), Sealed: []byte("sealed")}),
		put(w, catalogue.Policy{KAnonymity: 5}),
	}
	w.ask(ops...)
	for _, s := range w.servers[1:] {
		s.start()
	}
	w.join(w.servers[1:])
	for i, b := range w.boxes {
		secret := sha256.Sum256([]byte(b.id.Name))
		w.ask(put(w, catalogue.Token{
			ID: string(b.id.Name), SecretHash: secret, Role: identity.Box, School: b.id.School, NotAfter: w.born.Add(time.Hour).UTC(),
		}))
		w.ask(catalogue.Op{Redeem: &catalogue.Redeem{Token: string(b.id.Name), SecretHash: secret, Name: string(b.id.Name), SPKI: [32]byte{byte(i + 1)}}})
		b.start()
	}
	for _, id := range []string{"c0", "c1", "c2", "c3"} {
		w.ask(put(w, catalogue.Collection{ID: id, Title: id, Audience: w.audience(w.rng)}))
	}
}

// join has the region take in servers that have nothing yet.
func (w *world) join(servers []*server) {
	lead := w.leader()
	var all sync.WaitGroup
	for _, s := range servers {
		all.Go(func() {
			for range 20 {
				ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
				err := lead.node.AddServer(ctx, s.self())
				cancel()
				if err == nil || errors.Is(err, consensus.ErrAlreadyMember) {
					return
				}
			}
			w.fail("%s can't join", s.name)
		})
	}
	all.Wait()
	for _, s := range w.servers {
		w.ask(put(w, catalogue.Server{Name: s.name, Address: httpAt(s.name)}))
	}
}

// startClients has people ask for things and devices use what is there.
func (w *world) startClients() {
	if w.stopClients != nil {
		return
	}
	var ctx context.Context
	ctx, w.stopClients = context.WithCancel(context.Background())
	seed := w.rng.Uint64()
	for i := range 3 {
		w.clients.Go(func() { w.client(ctx, i, w.life, seed) })
	}
	w.clients.Go(func() {
		rng := rand.New(rand.NewPCG(seed, 1000))
		for again(ctx) {
			time.Sleep(400 * time.Millisecond)
			for range 10 {
				w.boxes[rng.IntN(len(w.boxes))].use(rng)
			}
			w.presence()
		}
	})
}

func (w *world) endClients() {
	if w.stopClients == nil {
		return
	}
	w.stopClients()
	w.clients.Wait()
	w.stopClients = nil
}

// presence checks what servers believe of boxes.
func (w *world) presence() {
	for _, s := range w.servers {
		r := s.run.Load()
		if r == nil {
			continue
		}
		for _, p := range r.feed.Presence() {
			if b := w.box(string(p.Name)); b != nil {
				w.oracle.acked(b, s.name, p.Acked)
			}
		}
	}
}
