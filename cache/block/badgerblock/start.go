package badgerblock

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"preau/cache/block"
	"preau/cache/block/lockfile"
)

const (
	// numbersAhead is how many segment numbers are claimed by one write to
	// the file that remembers them.
	numbersAhead = 16
	// numbersLost is skipped when that file is gone: segments that were
	// retired may have had numbers above those that are left.
	numbersLost = 1 << 16
	// mergeFrom is how many nearly empty segments of one ring, left by as many
	// restarts, are put together.
	mergeFrom = 4
)

// FreeRoom removes the oldest segments of the store in cfg.Dir until the disk
// has its reserve again. It is for the beginning of a start, before anything
// else writes: a full disk kills whoever writes through memory maps, as Badger
// does. New does it too. There need not be a store in cfg.Dir yet.
func FreeRoom(cfg Config) error {
	return freeRoomAt(cfg, diskSpace)
}

func freeRoomAt(cfg Config, space func(string) (int64, int64, error)) error {
	dir := filepath.Join(cfg.Dir, segments)
	list, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	} else if err != nil {
		return fmt.Errorf("free room: %w", err)
	}
	names := make(map[block.Segment]string)
	for _, e := range list {
		if _, id, ok := parseSegmentName(e.Name()); ok && e.IsDir() {
			names[id] = e.Name()
		}
	}
	for {
		free, total, err := space(cfg.Dir)
		if err != nil {
			return fmt.Errorf("free room: %w", err)
		}
		reserve := cfg.ReserveBytes
		if reserve == 0 {
			reserve = reserveFor(total)
		}
		if free >= reserve || len(names) == 0 {
			return nil
		}
		var oldest block.Segment
		for id := range names {
			if oldest == 0 || id < oldest {
				oldest = id
			}
		}
		if err := removeSegment(filepath.Join(dir, names[oldest])); err != nil {
			return fmt.Errorf("free room: %w", err)
		}
		delete(names, oldest)
	}
}

// start opens what is in the store's folder.
func (s *Store) start() (err error) {
	if err := os.MkdirAll(filepath.Join(s.cfg.Dir, segments), 0o700); err != nil {
		return err
	}
	if s.lock, err = lockfile.Take(filepath.Join(s.cfg.Dir, lockName)); err != nil {
		return err
	}
	defer func() {
		if err != nil {
			for _, g := range s.all() {
				g.release()
			}
			err = errors.Join(err, s.lock.Close())
		}
	}()
	_, total, err := s.space(s.cfg.Dir)
	if err != nil {
		return err
	}
	if s.reserve = s.cfg.ReserveBytes; s.reserve == 0 {
		s.reserve = reserveFor(total)
	}
	s.segment = s.cfg.segmentBytes(total - s.reserve)
	s.geo = geometryFor(s.segment)
	if err := freeRoomAt(s.cfg, s.space); err != nil {
		return err
	}
	if err := s.load(); err != nil {
		return err
	}
	s.readNext()
	all, err := allocated(s.cfg.Dir)
	if err != nil {
		return err
	}
	s.foreign = all
	for _, g := range s.all() {
		s.foreign -= g.disk.Load()
	}
	return nil
}

// load opens every segment; those that cannot be opened are removed.
func (s *Store) load() error {
	dir := filepath.Join(s.cfg.Dir, segments)
	list, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	var found []*segment
	seen := make(map[block.Segment]bool)
	for _, e := range list {
		name, id, ok := parseSegmentName(e.Name())
		path := filepath.Join(dir, e.Name())
		if !ok || !e.IsDir() || seen[id] {
			s.log.Warn("not a segment: left alone", "path", path)
			continue
		}
		var number block.Ring
		for _, r := range s.rings {
			if r.name == name {
				number = r.number
			}
		}
		g := newSegment(label{id: id, ring: number, dir: path})
		g.filled.Store(true)
		if err := s.loadSegment(g); err != nil {
			s.log.Warn("segment removed", "segment", id, "err", err)
			if err := removeSegment(path); err != nil {
				// It is no use, but no harm either.
				s.log.Warn("segment not removed", "segment", id, "err", err)
			}
			continue
		}
		seen[id] = true
		found = append(found, g)
	}
	s.replaceList(func([]*segment) []*segment { return found })
	return nil
}

var errEmpty = errors.New("segment is empty")

// loadSegment opens g by its index or, if that is missing or wrong, by reading
// the headers of its value log.
func (s *Store) loadSegment(g *segment) error {
	path := filepath.Join(g.dir(), vlogName)
	fi, err := os.Lstat(path)
	if err != nil {
		return err
	}
	if !fi.Mode().IsRegular() {
		return fmt.Errorf("%s is not a regular file", vlogName)
	}
	if g.vlog, err = os.Open(path); err != nil {
		return err
	}
	g.fd = g.vlog.Fd()
	if err := s.loadIndex(g); err != nil {
		s.log.Info("segment has no good index: its value log is read", "segment", g.id(), "reason", err)
		if err := s.recover(g); err != nil {
			return errors.Join(err, g.vlog.Close())
		}
	}
	return s.measure(g)
}

func (s *Store) loadIndex(g *segment) error {
	x, err := openIndex(g.dir())
	if err != nil {
		return err
	}
	if err := g.adopt(x); err != nil {
		return errors.Join(err, x.f.Close())
	}
	return nil
}

