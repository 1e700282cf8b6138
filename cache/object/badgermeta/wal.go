package badgermeta

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io/fs"
	"os"
	"path/filepath"
)

// Badger replays a memtable's log up to the first entry that it can't read and
// cuts off the rest without a word. After a kill that rest is at most the one
// entry that was being written; anything more means that the file was damaged.
//
// A log is a header of walHeader bytes, then entries: meta and user meta (a
// byte each), the lengths of key and value and the expiry as varints, key,
// value, and the CRC-32C of it all, big-endian; then zeroes to the file's end.
const (
	walHeader = 20
	maxValue  = 1 << 20 // what Badger takes, with a value log as small as ours
)

// checkLogs reads the logs that a process left that was not closed.
func checkLogs(dir string, must bool) error {
	names, err := filepath.Glob(filepath.Join(dir, "*.mem"))
	if err != nil {
		return err
	}
	found := false
	for _, name := range names {
		b, err := os.ReadFile(name)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return fmt.Errorf("read log: %w", err)
		}
		if len(b) == 0 {
			continue // the next one, made ahead
		}
		found = true
		if err := checkLog(b); err != nil {
			return fmt.Errorf("log %s is damaged: %w", filepath.Base(name), err)
		}
	}
	if must && !found {
		return errors.New("the log of the latest records is gone")
	}
	return nil
}

func checkLog(b []byte) error {
	if len(b) < walHeader {
		return errors.New("it has no header")
	}
	at := walHeader
	for at < len(b) && sound(b[at:]) {
		_, size := entrySize(b[at:])
		at += size
	}
	rest := b[at:]
	if head, size := entrySize(rest); head > 0 {
		if size > len(rest) {
			return fmt.Errorf("it ends within the entry at %d", at)
		}
		// The one that was being written, unless its length is what is wrong:
		// then it seems to contain others.
		for i := head; i < size; i++ {
			if rest[i]&0xC0 != 0 && sound(rest[i:]) {
				return fmt.Errorf("entry at %d can't be read, but one at %d can", at, at+i)
			}
		}
		rest = rest[size:]
	}
	for i, c := range rest {
		if c != 0 {
			return fmt.Errorf("entry at %d can't be read, and there is more at %d", at, len(b)-len(rest)+i)
		}
	}
	return nil
}

// sound reports whether b begins with a whole entry.
func sound(b []byte) bool {
	head, size := entrySize(b)
	if head == 0 || size > len(b) {
		return false
	}
	sum := size - crc32.Size
	return crc32.Checksum(b[:sum], crc32.MakeTable(crc32.Castagnoli)) == binary.BigEndian.Uint32(b[sum:])
}

// entrySize is the length of the entry that b begins with and of its head; a
// head of 0 is none.
func entrySize(b []byte) (head, size int) {
	if len(b) < 2 || b[1] != 0 { // no user meta is ever set
		return 0, 0
	}
	head = 2
	var lens [3]uint64
	for i := range lens {
		v, n := binary.Uvarint(b[head:])
		if n <= 0 {
			return 0, 0
		}
		lens[i], head = v, head+n
	}
	if lens[0] == 0 || lens[0] > 1<<16 || lens[1] > maxValue || lens[2] != 0 { // nothing expires
		return 0, 0
	}
	return head, head + int(lens[0]) + int(lens[1]) + crc32.Size
}
