package popular

import (
	"errors"
	"fmt"
	"math"

	"github.com/cespare/xxhash/v2"
	"github.com/fxamacker/cbor/v2"
)

// version opens what is written. Encodings are for ever.
const version = 1

// errDamaged: whoever gets it begins anew.
var errDamaged = errors.New("the counts are damaged")

type saved struct {
	SlotNS int64           `cbor:"1,keyasint"`
	Seq    uint64          `cbor:"2,keyasint"`
	Keys   map[string]kept `cbor:"3,keyasint"`
	Out    *Digest         `cbor:"4,keyasint,omitempty"`
	Taken  map[string]kept `cbor:"5,keyasint,omitempty"`
}

type kept struct {
	_    struct{} `cbor:",toarray"`
	Last int64
	Hits []uint32
}

var decoder = func() cbor.DecMode {
	m, err := cbor.DecOptions{MaxArrayElements: 100_001, MaxMapPairs: 1_000_001, MaxNestedLevels: 8, DupMapKey: cbor.DupMapKeyEnforcedAPF}.DecMode()
	if err != nil {
		panic(err) //nolint:forbidigo // a constant is wrong
	}
	return m
}()

// MarshalBinary writes everything down, a digest that is not acknowledged too.
func (c *Counter) MarshalBinary() ([]byte, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	s := saved{SlotNS: int64(c.slot), Seq: c.seq, Keys: make(map[string]kept, len(c.keys)), Out: c.out}
	for key, k := range c.keys {
		s.Keys[key] = k.kept()
	}
	if c.out != nil {
		s.Taken = make(map[string]kept, len(c.taken))
		for key, k := range c.taken {
			s.Taken[key] = k.kept()
		}
	}
	mode, err := cbor.CoreDetEncOptions().EncMode()
	if err != nil {
		return nil, err
	}
	b, err := mode.Marshal(s)
	if err != nil {
		return nil, fmt.Errorf("encode counts: %w", err)
	}
	out := append(make([]byte, 0, len(b)+9), version)
	for sum, i := xxhash.Sum64(b), 0; i < 8; i++ {
		out = append(out, byte(sum>>(8*i)))
	}
	return append(out, b...), nil
}

// kept leaves out the empty buckets at the end.
func (k *count) kept() kept {
	n := buckets
	for n > 0 && k.hits[n-1] == 0 {
		n--
	}
	return kept{Last: k.last, Hits: append([]uint32(nil), k.hits[:n]...)}
}

func (k kept) count() (out count, ok bool) {
	if len(k.Hits) > buckets || k.Last < 0 || k.Last > math.MaxInt64/2 {
		return out, false
	}
	out.last = k.Last
	copy(out.hits[:], k.Hits)
	return out, true
}

// UnmarshalBinary takes up what MarshalBinary wrote. Counts made with another
// window are left out; after an error the Counter is as it was.
func (c *Counter) UnmarshalBinary(b []byte) error {
	if len(b) < 9 || b[0] != version {
		return errDamaged
	}
	var sum uint64
	for i := range 8 {
		sum |= uint64(b[1+i]) << (8 * i)
	}
	if b = b[9:]; xxhash.Sum64(b) != sum {
		return errDamaged
	}
	return c.load(b)
}

// load decodes what lies behind the checksum.
func (c *Counter) load(b []byte) error {
	var s saved
	if err := decoder.Unmarshal(b, &s); err != nil {
		return fmt.Errorf("%w: %w", errDamaged, err)
	}
	keys, taken := map[string]*count{}, map[string]count{}
	if s.SlotNS != int64(c.slot) {
		s.Keys, s.Out, s.Taken = nil, nil, nil
	}
	for key, k := range s.Keys {
		n, ok := k.count()
		if !ok || key == "" || len(key) > maxKey {
			return errDamaged
		}
		if len(keys) < c.cfg.Keys {
			keys[key] = &n
		}
	}
	if s.Out != nil {
		if s.Out.Seq != s.Seq || len(s.Taken) != len(s.Out.Entries) {
			return errDamaged
		}
		for _, e := range s.Out.Entries {
			n, ok := s.Taken[e.Key].count()
			if _, there := s.Taken[e.Key]; !there || !ok || e.Key == "" || len(e.Key) > maxKey || math.IsNaN(e.Weight) || math.IsInf(e.Weight, 0) {
				return errDamaged
			}
			taken[e.Key] = n
		}
	} else {
		taken = nil
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.keys, c.seq, c.out, c.taken = keys, s.Seq, s.Out, taken
	return nil
}
