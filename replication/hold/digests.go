package hold

import (
	"errors"
	"fmt"

	"preau/cache/block"
)

// MaxDigests is how many digests one list may have: as many as fit in a block,
// which names a file of 32 GiB.
const MaxDigests = block.Size / len(block.Digest{})

// EncodeManifest writes the digests of a file's blocks one after the other, to be
// kept as a block itself when they are too many for an entry of the catalogue.
// The file's length and its SHA-256 are not in it: they stay in the entry. It
// returns ErrTooLarge for more than MaxDigests.
func EncodeManifest(digests []block.Digest) ([]byte, error) {
	switch {
	case len(digests) == 0:
		return nil, errors.New("encode manifest: no blocks")
	case len(digests) > MaxDigests:
		return nil, fmt.Errorf("encode manifest of %d blocks, at most %d fit: %w", len(digests), MaxDigests, ErrTooLarge)
	}
	for i, d := range digests {
		if d.IsZero() {
			return nil, fmt.Errorf("encode manifest: block %d has no digest", i)
		}
	}
	return appendDigests(make([]byte, 0, len(digests)*len(block.Digest{})), digests), nil
}

func appendDigests(b []byte, digests []block.Digest) []byte {
	for i := range digests {
		b = append(b, digests[i][:]...)
	}
	return b
}

// DecodeManifest reads what EncodeManifest wrote and refuses all else.
func DecodeManifest(b []byte) ([]block.Digest, error) {
	if len(b) == 0 {
		return nil, errors.New("decode manifest: no blocks")
	}
	digests, err := parseDigests(b)
	if err != nil {
		return nil, fmt.Errorf("decode manifest: %w", err)
	}
	return digests, nil
}

// parseDigests reads a list of digests, which may be empty.
func parseDigests(b []byte) ([]block.Digest, error) {
	const size = len(block.Digest{})
	switch {
	case len(b)%size != 0:
		return nil, fmt.Errorf("%d bytes are no whole number of digests", len(b))
	case len(b) > MaxDigests*size:
		return nil, fmt.Errorf("list of %d digests, want at most %d", len(b)/size, MaxDigests)
	}
	digests := make([]block.Digest, len(b)/size)
	for i := range digests {
		copy(digests[i][:], b[i*size:])
		if digests[i].IsZero() {
			return nil, fmt.Errorf("digest %d of the list is zero and names nothing", i)
		}
	}
	return digests, nil
}
