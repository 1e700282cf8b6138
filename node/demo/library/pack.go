package library

import (
	"encoding/binary"
	"errors"
	"io"
)

// pack is a body of any size that is computed where it is read: the same
// bytes for the same seed, and no memory. It does not compress.
type pack struct {
	seed uint64
	size int64
	at   int64
}

// word is splitmix64: the i-th word can be had without those before it.
func word(seed uint64, i int64) uint64 {
	z := seed + uint64(i+1)*0x9e3779b97f4a7c15
	z = (z ^ z>>30) * 0xbf58476d1ce4e5b9
	z = (z ^ z>>27) * 0x94d049bb133111eb
	return z ^ z>>31
}

func (p *pack) Read(b []byte) (int, error) {
	if p.at >= p.size {
		return 0, io.EOF
	}
	b = b[:min(int64(len(b)), p.size-p.at)]
	n := 0
	var one [8]byte
	for n < len(b) {
		i, off := p.at/8, p.at%8
		if off == 0 && len(b)-n >= 8 {
			binary.LittleEndian.PutUint64(b[n:], word(p.seed, i))
			n += 8
			p.at += 8
			continue
		}
		binary.LittleEndian.PutUint64(one[:], word(p.seed, i))
		m := copy(b[n:], one[off:])
		n += m
		p.at += int64(m)
	}
	return n, nil
}

func (p *pack) Seek(offset int64, whence int) (int64, error) {
	switch whence {
	case io.SeekCurrent:
		offset += p.at
	case io.SeekEnd:
		offset += p.size
	}
	if offset < 0 {
		return 0, errors.New("seek before the start")
	}
	p.at = offset
	return offset, nil
}
