package object

// KV is the ordered store of small values that the objects lie in. Its methods
// may be called concurrently.
type KV interface {
	// Get returns the value of key, or ErrNotFound. The caller owns the result.
	Get(key []byte) ([]byte, error)
	// Write carries out all changes of a batch or none, in batches of up to
	// 10,000 changes and 1 MiB; larger ones may stop between such steps. ErrFull
	// if the disk has no room for it.
	Write(batch []Change) error
	// Scan calls fn for every key with the prefix, in order, until fn returns
	// an error; ErrStopScan ends it without one. The slices are fn's only
	// until it returns. keysOnly leaves values out.
	Scan(prefix []byte, keysOnly bool, fn func(key, value []byte) error) error
}

// Change sets a key, or deletes it where Delete is true.
type Change struct {
	Key, Value []byte
	Delete     bool
}
