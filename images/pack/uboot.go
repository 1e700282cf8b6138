package main

import (
	"bytes"
	"encoding/binary"
	"hash/crc32"
	"time"
)

// What the header of an image for U-Boot says of a script.
const (
	ubootMagic  = 0x27051956
	ubootHeader = 64
	ubootLinux  = 5
	ubootARM64  = 22
	ubootIsText = 6
)

// ubootScript wraps a script as U-Boot reads it: a header with sums, a list of
// lengths that ends with 0, and the text.
func ubootScript(text []byte, made time.Time) []byte {
	var body bytes.Buffer
	for _, length := range []uint32{uint32(len(text)), 0} { //nolint:gosec // some kilobytes
		body.Write(binary.BigEndian.AppendUint32(nil, length))
	}
	body.Write(text)
	header := binary.BigEndian.AppendUint32(nil, ubootMagic)
	header = append(header, 0, 0, 0, 0)                                                                           // the header's own sum, below
	for _, v := range []uint32{uint32(made.Unix()), uint32(body.Len()), 0, 0, crc32.ChecksumIEEE(body.Bytes())} { //nolint:gosec // its time has 32 bits
		header = binary.BigEndian.AppendUint32(header, v)
	}
	header = append(header, ubootLinux, ubootARM64, ubootIsText, 0)
	header = append(header, "preau"...)
	header = append(header, make([]byte, ubootHeader-len(header))...)
	binary.BigEndian.PutUint32(header[4:], crc32.ChecksumIEEE(header))
	return append(header, body.Bytes()...)
}
