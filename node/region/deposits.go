package region

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"sync"
	"time"

	"preau/cache/block"
	"preau/node/control"
	"preau/replication/catalogue"
	"preau/replication/central"
	"preau/replication/hold"
	"preau/replication/wire"
)

const (
	// depositing is how many blocks of deposits come in at once.
	depositing = 16
	// forgetSent is after how long blocks that came to nothing are no longer held
	// against a box: the sweep has removed them by then.
	forgetSent = 24 * time.Hour
)

// sent counts what boxes have sent that no deposit names yet, so that no box can
// fill the region's disks with it.
type sent struct {
	mu    sync.Mutex
	since time.Time
	bytes map[string]int64
	slots chan struct{}
}

func (s *sent) add(box string, n int64) int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.bytes == nil || time.Since(s.since) > forgetSent {
		s.bytes, s.since = make(map[string]int64), time.Now()
	}
	s.bytes[box] = max(0, s.bytes[box]+n)
	return s.bytes[box]
}

// depositRoutes are what boxes bring deposits by.
func (g *Region) depositRoutes(handle func(pattern string, h http.Handler)) {
	g.sent.slots = make(chan struct{}, depositing)
	handle("POST /v1/deposits/missing", http.HandlerFunc(g.depositMissing))
	handle("PUT /v1/deposits/blocks/{digest}", http.HandlerFunc(g.depositBlock))
	handle("POST /v1/deposits", g.answer(g.deposit))
}

func (g *Region) refuse(w http.ResponseWriter, r *http.Request, err error) {
	status, f := g.describe(r, err)
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	if err := control.WriteFailure(w, f); err != nil {
		g.log.DebugContext(r.Context(), "an answer could not be sent", "err", err)
	}
}

// depositMissing says which blocks of a deposit this server lacks.
func (g *Region) depositMissing(w http.ResponseWriter, r *http.Request) {
	const size = len(block.Digest{})
	raw, err := io.ReadAll(http.MaxBytesReader(w, r.Body, int64(hold.MaxDigests*size)))
	if err != nil || len(raw)%size != 0 {
		g.refuse(w, r, invalid("want a list of digests of %d bytes each, at most %d", size, hold.MaxDigests))
		return
	}
	digests := make([]block.Digest, len(raw)/size)
	for i := range digests {
		digests[i] = block.Digest(raw[i*size : (i+1)*size])
	}
	missing, err := g.shelf.Missing(r.Context(), digests)
	if err != nil {
		g.refuse(w, r, err)
		return
	}
	out := make([]byte, 0, len(missing)*size)
	for _, d := range missing {
		out = append(out, d[:]...)
	}
	w.Header().Set("Content-Type", "application/octet-stream")
	_, _ = w.Write(out) // whoever asked is gone otherwise
}

// depositBlock keeps a block of a deposit that will be announced.
func (g *Region) depositBlock(w http.ResponseWriter, r *http.Request) {
	err := g.keepDeposited(w, r)
	if err == nil {
		w.WriteHeader(http.StatusNoContent)
		return
	}
	g.refuse(w, r, err)
}

func (g *Region) keepDeposited(w http.ResponseWriter, r *http.Request) error {
	d, err := block.ParseDigest(r.PathValue("digest"))
	if err != nil || r.ContentLength < 0 || r.ContentLength > block.Size {
		return invalid("want a block of at most %d bytes, under its SHA-256", block.Size)
	}
	select {
	case g.sent.slots <- struct{}{}:
		defer func() { <-g.sent.slots }()
	case <-r.Context().Done():
		return r.Context().Err()
	}
	box := string(wire.PeerOf(r).Name)
	if total := g.sent.add(box, r.ContentLength); total > int64(g.cfg.Deposits) {
		g.sent.add(box, -r.ContentLength)
		return failure{http.StatusInsufficientStorage, "full", fmt.Errorf("this box has sent %d MiB that belong to no deposit: it has to wait a day", total>>20)}
	}
	p, err := io.ReadAll(http.MaxBytesReader(w, r.Body, block.Size))
	if err == nil && int64(len(p)) != r.ContentLength {
		err = io.ErrUnexpectedEOF
	}
	if err != nil {
		g.sent.add(box, -r.ContentLength)
		return invalid("read the block: %w", err)
	}
	added, err := g.shelf.Put(r.Context(), d, p)
	if err != nil || !added {
		g.sent.add(box, -r.ContentLength)
	}
	switch {
	case errors.Is(err, hold.ErrWrongBytes):
		return failure{http.StatusUnprocessableEntity, "wrong_bytes", err}
	case errors.Is(err, block.ErrNoSpace):
		return failure{http.StatusInsufficientStorage, "full", errors.New("the disk of the region's server " + g.name + " is full")}
	}
	return err
}

