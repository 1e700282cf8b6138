package storage

import (
	"io"

	"github.com/prometheus/client_golang/prometheus"

	"preau/cache/object"
)

// ReadLedger counts the entries of a ledger.
func ReadLedger(r io.Reader) (n int) {
	readEntries(r, func(entry) { n++ })
	return n
}

// OnWrite has fn called before each write of what is known of objects; an error
// of its is the write's. It is called before anything is stored.
func (s *Storage) OnWrite(fn func() error) (err error) {
	s.objects, err = s.newObjects(watched{s.meta, fn}, s.log, prometheus.NewRegistry())
	return err
}

type watched struct {
	object.KV
	fn func() error
}

func (w watched) Write(batch []object.Change) error {
	if err := w.fn(); err != nil {
		return err
	}
	return w.KV.Write(batch)
}
