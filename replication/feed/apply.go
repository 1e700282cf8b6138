package feed

import (
	"bytes"
	"errors"
	"fmt"

	"preau/replication/catalogue"
	"preau/replication/kv"
)

// Begin takes what a server said it would send. A snapshot that begins anew
// starts a generation: what the copy holds stays until the snapshot is whole.
// ErrOrder: the server goes on from somewhere else than the copy.
func (c *Copy) Begin(h Hello) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	p := c.where()
	same := p.Region == string(h.Region)
	switch {
	case p.Region == string(h.Region) && p.Epoch > h.Epoch:
		return fmt.Errorf("%w: the server is of epoch %d, the copy of %d", ErrBehind, h.Epoch, p.Epoch)
	case h.Mode == ModeSnapshot && h.Again:
		p.Generation++
		p.Index, p.Until, p.Settle, p.Under = 0, h.Until, 0, true
	case h.Epoch > p.Epoch+1, !same, h.After != p.Index, p.receiving() != h.Until, p.Generation == 0:
		return fmt.Errorf("%w: the server goes on after %d, the copy is at %d", ErrOrder, h.After, p.Index)
	}
	c.part = 0
	// Also of a snapshot that goes on: what the region has forgotten since it
	// began is in no later part of it.
	doubt := h.Mode == ModeSnapshot && (p.Generation > 1 || !h.Again) && h.FloorTime > p.Doubt
	if doubt {
		p.Doubt = h.FloorTime
	}
	if !same || h.Again {
		p.Floor = 0 // of other indices, maybe
	}
	p.Region, p.Epoch = string(h.Region), h.Epoch
	if p != c.where() {
		if err := c.write(nil, &p); err != nil {
			return err
		}
	}
	if doubt {
		for _, fn := range c.fns {
			fn(nil, p.Seq)
		}
	}
	if err := c.finish(); err != nil {
		return err
	}
	return c.expire(h.Floor)
}

// expire drops purges that the region has forgotten, which it does without
// telling: everybody who goes on from a cursor above floor has seen them.
func (c *Copy) expire(floor uint64) error {
	p := c.where()
	if p.Under || floor <= p.Floor || floor > p.Index {
		return nil
	}
	err := c.sweep([]byte{keyRecord, byte(catalogue.KindPurge)}, func(e *entry) bool { return !e.Deleted && e.Index <= floor }, floor)
	if err != nil {
		return err
	}
	p = c.where()
	p.Floor = floor
	return c.write(nil, &p)
}

// Apply makes b part of the copy, durably, and then tells those who asked for
// changes. It may be stopped by a crash or a full disk (kv.ErrFull) at any
// point: applied again, it comes to the same. ErrOrder: b does not follow on
// the copy.
func (c *Copy) Apply(b *Batch) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	p := c.where()
	switch {
	case p.Generation == 0, b.After != p.Index, p.receiving() > 0 && b.Upto > p.Until,
		b.Part != c.part, b.Part > 0 && b.Upto != c.partOf:
		return fmt.Errorf("%w: part %d after %d, the copy is at %d and part %d", ErrOrder, b.Part, b.After, p.Index, c.part)
	}
	records, err := b.raw()
	if err != nil {
		return err
	}
	if p.receiving() > 0 {
		p.Settle = max(p.Settle, b.header.At)
	}
	w := writer{c: c, p: p}
	err = w.addAll(records, b)
	// Also of a batch that failed: what is durable won't be new the next time.
	c.tell(w.changed[:w.durable])
	if err != nil {
		c.part = 0
		return err
	}
	if c.part = 0; b.More {
		c.part, c.partOf = b.Part+1, b.Upto
	}
	return c.finish()
}

func (w *writer) addAll(records []raw, b *Batch) error {
	for i := range records {
		if err := w.add(&records[i]); err != nil {
			return err
		}
	}
	if b.More || len(w.step) == 0 && b.Upto == b.After {
		return w.flush(nil)
	}
	w.p.Index = b.Upto
	return w.flush(&w.p)
}

// settle does what was left undone when the last batch of a snapshot had come.
func (c *Copy) settle() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.finish()
}

// finish ends a snapshot that is whole, and drops what was not in it.
func (c *Copy) finish() error {
	p := c.where()
	if !p.Under || p.Index < max(p.Until, p.Settle) {
		return nil
	}
	err := c.sweep([]byte{keyRecord}, func(e *entry) bool { return e.generation < p.Generation }, p.Index)
	if err != nil {
		return err
	}
	p = c.where()
	p.Until, p.Settle, p.Under = 0, 0, false
	return c.write(nil, &p)
}