// deposit has the region agree on a deposit whose blocks are here. Which school
// and which box it is from the certificate says, and nothing else.
func (g *Region) deposit(r *http.Request) (any, error) {
	q, err := decode[control.Deposit](r)
	if err != nil {
		return nil, err
	}
	peer := wire.PeerOf(r)
	sum, err := block.ParseDigest(q.SHA256)
	if err != nil {
		return nil, invalid("sha256: %w", err)
	}
	if err := central.CheckName(q.Filename); err != nil {
		return nil, invalid("%w", err)
	}
	if q.Length < 0 {
		return nil, invalid("a file of %d bytes", q.Length)
	}
	d := catalogue.Deposit{
		ID: q.ID, School: peer.School, Box: string(peer.Name), Filename: q.Filename, ContentType: q.ContentType, Title: q.Title,
		Description: q.Description, Collection: q.Collection, At: q.At.UTC(), Length: q.Length, SHA256: sum,
	}
	if there, err := g.depositThere(d); there || err != nil {
		return control.Done{ID: q.ID}, err
	}
	if err := g.depositRoom(d); err != nil {
		return nil, err
	}
	digests, err := g.depositBlocks(r, q, &d)
	if err != nil {
		return nil, err
	}
	if err := g.replicator.Ensure(r.Context(), digests, g.majority()); err != nil {
		return nil, err
	}
	done, err := g.put(r, d)
	if refused, ok := errors.AsType[refusal](err); ok && refused.Code == catalogue.CodeConflict {
		// Another was faster, by way of another server.
		var there bool
		if there, err = g.depositThere(d); err == nil && !there {
			err = refused
		}
		done = control.Done{ID: q.ID}
	}
	if err == nil {
		g.sent.add(d.Box, -d.Length)
	}
	return done, err
}

// depositThere reports whether the region has agreed on d already: an answer was
// lost, or another box of the school has brought the same. It may have kept a copy
// for this one, and then it says the same in all words; the record names the box
// that was first, as nobody can tell whose the file was but those two.
func (g *Region) depositThere(d catalogue.Deposit) (bool, error) {
	old, there, err := get[catalogue.Deposit](g, catalogue.KindDeposit, d.ID)
	if err != nil || !there {
		return false, err
	}
	if sameDeposit(old, d) {
		return true, nil
	}
	return false, failure{http.StatusConflict, "taken", fmt.Errorf("there is another deposit of the id %s", d.ID)}
}

// sameDeposit reports whether two are the same file. One box may say something
// else of it when it asks again; two must say the same, so that none can put its
// words to another's file.
func sameDeposit(a, b catalogue.Deposit) bool {
	if a.School != b.School || a.SHA256 != b.SHA256 || a.Length != b.Length || a.Filename != b.Filename {
		return false
	}
	return a.Box == b.Box || a.ContentType == b.ContentType && a.Title == b.Title && a.Description == b.Description &&
		a.Collection == b.Collection && a.At.Equal(b.At)
}

// depositBlocks reads the list of a deposit's blocks, all of which must be here.
func (g *Region) depositBlocks(r *http.Request, q control.Deposit, d *catalogue.Deposit) ([]block.Digest, error) {
	if q.Length == 0 {
		return nil, g.depositBytes(r.Context(), nil, d.SHA256)
	}
	var err error
	if d.Manifest, err = block.ParseDigest(q.List); err != nil {
		return nil, invalid("list: %w", err)
	}
	d.Listed = true
	raw, err := g.readBlock(r.Context(), d.Manifest)
	if err != nil {
		return nil, failure{http.StatusConflict, "missing", fmt.Errorf("the list of blocks is not here: put it first (%w)", err)}
	}
	entries, err := hold.DecodeList(raw, q.Length)
	if err != nil {
		return nil, invalid("list: %w", err)
	}
	digests := append(hold.Digests(entries), d.Manifest)
	missing, err := g.shelf.Missing(r.Context(), digests)
	if err != nil {
		return nil, err
	}
	if len(missing) > 0 {
		return nil, failure{http.StatusConflict, "missing", errors.New(strconv.Itoa(len(missing)) + " blocks are not here: put them first")}
	}
	return digests, g.depositBytes(r.Context(), entries, d.SHA256)
}

// depositBytes reads the file that blocks make. The centre keeps a file under
// its digest: one that is announced with another's must not get so far that it
// can be taken for that.
func (g *Region) depositBytes(ctx context.Context, entries []hold.Entry, want block.Digest) error {
	sum := sha256.New()
	for _, e := range entries {
		if err := ctx.Err(); err != nil {
			return err
		}
		p, err := g.readBlock(ctx, e.Digest)
		if err != nil {
			return failure{http.StatusConflict, "missing", fmt.Errorf("a block is not here any more: put it again (%w)", err)}
		}
		if len(p) != e.Length {
			return failure{http.StatusUnprocessableEntity, "wrong_bytes", fmt.Errorf("block %s has %d bytes, the list says %d", e.Digest, len(p), e.Length)}
		}
		_, _ = sum.Write(p) // never fails
	}
	if block.Digest(sum.Sum(nil)) != want {
		return failure{http.StatusUnprocessableEntity, "wrong_bytes", errors.New("the blocks do not make the file that was announced: its sha256 is another")}
	}
	return nil
}

// depositRoom bounds what one school has waiting for the centre.
func (g *Region) depositRoom(d catalogue.Deposit) error {
	total := d.Length
	err := g.waiting(func(other catalogue.Deposit) bool {
		if other.School == d.School {
			total += other.Length
		}
		return true
	})
	if err != nil {
		return err
	}
	// total may have passed what an int64 holds.
	if limit := int64(g.cfg.Deposits); total > limit || d.Length > limit {
		return failure{http.StatusInsufficientStorage, "full", fmt.Errorf("this school would have %d MiB waiting for the centre, and may have %d: the rest waits on its box", max(total, d.Length)>>20, limit>>20)}
	}
	return nil
}

// waiting lists the deposits that the centre does not keep yet.
func (g *Region) waiting(fn func(catalogue.Deposit) bool) error {
	return each(g, catalogue.KindDeposit, func(_ catalogue.Record, d catalogue.Deposit) bool { return d.Kept || fn(d) })
}
