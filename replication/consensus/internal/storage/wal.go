package storage

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/raft"
	wal "github.com/hashicorp/raft-wal"
	"github.com/hashicorp/raft-wal/metadb"
)

const (
	// segmentBytes is taken from the disk at once for each segment, so that a
	// full disk is met when a segment begins and not in the middle of one.
	segmentBytes = 16 << 20
	// copyEntries and copyBytes bound what a rewrite moves with one fsync.
	copyEntries = 4096
	copyBytes   = 4 << 20
	walPrefix   = "gen-"
	walUnborn   = "unborn"
)

// walLog is a raft-wal that can be mended.
//
// raft-wal as it is cannot go on after some failures: a failed append leaves its
// writer out of step, a failed or interrupted change of segment leaves a tail
// that takes nothing more, and cutting the end off (version 0.4.0) leaves a
// segment without the index that the next start needs. The way out is the same
// for all: open it again, and where that is not enough copy what is to be kept
// into a new generation, a folder that takes its name in one rename.
type walLog struct {
	dir string
	log hclog.Logger

	mu   sync.RWMutex
	gen  uint64
	w    *wal.WAL
	meta *metadb.BoltMetaDB
	last uint64 // the last entry that a caller was told is stored
	hurt bool   // the last write failed: open again before the next
}

var _ raft.LogStore = (*walLog)(nil)
var _ raft.MonotonicLogStore = (*walLog)(nil)

func openWAL(dir string, log hclog.Logger) (*walLog, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	gen, err := newest(dir)
	if err != nil {
		return nil, err
	}
	l := &walLog{dir: dir, log: log, gen: gen}
	if l.w, l.meta, err = openGeneration(l.path(gen), log, segmentBytes); err != nil {
		return nil, err
	}
	if l.last, err = l.w.LastIndex(); err != nil {
		return nil, errors.Join(err, l.Close())
	}
	return l, nil
}

func (l *walLog) path(gen uint64) string {
	return filepath.Join(l.dir, fmt.Sprintf("%s%016x", walPrefix, gen))
}

// newest finds the youngest generation and removes the others.
func newest(dir string) (uint64, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return 0, err
	}
	gen := uint64(1)
	for _, e := range entries {
		var g uint64
		if n, err := fmt.Sscanf(e.Name(), walPrefix+"%016x", &g); err == nil && n == 1 && g > gen {
			gen = g
		}
	}
	keep := fmt.Sprintf("%s%016x", walPrefix, gen)
	for _, e := range entries {
		if e.Name() != keep && (e.Name() == walUnborn || strings.HasPrefix(e.Name(), walPrefix)) {
			if err := os.RemoveAll(filepath.Join(dir, e.Name())); err != nil {
				return 0, err
			}
		}
	}
	return gen, nil
}

// openGeneration opens one raft-wal. raft-wal never closes the file that holds
// its metadata, and a second opening would wait for it for ever: so we own it.
func openGeneration(path string, log hclog.Logger, segment int) (w *wal.WAL, meta *metadb.BoltMetaDB, err error) {
	if err := os.MkdirAll(path, 0o700); err != nil {
		return nil, nil, err
	}
	if err := syncDir(filepath.Dir(path)); err != nil {
		return nil, nil, err
	}
	meta = &metadb.BoltMetaDB{}
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("%s: %v", path, p)
		}
		if err != nil {
			err = errors.Join(err, meta.Close())
		}
	}()
	w, err = wal.Open(path, wal.WithMetaStore(meta), wal.WithSegmentSize(segment), wal.WithLogger(log))
	return w, meta, err
}

// Close gives the files back.
func (l *walLog) Close() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return errors.Join(l.w.Close(), l.meta.Close())
}

// IsMonotonic implements raft.MonotonicLogStore.
func (l *walLog) IsMonotonic() bool { return true }

// FirstIndex implements raft.LogStore.
func (l *walLog) FirstIndex() (uint64, error) {
	l.mu.RLock()
	defer l.mu.RUnlock()
	return l.w.FirstIndex()
}

// LastIndex implements raft.LogStore.
func (l *walLog) LastIndex() (uint64, error) {
	l.mu.RLock()
	defer l.mu.RUnlock()
	return l.last, nil
}

// GetLog implements raft.LogStore.
func (l *walLog) GetLog(index uint64, out *raft.Log) error {
	l.mu.RLock()
	defer l.mu.RUnlock()
	if index > l.last {
		return raft.ErrLogNotFound
	}
	return l.w.GetLog(index, out)
}

// StoreLog implements raft.LogStore.
func (l *walLog) StoreLog(log *raft.Log) error { return l.StoreLogs([]*raft.Log{log}) }

