package evict

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"slices"
)

// The saved form, all little-endian: saveMagic, then header, the tally's
// buckets, the ghost's entries, and CRC-32C of everything before. A change of
// form, or of how keys are hashed, changes the magic.
const saveMagic = "preauev1"

type header struct {
	Budget  int64
	Buckets uint64 // of the tally
	Entries uint64 // of the ghost
	Spare   int64
	Swept   uint64
	Now     uint16
}

// Save writes what the policy knows, some 12 bytes for each object expected.
// Other methods may run meanwhile; of what they do, some is saved.
func (p *Policy) Save(w io.Writer) error {
	p.mu.Lock()
	entries := slices.Clone(p.ghost.entries)
	h := header{
		Budget:  p.cfg.BudgetBytes,
		Buckets: uint64(len(p.tally.buckets)),
		Entries: uint64(len(entries)),
		Spare:   p.ghost.spare,
		Swept:   uint64(p.ghost.swept),
		Now:     p.ghost.now,
	}
	p.mu.Unlock()

	buf := bufio.NewWriterSize(w, 64<<10)
	sum := crc32.New(crc32.MakeTable(crc32.Castagnoli))
	out := io.MultiWriter(buf, sum)
	if err := p.write(out, h, entries); err != nil {
		return fmt.Errorf("save policy: %w", err)
	}
	if err := binary.Write(buf, binary.LittleEndian, sum.Sum32()); err != nil {
		return fmt.Errorf("save policy: %w", err)
	}
	if err := buf.Flush(); err != nil {
		return fmt.Errorf("save policy: %w", err)
	}
	return nil
}

func (p *Policy) write(w io.Writer, h header, entries []uint32) error {
	if _, err := io.WriteString(w, saveMagic); err != nil {
		return err
	}
	if err := binary.Write(w, binary.LittleEndian, h); err != nil {
		return err
	}
	words := make([]uint64, pieceLen)
	for i := 0; i < len(p.tally.buckets); i += pieceLen {
		n := min(pieceLen, len(p.tally.buckets)-i)
		for j := range n {
			words[j] = p.tally.buckets[i+j].Load()
		}
		if err := binary.Write(w, binary.LittleEndian, words[:n]); err != nil {
			return err
		}
	}
	for piece := range slices.Chunk(entries, pieceLen) {
		if err := binary.Write(w, binary.LittleEndian, piece); err != nil {
			return err
		}
	}
	return nil
}

// pieceLen is how many numbers are converted at a time.
const pieceLen = 4096

// Load replaces what the policy knows by what Save wrote. After an error, be it
// r's, a wrong checksum, or that it was saved with another budget or other
// table sizes, the policy knows nothing and works. It reads no further than
// what Save wrote.
func (p *Policy) Load(r io.Reader) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if err := p.load(r); err != nil {
		p.ghost.reset()
		p.tally.reset()
		return fmt.Errorf("load policy: %w", err)
	}
	return nil
}

func (p *Policy) load(r io.Reader) error {
	sum := crc32.New(crc32.MakeTable(crc32.Castagnoli))
	in := io.TeeReader(r, sum)

	magic := make([]byte, len(saveMagic))
	if _, err := io.ReadFull(in, magic); err != nil {
		return fmt.Errorf("magic: %w", whole(err))
	}
	if string(magic) != saveMagic {
		return errors.New("not a saved policy, or one of another form")
	}
	var h header
	if err := binary.Read(in, binary.LittleEndian, &h); err != nil {
		return fmt.Errorf("header: %w", whole(err))
	}
	g, t := p.ghost, p.tally
	if h.Budget != p.cfg.BudgetBytes || h.Buckets != uint64(len(t.buckets)) || h.Entries != uint64(len(g.entries)) {
		return fmt.Errorf("made for a budget of %d and tables of %d and %d, not %d, %d and %d",
			h.Budget, h.Buckets, h.Entries, p.cfg.BudgetBytes, len(t.buckets), len(g.entries))
	}
	if h.Spare < 0 || h.Spare >= g.tick || h.Swept >= h.Entries/ghostSlots {
		return errors.New("header is out of range")
	}
	words := make([]uint64, pieceLen)
	for i := 0; i < len(t.buckets); i += pieceLen {
		n := min(pieceLen, len(t.buckets)-i)
		if err := binary.Read(in, binary.LittleEndian, words[:n]); err != nil {
			return fmt.Errorf("touches: %w", whole(err))
		}
		for j := range n {
			t.buckets[i+j].Store(words[j])
		}
	}
	for piece := range slices.Chunk(g.entries, pieceLen) {
		if err := binary.Read(in, binary.LittleEndian, piece); err != nil {
			return fmt.Errorf("ghost: %w", whole(err))
		}
	}
	g.spare, g.swept, g.now = h.Spare, int(h.Swept), h.Now

	want := sum.Sum32()
	var got uint32
	if err := binary.Read(in, binary.LittleEndian, &got); err != nil {
		return fmt.Errorf("checksum: %w", whole(err))
	}
	if got != want {
		return fmt.Errorf("checksum is %08x, want %08x", got, want)
	}
	return nil
}

// whole turns the end of r between two fields into one within a field: the
// end is never expected.
func whole(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}
