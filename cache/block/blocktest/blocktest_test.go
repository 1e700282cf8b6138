package blocktest_test

import (
	"bytes"
	"errors"
	"testing"

	"preau/cache/block"
	"preau/cache/block/blocktest"
)

func TestMemory(t *testing.T) {
	blocktest.Run(t, func(*testing.T) block.Store { return blocktest.NewMemory(0) })
}

func TestMemoryDamage(t *testing.T) {
	m := blocktest.NewMemory(0)
	p := blocktest.Bytes(1, 5000)
	d := block.Sum(p)
	if m.Damage(d) {
		t.Error("damaged a block that is not there")
	}
	if _, err := m.Put(t.Context(), 0, d, p); err != nil {
		t.Fatal(err)
	}
	if !m.Damage(d) {
		t.Fatal("could not damage a block that is there")
	}
	b, err := m.Open(d)
	if err != nil {
		t.Fatal(err)
	}
	var buf bytes.Buffer
	if n, err := b.WriteRange(&buf, 10, 10); n != 0 || buf.Len() != 0 || !errors.Is(err, block.ErrCorrupt) || !errors.Is(err, block.ErrNotFound) {
		t.Errorf("WriteRange = %d, %v, wrote %d bytes", n, err, buf.Len())
	}
	if _, err := m.Open(d); !errors.Is(err, block.ErrNotFound) {
		t.Errorf("Open after damage was found: %v", err)
	}
}

func TestMemoryLimit(t *testing.T) {
	m := blocktest.NewMemory(1000)
	p := blocktest.Bytes(1, 600)
	if _, err := m.Put(t.Context(), 0, block.Sum(p), p); err != nil {
		t.Fatal(err)
	}
	q := blocktest.Bytes(2, 600)
	if _, err := m.Put(t.Context(), 0, block.Sum(q), q); !errors.Is(err, block.ErrNoSpace) {
		t.Errorf("Put beyond the limit: %v", err)
	}
	m.Drop(block.Sum(p))
	if _, err := m.Put(t.Context(), 0, block.Sum(q), q); err != nil {
		t.Errorf("Put after Drop made room: %v", err)
	}
	if m.Len() != 1 || m.Bytes() != 600 || m.Puts() != 2 {
		t.Errorf("Len %d, Bytes %d, Puts %d", m.Len(), m.Bytes(), m.Puts())
	}
}