// recover makes g a sealed segment from its value log alone. Values are not
// read: each is verified before it is used anyway.
func (s *Store) recover(g *segment) error {
	fi, err := g.vlog.Stat()
	if err != nil {
		return err
	}
	g.places = make(map[block.Digest]place)
	entries := 0
	end, err := scan(g.vlog, make([]byte, scanBuffer), vlogHeader, min(fi.Size(), 1<<32-1), func(e entry) error {
		if !isCommit(e.key) {
			entries++
		}
		if d, ok := digestOf(e.key); ok {
			g.places[d] = place{off: uint32(e.value), len: uint32(e.len), ord: -1}
		}
		return nil
	})
	if err != nil {
		return err
	}
	if entries == 0 {
		return errEmpty
	}
	// The rest is zeros, or what a bad disk made of it; either way it is room.
	if err := os.Truncate(filepath.Join(g.dir(), vlogName), end); err != nil {
		return err
	}
	if err := s.index(g); err != nil {
		if !noSpace(err) {
			return err
		}
		s.log.Warn("segment is kept without an index", "segment", g.id(), "err", err)
	}
	return nil
}

// segmentDir is the folder of segment id of ring r.
func (s *Store) segmentDir(r *ring, id block.Segment) string {
	return filepath.Join(s.cfg.Dir, segments, fmt.Sprintf("%s-%08d", r.name, id))
}

func parseSegmentName(name string) (ring string, id block.Segment, ok bool) {
	ring, num, ok := strings.Cut(name, "-")
	if !ok || !ringName(ring) || len(num) < 8 {
		return "", 0, false
	}
	n, err := strconv.ParseUint(num, 10, 32)
	if err != nil || n == 0 || fmt.Sprintf("%08d", n) != num {
		return "", 0, false
	}
	return ring, block.Segment(n), true
}

// readNext finds the first number that no segment ever had.
func (s *Store) readNext() {
	var newest block.Segment
	for _, g := range s.all() {
		newest = max(newest, g.id())
	}
	p, err := os.ReadFile(filepath.Join(s.cfg.Dir, nextName))
	switch {
	case err == nil && len(p) == 8 && crc32.Checksum(p[:4], castagnoli) == binary.BigEndian.Uint32(p[4:]):
		s.next = max(block.Segment(binary.BigEndian.Uint32(p)), newest+1)
	case errors.Is(err, fs.ErrNotExist) && newest == 0:
		s.next = 1
	default:
		s.log.Warn("segment numbers are lost: some are skipped", "newest", newest, "err", err)
		s.next = newest + numbersLost
	}
	s.stored = s.next
}

// nextNumber returns a number that is never used again.
func (s *Store) nextNumber() (block.Segment, error) {
	s.listMu.Lock()
	defer s.listMu.Unlock()
	if s.next == 0 {
		return 0, errors.New("segment numbers are used up")
	}
	if s.next >= s.stored {
		var p [8]byte
		binary.BigEndian.PutUint32(p[:], uint32(s.next)+numbersAhead)
		binary.BigEndian.PutUint32(p[4:], crc32.Checksum(p[:4], castagnoli))
		if err := writeFile(filepath.Join(s.cfg.Dir, nextName), p[:]); err != nil {
			return 0, fmt.Errorf("claim segment numbers: %w", err)
		}
		s.stored = s.next + numbersAhead
	}
	n := s.next
	s.next++
	return n, nil
}

// writeFile replaces a file in one step that a power cut cannot halve.
func writeFile(path string, p []byte) error {
	f, err := os.OpenFile(path+".new", os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(p)
	if err := errors.Join(err, f.Sync(), f.Close()); err != nil {
		return err
	}
	err = os.Rename(path+".new", path)
	if fi, serr := os.Lstat(path); err != nil && serr == nil && fi.IsDir() {
		// Whatever it is, it is in the way in a folder that is ours.
		err = errors.Join(os.RemoveAll(path), os.Rename(path+".new", path))
	}
	if err != nil {
		return err
	}
	return syncDir(filepath.Dir(path))
}

// mergeSmall puts nearly empty segments of a ring together, so that many
// restarts don't leave many folders.
func (s *Store) mergeSmall(ctx context.Context) error {
	small := make([][]*segment, len(s.rings))
	for _, g := range s.all() {
		if g.sealed() && g.live.Load() < s.segment/8 {
			small[g.ring()] = append(small[g.ring()], g)
		}
	}
	for _, list := range small {
		if len(list) < mergeFrom {
			continue
		}
		for _, g := range slices.Backward(list) { // oldest first
			if err := s.merge(ctx, g); err != nil {
				return err
			}
		}
	}
	return nil
}

func (s *Store) merge(ctx context.Context, g *segment) error {
	select {
	case s.trim <- struct{}{}:
		defer func() { <-s.trim }()
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	if !g.hold() {
		return nil
	}
	defer g.release()
	if g.removed.Load() || !s.roomFor(1, false) {
		return nil
	}
	g.retiring.Store(true)
	if err := s.mergeHeld(context.WithValue(ctx, movingKey{}, true), g); err != nil {
		g.retiring.Store(false)
		return fmt.Errorf("merge segment %d: %w", g.id(), err)
	}
	return nil
}

func (s *Store) mergeHeld(ctx context.Context, g *segment) error {
	var keep []Keep
	err := g.each(func(d block.Digest, _ place) error {
		keep = append(keep, Keep{d, g.ring()})
		return nil
	})
	if err != nil {
		return err
	}
	c := s.sortOut(g, keep)
	err = g.records(func(key, value []byte) error {
		c.records = append(c.records, pair{key, value})
		return nil
	})
	if err != nil {
		return err
	}
	if !s.planCarry(c) {
		g.retiring.Store(false)
		return nil
	}
	defer s.endCarry()
	return s.carry(ctx, c)
}
