package badgermeta

import (
	badger "github.com/dgraph-io/badger/v4"
)

// ScanAfter calls fn in order for the keys with the prefix that come strictly
// after after (nil: from the first), until fn returns false. The slices are
// fn's only until it returns.
func (s *Store) ScanAfter(prefix, after []byte, fn func(key, value []byte) (more bool)) error {
	return s.db.View(func(txn *badger.Txn) error {
		o := badger.DefaultIteratorOptions
		o.Prefix, o.PrefetchValues = prefix, false
		it := txn.NewIterator(o)
		defer it.Close()
		if after == nil {
			it.Rewind()
		} else {
			it.Seek(append(append([]byte(nil), after...), 0))
		}
		for more := true; more && it.Valid(); it.Next() {
			err := it.Item().Value(func(v []byte) error {
				more = fn(it.Item().Key(), v)
				return nil
			})
			if err != nil {
				return err
			}
		}
		return nil
	})
}
