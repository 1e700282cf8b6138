package dirstore

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"preau/cache/block/lockfile"
	"preau/replication/central/store"
)

// explain says what went wrong with what, by one of store's sentinels.
func explain(what string, err error) error {
	for _, sentinel := range []error{
		store.ErrNotFound, store.ErrChanged, store.ErrInvalid, context.Canceled, context.DeadlineExceeded,
	} {
		if errors.Is(err, sentinel) {
			return fmt.Errorf("%s: %w", what, err)
		}
	}
	var (
		path *fs.PathError
		link *os.LinkError
		call syscall.Errno
	)
	switch {
	case errors.Is(err, ErrDamaged):
		return fmt.Errorf("%s: %w: %w", what, store.ErrUnavailable, err)
	case errors.Is(err, syscall.ENOSPC), errors.Is(err, syscall.EDQUOT):
		return fmt.Errorf("%s: %w: remove something, or give it a larger disk: %w", what, store.ErrFull, err)
	case errors.Is(err, syscall.EROFS):
		return fmt.Errorf("%s: %w: its file system is read-only; look for its errors in the kernel's log: %w", what, store.ErrUnavailable, err)
	case errors.Is(err, fs.ErrPermission):
		return fmt.Errorf("%s: %w: the folder must belong to the user that this runs as: %w", what, store.ErrDenied, err)
	case errors.As(err, &path), errors.As(err, &link), errors.As(err, &call):
		return fmt.Errorf("%s: %w: %w", what, store.ErrUnavailable, err)
	}
	// A caller's body has an error of its own.
	return fmt.Errorf("%s: %w", what, err)
}

// discard removes a file that came to nothing. If it can't, the next Open will.
func discard(path string) error {
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, syscall.EROFS) {
		return err
	}
	return nil
}

// syncFolder makes the names in a folder durable.
func syncFolder(path string) error {
	d, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// claim makes the folder ours, or finds that it is, and locks it.
func (s *Store) claim() (err error) {
	if err := os.MkdirAll(s.dir, 0o700); err != nil {
		return explain("make it", err)
	}
	names, err := os.ReadDir(s.dir)
	if err != nil {
		return explain("look into it", err)
	}
	for _, n := range names {
		if !slices.Contains([]string{"format", "lock", "tmp", "buckets", "uploads", "lost+found"}, n.Name()) {
			return fmt.Errorf("it holds %q, which is none of ours: choose an empty folder", n.Name())
		}
	}
	s.lock, err = lockfile.Take(filepath.Join(s.dir, "lock"))
	if errors.Is(err, lockfile.ErrHeld) {
		return fmt.Errorf("%w: another process has it open: stop that one first", store.ErrUnavailable)
	}
	if err != nil {
		return explain("lock it", err)
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, s.lock.Close())
		}
	}()
	format := filepath.Join(s.dir, "format")
	switch text, err := os.ReadFile(format); {
	case err == nil && string(text) == formatText:
	case err == nil && !strings.HasPrefix(formatText, string(text)):
		return fmt.Errorf("its format is %q, this program knows %q: use the program that wrote it", text, formatText)
	case err != nil && !errors.Is(err, fs.ErrNotExist):
		return explain("read its format", err)
	default:
		// New, or cut short when it was.
		if err := writeDurably(format, formatText); err != nil {
			return explain("write its format", err)
		}
	}
	for _, name := range []string{"tmp", "buckets", "uploads"} {
		if err := os.Mkdir(filepath.Join(s.dir, name), 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
			return explain("make "+name, err)
		}
	}
	return explainSync(syncFolder(s.dir))
}

func explainSync(err error) error {
	if err != nil {
		return explain("make it durable", err)
	}
	return nil
}

func writeDurably(path, text string) error {
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	if _, err := f.WriteString(text); err != nil {
		return errors.Join(err, f.Close())
	}
	return errors.Join(f.Sync(), f.Close())
}

// load empties tmp and reads what there is.
func (s *Store) load() error {
	tmp := filepath.Join(s.dir, "tmp")
	left, err := os.ReadDir(tmp)
	if err != nil {
		return explain("read tmp", err)
	}
	for _, l := range left {
		if err := os.RemoveAll(filepath.Join(tmp, l.Name())); err != nil {
			return explain("empty tmp", err)
		}
	}
	if err := s.loadUploads(); err != nil {
		return err
	}
	buckets, err := os.ReadDir(filepath.Join(s.dir, "buckets"))
	if err != nil {
		return explain("read buckets", err)
	}
	for _, b := range buckets {
		if err := store.CheckBucket(b.Name()); err != nil {
			return fmt.Errorf("a bucket's folder that is none: %w", err)
		}
		x, err := s.loadBucket(b.Name())
		if err != nil {
			return explain(fmt.Sprintf("read bucket %q", b.Name()), err)
		}
		s.buckets[b.Name()] = x
	}
	s.sweep(context.Background(), time.Now())
	return nil
}

// loadBucket reads the end of every file of a bucket.
func (s *Store) loadBucket(bucket string) (*index, error) {
	folder := filepath.Join(s.dir, "buckets", bucket)
	shards, err := os.ReadDir(folder)
	if err != nil {
		return nil, err
	}
	var (
		x    = &index{damaged: map[string]bool{}}
		mu   sync.Mutex // guards x, made, errs
		made []string   // uploads whose object is there
		errs []error
		work = make(chan string)
		all  sync.WaitGroup
	)
	for range 8 {
		all.Go(func() {
			for shard := range work {
				found, uploads, damaged, err := s.loadShard(filepath.Join(folder, shard))
				mu.Lock()
				x.entries = append(x.entries, found...)
				made = append(made, uploads...)
				for _, name := range damaged {
					x.damaged[name] = true
				}
				if err != nil {
					errs = append(errs, err)
				}
				mu.Unlock()
			}
		})
	}
	for _, shard := range shards {
		work <- shard.Name()
	}
	close(work)
	all.Wait()
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	slices.SortFunc(x.entries, func(a, b *entry) int { return strings.Compare(a.key, b.key) })
	for _, id := range made {
		if u := s.uploads[id]; u != nil {
			s.dropUpload(context.Background(), id, u)
		}
	}
	return x, nil
}

func (s *Store) loadShard(folder string) (found []*entry, uploads, damaged []string, err error) {
	names, err := os.ReadDir(folder)
	if err != nil {
		return nil, nil, nil, err
	}
	for _, n := range names {
		path := filepath.Join(folder, n.Name())
		f, a, err := openObject(path)
		if err == nil {
			err = f.Close()
		}
		switch {
		case errors.Is(err, ErrDamaged):
			s.log.Error("an object's file is damaged: put the object again, or delete it", "file", path, "err", err)
			damaged = append(damaged, n.Name())
			continue
		case err != nil:
			return nil, nil, nil, err
		}
		found = append(found, newEntry(a))
		if a.Upload != "" {
			uploads = append(uploads, a.Upload)
		}
	}
	return found, uploads, damaged, nil
}
