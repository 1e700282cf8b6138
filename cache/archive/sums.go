package archive

import (
	"context"
	"fmt"
)

// A checksum as the Layout remembers it: 0 until it is known, then its value and
// this bit; or spoiled, once the file had two.
const (
	known   = 1 << 32
	spoiled = 1 << 33
)

// learn takes note of a checksum, and reports if it was another before.
func (l *Layout) learn(i int, sum uint32) error {
	now := known | uint64(sum)
	if l.sums[i].CompareAndSwap(0, now) || l.sums[i].Load() == now {
		return nil
	}
	l.sums[i].Store(spoiled)
	return fmt.Errorf("entry %d has other bytes than before: %w", l.files[i].given, ErrChanged)
}

// sum returns a file's checksum, and asks the source for it if nobody has read
// the whole file yet.
func (l *Layout) sum(ctx context.Context, i int, src Source) (uint32, error) {
	f := &l.files[i]
	if f.size == 0 {
		return 0, nil
	}
	switch v := l.sums[i].Load(); {
	case v&spoiled != 0:
		return 0, fmt.Errorf("entry %d has other bytes than before: %w", f.given, ErrChanged)
	case v&known != 0:
		return uint32(v), nil //nolint:gosec // its low half
	}
	sum, err := src.CRC32(ctx, f.given)
	if err != nil {
		return 0, fmt.Errorf("checksum of entry %d: %w", f.given, err)
	}
	return sum, l.learn(i, sum)
}
