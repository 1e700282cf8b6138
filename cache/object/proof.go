package object

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"slices"
)

// MaxProof bounds a proof in bytes.
const MaxProof = 16 << 10

func proofKey(id ID) []byte { return append([]byte{prefixProof}, id[:]...) }

// SetProof keeps what o's authority has signed of it, for those who can't ask
// the authority. It lies beside the record: hardly anybody reads it. One that is
// gone stays gone (ErrNotFound).
func (s *Store) SetProof(_ context.Context, o *Object, proof []byte) error {
	if len(proof) == 0 || len(proof) > MaxProof {
		return fmt.Errorf("a proof has %d bytes, at most %d", len(proof), MaxProof)
	}
	return s.edit(o.Key, func(set Set) (Set, []Change, error) {
		i := slices.IndexFunc(set, func(x *Object) bool { return x.ID == o.ID })
		if i < 0 {
			return nil, nil, ErrNotFound
		}
		n := *set[i]
		n.Proven = o.ResponseTime.Unix()
		set[i] = &n
		key := proofKey(o.ID)
		return set, []Change{{Key: key, Value: seal(key, slices.Clone(proof))}}, nil
	})
}

// Proof returns what SetProof kept of o; nothing if there is nothing sound.
func (s *Store) Proof(o *Object) ([]byte, error) {
	if o.Proven == 0 {
		return nil, nil
	}
	key := proofKey(o.ID)
	b, err := s.kv.Get(key)
	if errors.Is(err, ErrNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read proof: %w", err)
	}
	if b, err = unseal(key, b); err != nil {
		s.metrics.damaged.Inc()
		return nil, nil //nolint:nilerr // it is asked for again
	}
	return b, nil
}

// Name is the keyed hash of one URL as it is written, whole: unlike a mark it
// tells a URL from all others, those that mean the same among them.
func (m Marker) Name(site, url string) [sha256.Size]byte {
	return m.whole(nameWhole, site, url)
}
