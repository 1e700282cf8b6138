package boltkv

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"

	"preau/replication/kv"
)

// The buckets of a file and the keys of the one that describes it.
var (
	dataBucket  = []byte("d")
	metaBucket  = []byte("m")
	spareBucket = []byte("s")

	formatKey = []byte("format")
	totalsKey = []byte("totals")
)

// format changes with the meaning of anything in the file.
const format = "preau kv 1"

const (
	crcLen    = 4
	totalsLen = 8 + 8 + crcLen
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// checksum covers the key too, with its length, so that a value under another
// key is damage as well.
func checksum(key, value []byte) uint32 {
	var n [4]byte
	binary.LittleEndian.PutUint32(n[:], uint32(len(key)))
	c := crc32.Update(0, castagnoli, n[:])
	c = crc32.Update(c, castagnoli, key)
	return crc32.Update(c, castagnoli, value)
}

// seal returns what is stored for value: its checksum, then itself.
func seal(key, value []byte) []byte {
	b := make([]byte, crcLen, crcLen+len(value))
	binary.LittleEndian.PutUint32(b, checksum(key, value))
	return append(b, value...)
}

// unseal returns the value in rec, which aliases it, or false.
func unseal(key, rec []byte) ([]byte, bool) {
	if len(rec) < crcLen || binary.LittleEndian.Uint32(rec) != checksum(key, rec[crcLen:]) {
		return nil, false
	}
	return rec[crcLen:], true
}

// totals is what tells that no record has gone missing.
type totals struct {
	count uint64 // of records
	sum   uint64 // of their checksums
}

func (t *totals) add(rec []byte) {
	t.count++
	t.sum += uint64(binary.LittleEndian.Uint32(rec))
}

func (t *totals) remove(rec []byte) {
	t.count--
	t.sum -= uint64(binary.LittleEndian.Uint32(rec))
}

func (t *totals) encode() []byte {
	b := make([]byte, 0, totalsLen)
	b = binary.LittleEndian.AppendUint64(b, t.count)
	b = binary.LittleEndian.AppendUint64(b, t.sum)
	return binary.LittleEndian.AppendUint32(b, checksum(totalsKey, b))
}

func decodeTotals(b []byte) (totals, error) {
	if len(b) != totalsLen {
		return totals{}, errors.New("totals have the wrong length")
	}
	if binary.LittleEndian.Uint32(b[16:]) != checksum(totalsKey, b[:16]) {
		return totals{}, errors.New("totals fail their checksum")
	}
	return totals{count: binary.LittleEndian.Uint64(b), sum: binary.LittleEndian.Uint64(b[8:])}, nil
}

// checkPair refuses what no store may keep.
func checkPair(key, value []byte) error {
	if len(key) == 0 || len(key) > kv.MaxKey {
		return fmt.Errorf("put: key of %d bytes: want 1 to %d", len(key), kv.MaxKey)
	}
	if len(value) > kv.MaxValue {
		return fmt.Errorf("put: value of %d bytes: want at most %d", len(value), kv.MaxValue)
	}
	return nil
}
