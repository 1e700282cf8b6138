package dirstore

import (
	"bytes"
	"context"
	"crypto/md5"
	"crypto/rand"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"os"
	"path/filepath"
	"time"

	"preau/replication/central/store"
)

// A file is the object's bytes, an about as JSON, and a footer that says how
// long both are. What is known comes last because it is known last.
const (
	piece      = 256 << 10 // bytes under one checksum
	footerSize = 24
	footerMark = "preauob1"
)

// about is what is kept of an object, besides its bytes.
type about struct {
	Bucket   string            `json:"bucket,omitempty"` // of an upload only
	Key      string            `json:"key"`
	ETag     string            `json:"etag"`
	Size     int64             `json:"size"`
	Modified time.Time         `json:"modified"`
	Type     string            `json:"type"`
	Meta     map[string]string `json:"meta,omitempty"`
	// Sums is the CRC32C of every piece, 4 bytes each, big endian.
	Sums []byte `json:"sums,omitempty"`
	// Upload is the one that made the object, if one did.
	Upload string `json:"upload,omitempty"`
}

func (a about) info() store.Info {
	return store.Info{
		Key: a.Key, ETag: a.ETag, Size: a.Size, Modified: a.Modified,
		ContentType: a.Type, Meta: store.CloneMeta(a.Meta),
	}
}

func castagnoli() *crc32.Table { return crc32.MakeTable(crc32.Castagnoli) }

// write makes a durable file of what r gives, outside of what can be seen, and
// completes a: Size, Sums, Modified and, unless there is one, ETag.
func (s *Store) write(ctx context.Context, r io.Reader, a *about) (_ string, err error) {
	path := filepath.Join(s.dir, "tmp", rand.Text())
	f, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return "", err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, discard(path))
		}
	}()
	if err := fill(ctx, f, r, a); err != nil {
		return "", errors.Join(err, f.Close())
	}
	if err := f.Sync(); err != nil {
		return "", errors.Join(err, f.Close())
	}
	return path, f.Close()
}

func fill(ctx context.Context, f *os.File, r io.Reader, a *about) error {
	sum, table := md5.New(), castagnoli()
	buf := make([]byte, 4096) // most objects are small
	for {
		if err := ctx.Err(); err != nil {
			return err
		}
		n, err := readPiece(r, &buf)
		if err != nil && !errors.Is(err, io.EOF) {
			return err
		}
		if n > 0 {
			// Write of a hash never fails.
			_, _ = sum.Write(buf[:n])
			a.Sums = binary.BigEndian.AppendUint32(a.Sums, crc32.Checksum(buf[:n], table))
			a.Size += int64(n)
			if _, err := f.Write(buf[:n]); err != nil {
				return err
			}
		}
		if err != nil {
			break
		}
	}
	// The last Read may have been the one during which it ended.
	if err := ctx.Err(); err != nil {
		return err
	}
	if a.ETag == "" {
		a.ETag = hex.EncodeToString(sum.Sum(nil))
	}
	a.Modified = time.Now().UTC().Truncate(time.Millisecond)
	end, err := a.end()
	if err != nil {
		return err
	}
	_, err = f.Write(end)
	return err
}

// readPiece fills buf, which grows to a piece once it is known to be needed. It
// returns io.EOF with the last piece.
func readPiece(r io.Reader, buf *[]byte) (n int, err error) {
	for n < piece {
		if n == len(*buf) {
			grown := make([]byte, piece)
			copy(grown, *buf)
			*buf = grown
		}
		m, err := r.Read((*buf)[n:])
		n += m
		if err != nil {
			return n, err
		}
	}
	return n, nil
}

// end is what comes after the bytes.
func (a *about) end() ([]byte, error) {
	text, err := json.Marshal(a)
	if err != nil {
		return nil, err
	}
	end := bytes.Clone(text)
	end = binary.BigEndian.AppendUint32(end, uint32(len(text)))
	end = binary.BigEndian.AppendUint32(end, crc32.Checksum(text, castagnoli()))
	end = binary.BigEndian.AppendUint64(end, uint64(a.Size))
	return append(end, footerMark...), nil
}

