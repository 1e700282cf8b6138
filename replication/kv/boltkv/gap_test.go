package boltkv_test

import (
	"bytes"
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"preau/replication/kv"
	"preau/replication/kv/boltkv"
)

// Puts and deletions in any order and mixture, most of them ascending, leave
// what they should, and a file whose totals are right: that no key which is
// there is taken for a new one.
func TestKeysThatAreThereAreNotTakenForNew(t *testing.T) {
	path := filepath.Join(t.TempDir(), "kv")
	s, err := boltkv.Open(path, boltkv.DefaultConfig())
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	}()
	model := map[string]string{}
	round := 0
	rapid.Check(t, func(rt *rapid.T) {
		next := maps.Clone(model)
		err := s.Update(func(tx kv.Tx) error {
			at := 0
			for range rapid.IntRange(1, 60).Draw(rt, "steps") {
				switch rapid.IntRange(0, 9).Draw(rt, "step") {
				case 0: // anywhere
					at = rapid.IntRange(0, 300).Draw(rt, "at")
				case 1: // the same again
				default:
					at += rapid.IntRange(1, 3).Draw(rt, "on")
				}
				key := fmt.Sprintf("%04d", at)
				if rapid.IntRange(0, 4).Draw(rt, "what") == 0 {
					if err := tx.Delete([]byte(key)); err != nil {
						return err
					}
					delete(next, key)
					continue
				}
				round++
				value := fmt.Sprint(round)
				if err := tx.Put([]byte(key), []byte(value)); err != nil {
					return err
				}
				next[key] = value
			}
			return nil
		})
		if err != nil {
			rt.Fatal(err)
		}
		model = next
		if err := s.Check(t.Context()); err != nil {
			rt.Fatal(err)
		}
	})
	v, err := s.View()
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]string{}
	if err := v.Scan(nil, nil, func(k, value []byte) bool { got[string(k)] = string(bytes.Clone(value)); return true }); err != nil {
		t.Error(err)
	}
	if err := v.Close(); err != nil {
		t.Error(err)
	}
	if !maps.Equal(got, model) {
		t.Errorf("the store has %d keys, the model %d, or other values: %v", len(got), len(model), slices.Sorted(maps.Keys(got)))
	}
}
