package kvtest_test

import (
	"errors"
	"testing"

	"preau/replication/kv"
	"preau/replication/kv/kvtest"
)

func TestMemory(t *testing.T) {
	kvtest.Run(t, func(*testing.T) kv.Store { return kvtest.NewMemory() },
		func(_ *testing.T, s kv.Store) kv.Store { return s.(*kvtest.Memory).Crash() })
}

func TestCrashKeepsOnlyWhatIsDurable(t *testing.T) {
	s := kvtest.NewMemory()
	kvtest.Put(t, s, "a", "1")
	var next *kvtest.Memory
	err := s.Update(func(tx kv.Tx) error {
		next = s.Crash()
		return tx.Put([]byte("b"), nil)
	})
	if err == nil {
		t.Error("an update that the crash cut off was acknowledged")
	}
	kvtest.Check(t, next, map[string]string{"a": "1"})
	if _, err := s.View(); err == nil {
		t.Error("a crashed store still answers")
	}
}

func TestFail(t *testing.T) {
	s := kvtest.NewMemory()
	kvtest.Put(t, s, "a", "1")
	s.Fail(kv.ErrFull)
	if err := s.Update(func(tx kv.Tx) error { return tx.Put([]byte("b"), nil) }); !errors.Is(err, kv.ErrFull) {
		t.Errorf("Update: %v", err)
	}
	kvtest.Check(t, s, map[string]string{"a": "1"})
	s.Fail(nil)
	kvtest.Put(t, s, "b", "2")
	kvtest.Check(t, s, map[string]string{"a": "1", "b": "2"})
}
