package gossip

import (
	"bytes"
	"fmt"
	"slices"

	"github.com/hashicorp/memberlist"
)

// rotate makes ring hold keys, in that order.
//
// RemoveKey of the ring moves keys about in a slice that packets are being
// opened with, except if the key is the last one. So those that go are brought
// to the end first.
func rotate(ring *memberlist.Keyring, keys [][]byte) error {
	for _, k := range keys {
		if err := ring.AddKey(bytes.Clone(k)); err != nil {
			return fmt.Errorf("add key: %w", err)
		}
	}
	for _, k := range slices.Backward(keys) {
		if err := ring.UseKey(k); err != nil {
			return fmt.Errorf("use key: %w", err)
		}
	}
	held := ring.GetKeys()
	for _, k := range slices.Backward(held) {
		if slices.ContainsFunc(keys, func(x []byte) bool { return bytes.Equal(x, k) }) {
			continue
		}
		if err := ring.RemoveKey(k); err != nil {
			return fmt.Errorf("remove key: %w", err)
		}
	}
	return nil
}
