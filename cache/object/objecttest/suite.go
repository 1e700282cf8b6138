package objecttest

import (
	"errors"
	"fmt"
	"testing"

	"preau/cache/object"
)

// Run runs the suite that every object.KV must pass. open returns an empty one.
func Run(t *testing.T, open func(*testing.T) object.KV) {
	set := func(k, v string) object.Change { return object.Change{Key: []byte(k), Value: []byte(v)} }
	del := func(k string) object.Change { return object.Change{Key: []byte(k), Delete: true} }
	write := func(t *testing.T, kv object.KV, cs ...object.Change) {
		t.Helper()
		if err := kv.Write(cs); err != nil {
			t.Fatal(err)
		}
	}
	list := func(t *testing.T, kv object.KV, prefix string) string {
		t.Helper()
		var out string
		if err := kv.Scan([]byte(prefix), false, func(k, v []byte) error { out += fmt.Sprintf("%s=%s ", k, v); return nil }); err != nil {
			t.Fatal(err)
		}
		return out
	}
	t.Run("what was written is read", func(t *testing.T) {
		kv := open(t)
		write(t, kv, set("a", "1"), set("b", "2"))
		if v, err := kv.Get([]byte("b")); err != nil || string(v) != "2" {
			t.Errorf("Get(b) = %q, %v", v, err)
		}
	})
	t.Run("what was not written is not found", func(t *testing.T) {
		if _, err := open(t).Get([]byte("a")); !errors.Is(err, object.ErrNotFound) {
			t.Errorf("err = %v, want ErrNotFound", err)
		}
	})
	t.Run("the last change of a batch counts", func(t *testing.T) {
		kv := open(t)
		write(t, kv, set("a", "1"), del("a"), set("a", "2"), set("b", "1"), del("b"))
		if got := list(t, kv, ""); got != "a=2 " {
			t.Errorf("kept %q", got)
		}
	})
	t.Run("a scan is ordered and keeps to its prefix", func(t *testing.T) {
		kv := open(t)
		write(t, kv, set("b2", "y"), set("a", "z"), set("b1", "x"), set("c", "w"))
		if got := list(t, kv, "b"); got != "b1=x b2=y " {
			t.Errorf("scan = %q", got)
		}
	})
	t.Run("a scan stops when told", func(t *testing.T) {
		kv := open(t)
		write(t, kv, set("a1", ""), set("a2", ""), set("a3", ""))
		n := 0
		err := kv.Scan([]byte("a"), true, func(_, v []byte) error {
			n++
			if len(v) > 0 {
				t.Error("a scan of keys brings values")
			}
			if n == 2 {
				return object.ErrStopScan
			}
			return nil
		})
		if err != nil || n != 2 {
			t.Errorf("n = %d, err = %v", n, err)
		}
		wrong := errors.New("no")
		if err := kv.Scan([]byte("a"), true, func(_, _ []byte) error { return wrong }); !errors.Is(err, wrong) {
			t.Errorf("err = %v, want fn's", err)
		}
	})
	t.Run("a large batch is written", func(t *testing.T) {
		kv := open(t)
		var cs []object.Change
		for i := range 5000 {
			cs = append(cs, set(fmt.Sprintf("k%05d", i), "value"))
		}
		write(t, kv, cs...)
		n := 0
		if err := kv.Scan([]byte("k"), true, func(_, _ []byte) error { n++; return nil }); err != nil || n != 5000 {
			t.Errorf("n = %d, err = %v", n, err)
		}
	})
	t.Run("an empty batch is no error", func(t *testing.T) {
		write(t, open(t))
	})
}