// openObject opens a file and reads its end.
func openObject(path string) (*os.File, about, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, about{}, err
	}
	a, err := readAbout(f)
	if err != nil {
		return nil, about{}, errors.Join(fmt.Errorf("%s: %w", path, err), f.Close())
	}
	return f, a, nil
}

func readAbout(f *os.File) (about, error) {
	stat, err := f.Stat()
	if err != nil {
		return about{}, err
	}
	// Mostly one read gets it all.
	tail := make([]byte, min(stat.Size(), 4096))
	if err := readAt(f, tail, stat.Size()-int64(len(tail))); err != nil {
		return about{}, err
	}
	if len(tail) < footerSize {
		return about{}, fmt.Errorf("%w: it is cut", ErrDamaged)
	}
	footer := tail[len(tail)-footerSize:]
	text := int64(binary.BigEndian.Uint32(footer))
	size := binary.BigEndian.Uint64(footer[8:])
	if string(footer[16:]) != footerMark || size > uint64(stat.Size()) || int64(size)+text+footerSize != stat.Size() {
		return about{}, fmt.Errorf("%w: its end is not what was written", ErrDamaged)
	}
	if text+footerSize > int64(len(tail)) {
		tail = make([]byte, text+footerSize)
		if err := readAt(f, tail, int64(size)); err != nil {
			return about{}, err
		}
	}
	written := tail[int64(len(tail))-footerSize-text : len(tail)-footerSize]
	return parseAbout(written, binary.BigEndian.Uint32(footer[4:]), int64(size))
}

func parseAbout(text []byte, sum uint32, size int64) (about, error) {
	var a about
	if crc32.Checksum(text, castagnoli()) != sum {
		return about{}, fmt.Errorf("%w: what is known of it does not match its checksum", ErrDamaged)
	}
	if err := json.Unmarshal(text, &a); err != nil {
		return about{}, fmt.Errorf("%w: %w", ErrDamaged, err)
	}
	if a.Size != size || int64(len(a.Sums)) != (size+piece-1)/piece*4 {
		return about{}, fmt.Errorf("%w: its size is told in two ways", ErrDamaged)
	}
	return a, nil
}

func readAt(f *os.File, p []byte, off int64) error {
	n, err := f.ReadAt(p, off)
	if n < len(p) {
		if errors.Is(err, io.EOF) {
			return fmt.Errorf("%w: it is cut", ErrDamaged)
		}
		return err
	}
	return nil
}

// body reads a range, whole pieces at a time, each checked before any byte of it
// is given away.
type body struct {
	ctx     context.Context // of the Get that this body is the rest of
	what    string
	f       *os.File
	a       about
	at, end int64
	buf     []byte // a piece, checked
	from    int64  // where buf begins; it is empty or holds at
	err     error
}

func (b *body) Read(p []byte) (int, error) {
	if b.err != nil {
		return 0, b.err
	}
	if err := b.ctx.Err(); err != nil {
		b.err = fmt.Errorf("%s: %w", b.what, err)
		return 0, b.err
	}
	if b.at >= b.end {
		return 0, io.EOF
	}
	if b.at < b.from || b.at >= b.from+int64(len(b.buf)) {
		if err := b.load(); err != nil {
			b.err = explain(b.what, err)
			return 0, b.err
		}
	}
	ready := b.buf[b.at-b.from:]
	n := copy(p, ready[:min(int64(len(ready)), b.end-b.at)])
	b.at += int64(n)
	return n, nil
}

func (b *body) load() error {
	i := b.at / piece
	b.from = i * piece
	n := min(piece, b.a.Size-b.from)
	if int64(cap(b.buf)) < n {
		b.buf = make([]byte, n)
	}
	b.buf = b.buf[:n]
	if err := readAt(b.f, b.buf, b.from); err != nil {
		b.buf = b.buf[:0]
		return err
	}
	if crc32.Checksum(b.buf, castagnoli()) != binary.BigEndian.Uint32(b.a.Sums[i*4:]) {
		b.buf = b.buf[:0]
		return fmt.Errorf("%w: bytes %d to %d of %s do not match their checksum", ErrDamaged, b.from, b.from+n, b.f.Name())
	}
	return nil
}

func (b *body) Close() error { return b.f.Close() }