// sweep makes marks, as of index, of the records under prefix that old tells to.
func (c *Copy) sweep(prefix []byte, old func(e *entry) bool, index uint64) error {
	var from []byte
	for {
		w := writer{c: c, p: c.where()}
		var found []*entry
		err := c.scan(prefix, from, func(name []byte, e *entry) (bool, error) {
			if old(e) {
				bare := *e
				bare.bytes, bare.Body = nil, nil
				found = append(found, &bare)
			}
			from = append(from[:0], name...)
			return len(found) < stepChanges/4, nil
		})
		if err != nil {
			return err
		}
		for _, e := range found {
			w.bury(e, index) // as many as go into one step
		}
		if err := w.flush(nil); err != nil {
			return err
		}
		c.tell(w.changed)
		if len(found) < stepChanges/4 {
			return nil
		}
	}
}

func (c *Copy) tell(changed []catalogue.Record) {
	if len(changed) == 0 {
		return
	}
	upto := c.where().Seq
	for _, fn := range c.fns {
		fn(changed, upto)
	}
}

// write carries out changes and then, if p is given, moves the copy there.
func (c *Copy) write(changes []Change, p *place) error {
	if p != nil {
		b, err := marshal(*p)
		if err != nil {
			return err
		}
		changes = append(changes, Change{Key: []byte{keyPlace}, Value: b})
	}
	if len(changes) == 0 {
		return nil
	}
	if err := c.store.Write(changes); err != nil {
		return fmt.Errorf("write to the copy of the catalogue: %w", err)
	}
	if p != nil {
		c.at.Lock()
		c.place = *p
		c.at.Unlock()
	}
	return nil
}

// writer gathers the changes of a batch into steps. All of one record is in one
// step, with its number, so that no number is ever without its record.
type writer struct {
	c       *Copy
	p       place
	step    []Change
	bytes   int
	names   map[string]bool // in step: the store does not have them yet
	changed []catalogue.Record
	durable int // how many of changed
}

func (w *writer) add(r *raw) error {
	name := recordName(r.Kind, r.ID)
	if w.names[string(name)] || len(w.step) >= stepChanges || w.bytes >= stepBytes {
		if err := w.flush(nil); err != nil {
			return err
		}
	}
	old, err := w.c.entry(name)
	switch {
	case errors.Is(err, kv.ErrNotFound):
		old = nil
	case err != nil:
		return err
	}
	switch {
	case old == nil && r.Deleted:
		return nil
	case old != nil && (old.Deleted && r.Deleted || bytes.Equal(old.bytes, r.bytes)):
		if old.generation != w.p.Generation {
			w.put(name, encodeEntry(w.p.Generation, old.seq, r.bytes))
		}
		return nil
	}
	w.change(name, old, r.bytes, r.Deleted)
	w.changed = append(w.changed, r.record())
	return nil
}

// bury makes e a mark, as of the snapshot at index that it is not in.
func (w *writer) bury(e *entry, index uint64) {
	name := recordName(e.Kind, e.ID)
	gone := e.record()
	gone.Index, gone.Deleted, gone.Body = index, true, nil
	b := appendRecord(nil, &gone, true)
	if e.Deleted {
		w.put(name, encodeEntry(w.p.Generation, e.seq, b))
		return
	}
	w.change(name, e, b, true)
	w.changed = append(w.changed, gone)
}

// change gives the record a number.
func (w *writer) change(name []byte, old *entry, record []byte, gone bool) {
	if old != nil {
		w.step = append(w.step, Change{Key: seqKey(keySeq, old.seq), Delete: true})
		if old.Deleted {
			w.step = append(w.step, Change{Key: seqKey(keyGone, old.seq), Delete: true})
		}
	}
	w.p.Seq++
	w.put(seqKey(keySeq, w.p.Seq), name)
	if gone {
		w.put(seqKey(keyGone, w.p.Seq), name)
	}
	w.put(name, encodeEntry(w.p.Generation, w.p.Seq, record))
	if w.names == nil {
		w.names = make(map[string]bool)
	}
	w.names[string(name)] = true
}

func (w *writer) put(key, value []byte) {
	w.step = append(w.step, Change{Key: key, Value: value})
	w.bytes += len(key) + len(value)
}

// flush writes the step, and p after it.
func (w *writer) flush(p *place) error {
	if err := w.c.write(w.step, p); err != nil {
		return err
	}
	w.step, w.bytes, w.durable = w.step[:0], 0, len(w.changed)
	clear(w.names)
	w.c.at.Lock()
	w.c.place.Seq = max(w.c.place.Seq, w.p.Seq)
	w.c.at.Unlock()
	return nil
}
