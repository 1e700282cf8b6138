package object

import (
	"encoding/binary"
	"fmt"
)

func pinKey(k Key) []byte { return append([]byte{prefixPin}, k[:]...) }

// Pins returns the keys that are to stay and the bytes that each reserves.
// Records that are damaged are left out: whoever pinned will pin again.
func (s *Store) Pins() (map[Key]int64, error) {
	pins := map[Key]int64{}
	err := s.kv.Scan([]byte{prefixPin}, false, func(key, value []byte) error {
		b, err := unseal(key, value)
		if err != nil || len(key) != 1+len(Key{}) {
			s.metrics.damaged.Inc()
			return nil
		}
		if n, w := binary.Uvarint(b); w == len(b) && int64(n) >= 0 {
			pins[Key(key[1:])] = int64(n)
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("list pins: %w", err)
	}
	return pins, nil
}

// SavePin records that what k names is to stay and reserves size bytes.
func (s *Store) SavePin(k Key, size int64) error {
	key := pinKey(k)
	value := seal(key, binary.AppendUvarint(nil, uint64(max(0, size))))
	if err := s.kv.Write([]Change{{Key: key, Value: value}}); err != nil {
		return fmt.Errorf("record pin: %w", err)
	}
	return nil
}

// RemovePin forgets a pin; one that is not there is no error.
func (s *Store) RemovePin(k Key) error {
	if err := s.kv.Write([]Change{{Key: pinKey(k), Delete: true}}); err != nil {
		return fmt.Errorf("forget pin: %w", err)
	}
	return nil
}
