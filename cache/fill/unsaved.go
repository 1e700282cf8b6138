package fill

import (
	"maps"
	"slices"

	"preau/cache/block"
)

// Unsaved is what of one body only the manager knows to be wanted: blocks, and
// parts of blocks, that are in the store or on their way there and that the
// manifest that was saved last need not name.
type Unsaved struct {
	ID      ID
	Owner   [32]byte // as in Spec
	Digests []block.Digest
}

// Unsaved lists what must outlive the retirement of a segment though nothing
// that was saved leads to it. Whoever asks first here and then in what was
// saved misses nothing.
func (m *Manager) Unsaved() []Unsaved {
	var out []Unsaved
	m.Bodies(func(b *Body) {
		b.mu.Lock()
		defer b.mu.Unlock()
		list := slices.AppendSeq(slices.Collect(maps.Keys(b.arriving)), maps.Keys(b.fresh))
		if len(list) > 0 {
			out = append(out, Unsaved{ID: b.id, Owner: b.spec.Owner, Digests: list})
		}
	})
	return out
}

// putting notes that d is on its way to the store. Callers hold b.mu.
func (b *Body) putting(d block.Digest) {
	if b.arriving == nil {
		b.arriving = map[block.Digest]int{}
	}
	b.arriving[d]++
}

// came ends a putting. Callers hold b.mu.
func (b *Body) came(d block.Digest) {
	if b.arriving[d]--; b.arriving[d] <= 0 {
		delete(b.arriving, d)
	}
}

// note takes note that d, which the next manifest will name, went to segment s.
// Callers hold b.mu.
func (b *Body) note(d block.Digest, s block.Segment) {
	if b.fresh == nil {
		b.fresh = map[block.Digest]uint64{}
	}
	b.fresh[d] = b.round
	b.touch(s)
	b.dirty = true
}

// noted forgets what was noted up to round, as it was saved. Callers hold b.mu.
func (b *Body) noted(round uint64) {
	maps.DeleteFunc(b.fresh, func(_ block.Digest, r uint64) bool { return r <= round })
}
