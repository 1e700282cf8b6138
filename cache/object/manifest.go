package object

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"iter"
	"slices"

	"preau/cache/block"
)

// inlineBlocks is up to how many blocks a complete body's manifest lies in the
// object's own record.
const inlineBlocks = 4

// pages are the numbers of the pages that a body of length bytes may have. Of
// one whose length is not known the first are tried: its fill saved few.
func pages(length int64) iter.Seq[uint32] {
	n := (block.NumBlocks(length) + pageBlocks - 1) / pageBlocks
	if length < 0 {
		n = 64
	}
	return func(yield func(uint32) bool) {
		for i := range n {
			if !yield(uint32(i)) {
				return
			}
		}
	}
}

// Manifest returns what is held of o's body. Pages that are lost or damaged
// count as blocks not held.
func (s *Store) Manifest(o *Object) (block.Manifest, error) {
	if m, ok := o.manifest(); ok {
		return m, nil
	}
	m := block.Manifest{Length: o.Length}
	head, err := s.page(o.ID, headPage)
	if err != nil {
		return m, err
	}
	if head != nil {
		if err := m.UnmarshalBinary(head); err != nil || o.Length >= 0 && m.Length != o.Length {
			m = block.Manifest{Length: o.Length}
		}
	}
	for n := range pages(m.Length) {
		p, err := s.page(o.ID, n)
		if err != nil {
			return m, err
		}
		if p == nil {
			if m.Length < 0 {
				break
			}
			p = make([]byte, pageBlocks*len(block.Digest{}))
		}
		for d := range slices.Chunk(p, len(block.Digest{})) {
			m.Blocks = append(m.Blocks, block.Digest(d))
		}
	}
	if m.Length >= 0 {
		m.Blocks = m.Blocks[:min(len(m.Blocks), block.NumBlocks(m.Length))]
	}
	return m, nil
}

// page reads one page of a manifest; nil if there is none that is sound.
func (s *Store) page(id ID, n uint32) ([]byte, error) {
	key := pageKey(id, n)
	b, err := s.kv.Get(key)
	if errors.Is(err, ErrNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read manifest: %w", err)
	}
	p, err := unseal(key, b)
	if err != nil || n != headPage && (len(p)%len(block.Digest{}) != 0 || len(p) > pageBlocks*len(block.Digest{})) {
		s.metrics.damaged.Inc()
		return nil, nil
	}
	return p, nil
}

// SaveManifest records what is held of the body of the object named id, and
// that its blocks lie in segs. It returns the object as it is stored now, or
// ErrNotFound if it is gone.
func (s *Store) SaveManifest(_ context.Context, k Key, id ID, m block.Manifest, segs []block.Segment) (*Object, error) {
	var out *Object
	err := s.edit(k, func(set Set) (Set, []Change, error) {
		i := slices.IndexFunc(set, func(x *Object) bool { return x.ID == id })
		if i < 0 {
			return nil, nil, ErrNotFound
		}
		n := *set[i]
		n.Complete = m.Complete()
		if m.Length >= 0 {
			n.Length = m.Length
		}
		changes, err := s.manifestChanges(&n, m)
		if err != nil {
			return nil, nil, err
		}
		for _, seg := range segs {
			changes = append(changes, Change{Key: ownerKey(seg, id), Value: k[:]})
		}
		set[i], out = &n, &n
		return set, changes, nil
	})
	return out, err
}

// manifestChanges puts a short manifest into o and a long one into the pages
// that changed.
func (s *Store) manifestChanges(o *Object, m block.Manifest) ([]Change, error) {
	if o.Complete && len(m.Blocks) <= inlineBlocks {
		b, err := m.MarshalBinary()
		if err != nil {
			return nil, err
		}
		var changes []Change
		if len(o.Inline) == 0 {
			changes = s.forget(o)
			changes = slices.DeleteFunc(changes, func(c Change) bool { return c.Key[0] != prefixManifest })
		}
		o.Inline = b
		return changes, nil
	}
	o.Inline = nil
	head := m
	head.Blocks = nil
	b, err := head.MarshalBinary()
	if err != nil {
		return nil, err
	}
	key := pageKey(o.ID, headPage)
	changes := []Change{{Key: key, Value: seal(key, b)}}
	for n := 0; n*pageBlocks < len(m.Blocks); n++ {
		var p []byte
		for _, d := range m.Blocks[n*pageBlocks : min((n+1)*pageBlocks, len(m.Blocks))] {
			p = append(p, d[:]...)
		}
		key := pageKey(o.ID, uint32(n))
		value := seal(key, p)
		if old, err := s.kv.Get(key); err != nil || !bytes.Equal(old, value) {
			changes = append(changes, Change{Key: key, Value: value})
		}
	}
	// A body whose end was not known may turn out shorter than what was saved.
	for n := (len(m.Blocks) + pageBlocks - 1) / pageBlocks; ; n++ {
		key := pageKey(o.ID, uint32(n))
		if _, err := s.kv.Get(key); err != nil {
			return changes, nil
		}
		changes = append(changes, Change{Key: key, Delete: true})
	}
}