// StoreLogs implements raft.LogStore.
func (l *walLog) StoreLogs(logs []*raft.Log) error {
	if len(logs) == 0 {
		return nil
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if err := l.mend(); err != nil {
		return err
	}
	err := l.w.StoreLogs(logs)
	if errors.Is(err, wal.ErrSealed) {
		// The last change of segment did not finish.
		if err = l.rewrite(l.last); err == nil {
			err = l.w.StoreLogs(logs)
		}
	}
	if err != nil {
		l.hurt = true
		return err
	}
	l.last = logs[len(logs)-1].Index
	return nil
}

// DeleteRange implements raft.LogStore.
func (l *walLog) DeleteRange(from, to uint64) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if err := l.mend(); err != nil {
		return err
	}
	first, err := l.w.FirstIndex()
	if err != nil {
		return err
	}
	if from > first && to >= l.last && from <= l.last {
		return l.rewrite(from - 1)
	}
	if err := l.w.DeleteRange(from, to); err != nil {
		l.hurt = true
		return err
	}
	if to >= l.last && from <= l.last {
		l.last = 0
	}
	return nil
}

// mend opens the log again after a failed write, and takes off what was written
// then but never promised.
func (l *walLog) mend() error {
	if !l.hurt {
		return nil
	}
	if err := errors.Join(l.w.Close(), l.meta.Close()); err != nil {
		l.log.Warn("log did not close well", "error", err)
	}
	w, meta, err := openGeneration(l.path(l.gen), l.log, segmentBytes)
	if err != nil {
		return fmt.Errorf("open the log again: %w", err)
	}
	l.w, l.meta = w, meta
	last, err := w.LastIndex()
	switch {
	case err != nil:
		return err
	case last < l.last:
		return fmt.Errorf("the log ends at %d after a failed write and should end at %d", last, l.last)
	case last > l.last:
		if err := l.rewrite(l.last); err != nil {
			return err
		}
	}
	l.hurt = false
	return nil
}

// rewrite copies everything up to keep into a new generation. Until the rename
// the old one is the log, after it the new one is.
func (l *walLog) rewrite(keep uint64) error {
	unborn := filepath.Join(l.dir, walUnborn)
	if err := os.RemoveAll(unborn); err != nil {
		return err
	}
	size, err := l.sizeOf(keep)
	if err != nil {
		return fmt.Errorf("copy the log: %w", err)
	}
	// All in one segment with room left: a change of segment while we copy would
	// leave the very tail that we may be mending.
	w, meta, err := openGeneration(unborn, l.log, max(segmentBytes, size))
	if err != nil {
		return err
	}
	err = errors.Join(l.copyTo(w, keep), w.Close(), meta.Close())
	if err == nil {
		err = errors.Join(syncDir(unborn), os.Rename(unborn, l.path(l.gen+1)))
	}
	if err != nil {
		return errors.Join(fmt.Errorf("copy the log: %w", err), os.RemoveAll(unborn))
	}
	// From here on only the new one counts; the old one still answers reads until
	// the new one is open.
	l.gen, l.last, l.hurt = l.gen+1, keep, true
	if err := syncDir(l.dir); err != nil {
		return err
	}
	fresh, freshMeta, err := openGeneration(l.path(l.gen), l.log, segmentBytes)
	if err != nil {
		return fmt.Errorf("open the copied log: %w", err)
	}
	if err := errors.Join(l.w.Close(), l.meta.Close()); err != nil {
		l.log.Warn("log did not close well", "error", err)
	}
	l.w, l.meta, l.hurt = fresh, freshMeta, false
	if err := os.RemoveAll(l.path(l.gen - 1)); err != nil {
		l.log.Warn("old log was not removed", "error", err)
	}
	return nil
}

// sizeOf says, generously, how many bytes of segment everything up to keep takes.
func (l *walLog) sizeOf(keep uint64) (int, error) {
	const around = 256 // frame, index, numbers, time
	first, err := l.w.FirstIndex()
	if err != nil || first == 0 {
		return 0, err
	}
	size := 1 << 20
	for i := first; i <= keep; i++ {
		var e raft.Log
		if err := l.w.GetLog(i, &e); err != nil {
			return 0, fmt.Errorf("entry %d: %w", i, err)
		}
		size += len(e.Data) + len(e.Extensions) + around
	}
	return min(size, 1<<31-1), nil
}

func (l *walLog) copyTo(w *wal.WAL, keep uint64) error {
	first, err := l.w.FirstIndex()
	if err != nil || first == 0 {
		return err
	}
	batch := make([]*raft.Log, 0, copyEntries)
	bytes := 0
	for i := first; i <= keep; i++ {
		var e raft.Log
		if err := l.w.GetLog(i, &e); err != nil {
			return fmt.Errorf("entry %d: %w", i, err)
		}
		batch = append(batch, &e)
		bytes += len(e.Data)
		if len(batch) == copyEntries || bytes > copyBytes || i == keep {
			if err := w.StoreLogs(batch); err != nil {
				return err
			}
			batch, bytes = batch[:0], 0
		}
	}
	return nil
}
