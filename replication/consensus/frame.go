package consensus

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"github.com/cespare/xxhash/v2"
)

// A snapshot is framed, so that whoever restores it knows whose it is, at which
// index, and whether all of it came:
//
//	"PREAUSN1"
//	length (2 bytes) and cluster id
//	applied index, applied term, reached index (8 bytes each)
//	chunks: length (4 bytes, never 0), bytes
//	0 (4 bytes), xxhash of everything before it but the chunk lengths (8 bytes)
//
// All numbers are big-endian.
const (
	frameMagic = "PREAUSN1"
	frameChunk = 64 << 10
	maxName    = 200
)

// position is what a snapshot stands for. Reached is the last index that the
// machine has been told of, which is past index where the entries after it were
// no commands.
type position struct {
	cluster              string
	index, term, reached uint64
}

type frameWriter struct {
	w   *bufio.Writer
	sum *xxhash.Digest
}

func newFrameWriter(w io.Writer, p position) (*frameWriter, error) {
	f := &frameWriter{w: bufio.NewWriterSize(w, frameChunk+4), sum: xxhash.New()}
	head := []byte(frameMagic)
	head = binary.BigEndian.AppendUint16(head, uint16(len(p.cluster)))
	head = append(head, p.cluster...)
	for _, v := range []uint64{p.index, p.term, p.reached} {
		head = binary.BigEndian.AppendUint64(head, v)
	}
	if _, err := f.sum.Write(head); err != nil {
		return nil, err
	}
	_, err := f.w.Write(head)
	return f, err
}

// Write implements io.Writer.
func (f *frameWriter) Write(p []byte) (int, error) {
	done := 0
	for len(p) > 0 {
		chunk := p[:min(len(p), frameChunk)]
		var n [4]byte
		binary.BigEndian.PutUint32(n[:], uint32(len(chunk)))
		if _, err := f.w.Write(n[:]); err != nil {
			return done, err
		}
		if _, err := f.sum.Write(chunk); err != nil {
			return done, err
		}
		if _, err := f.w.Write(chunk); err != nil {
			return done, err
		}
		done += len(chunk)
		p = p[len(chunk):]
	}
	return done, nil
}

// finish writes the end, without which the whole is worth nothing.
func (f *frameWriter) finish() error {
	end := binary.BigEndian.AppendUint64(make([]byte, 4, 12), f.sum.Sum64())
	if _, err := f.w.Write(end); err != nil {
		return err
	}
	return f.w.Flush()
}

var errFrame = errors.New("snapshot is damaged or cut short")

type frameReader struct {
	position
	r    *bufio.Reader
	sum  *xxhash.Digest
	left uint32
	err  error
}

func newFrameReader(r io.Reader) (*frameReader, error) {
	f := &frameReader{r: bufio.NewReaderSize(r, frameChunk), sum: xxhash.New()}
	head := make([]byte, len(frameMagic)+2)
	if err := f.fill(head); err != nil {
		return nil, err
	}
	if string(head[:len(frameMagic)]) != frameMagic {
		return nil, fmt.Errorf("%w: it does not begin like one", errFrame)
	}
	name := int(binary.BigEndian.Uint16(head[len(frameMagic):]))
	if name > maxName {
		return nil, fmt.Errorf("%w: region id of %d bytes", errFrame, name)
	}
	rest := make([]byte, name+24)
	if err := f.fill(rest); err != nil {
		return nil, err
	}
	f.cluster = string(rest[:name])
	f.index = binary.BigEndian.Uint64(rest[name:])
	f.term = binary.BigEndian.Uint64(rest[name+8:])
	f.reached = binary.BigEndian.Uint64(rest[name+16:])
	return f, nil
}

func (f *frameReader) fill(p []byte) error {
	if _, err := io.ReadFull(f.r, p); err != nil {
		return fmt.Errorf("%w: %w", errFrame, noEOF(err))
	}
	_, err := f.sum.Write(p)
	return err
}

// Read implements io.Reader; io.EOF comes only when everything was there and
// the sum is right.
func (f *frameReader) Read(p []byte) (int, error) {
	if f.err != nil {
		return 0, f.err
	}
	if len(p) == 0 {
		return 0, nil
	}
	if f.left == 0 {
		if f.err = f.next(); f.err != nil {
			return 0, f.err
		}
	}
	n, err := f.r.Read(p[:min(uint32(len(p)), f.left)])
	f.left -= uint32(n)
	if _, e := f.sum.Write(p[:n]); e != nil {
		err = e
	}
	if err != nil {
		f.err = fmt.Errorf("%w: %w", errFrame, noEOF(err))
	}
	return n, f.err
}

// next reads the head of a chunk, or the end.
func (f *frameReader) next() error {
	var b [8]byte
	if _, err := io.ReadFull(f.r, b[:4]); err != nil {
		return fmt.Errorf("%w: %w", errFrame, noEOF(err))
	}
	f.left = binary.BigEndian.Uint32(b[:4])
	if f.left > frameChunk {
		return fmt.Errorf("%w: chunk of %d bytes", errFrame, f.left)
	}
	if f.left > 0 {
		return nil
	}
	if _, err := io.ReadFull(f.r, b[:]); err != nil {
		return fmt.Errorf("%w: %w", errFrame, noEOF(err))
	}
	if binary.BigEndian.Uint64(b[:]) != f.sum.Sum64() {
		return fmt.Errorf("%w: wrong sum", errFrame)
	}
	return io.EOF
}

// noEOF keeps a frame that ends too early from looking like one that ends.
func noEOF(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}
