package storage

import "io"

// ReadLedger counts the entries of a ledger.
func ReadLedger(r io.Reader) (n int) {
	readEntries(r, func(entry) { n++ })
	return n
}
