package update

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"preau/node/keep"
)

// bring has the new package and the way back in the folder, both checked.
func (u *Updater) bring(ctx context.Context, c *Choice) error {
	if err := u.wayBack(ctx, &c.From); err != nil {
		return err
	}
	return u.have(ctx, c.To)
}

// wayBack has the package of the version that runs: the one that was installed from
// here, one that lies in another archive, or the published one.
func (u *Updater) wayBack(ctx context.Context, from *Package) error {
	for _, k := range u.s.Kept {
		if k.Version == from.Version && k.Arch == from.Arch && u.right(u.file(k), k) == nil {
			*from = k
			return nil
		}
	}
	if from.SHA256 == "" {
		return fmt.Errorf("there would be no way back from a bad version: publish the package of %s for %s too, and name it in the plan", from.Version, from.Arch)
	}
	if u.right(u.file(*from), *from) == nil {
		return nil
	}
	for _, dir := range u.cfg.Archives {
		there := filepath.Join(dir, fmt.Sprintf("preau_%s_%s.deb", from.Version, from.Arch))
		if u.right(there, *from) != nil {
			continue
		}
		if in, err := os.Open(there); err == nil {
			err = errors.Join(write(u.file(*from), in, 0o644), in.Close())
			if err == nil && u.right(u.file(*from), *from) == nil {
				return nil
			}
		}
	}
	return u.have(ctx, *from)
}

// have fetches a package unless it is there.
func (u *Updater) have(ctx context.Context, k Package) error {
	if u.right(u.file(k), k) == nil {
		return u.parts.Packages.Holds(ctx, u.file(k), k)
	}
	half := u.file(k) + keep.Half
	f, err := os.OpenFile(half, os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o644)
	if err != nil {
		return err
	}
	err = u.parts.Box.Fetch(ctx, k.ID, f, k.Size)
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err == nil {
		err = u.right(half, k)
	}
	if err == nil {
		err = u.parts.Packages.Holds(ctx, half, k)
	}
	if err == nil {
		err = os.Rename(half, u.file(k))
	}
	if err != nil {
		return errors.Join(fmt.Errorf("package %s: %w", k.ID, err), keep.Remove(half))
	}
	return keep.SyncDir(u.cfg.Folder)
}

// right returns an error unless a file is the package that is meant.
func (u *Updater) right(file string, k Package) error {
	f, err := os.Open(file)
	if err != nil {
		return err
	}
	defer f.Close() //nolint:errcheck // it was read
	h := sha256.New()
	n, err := io.Copy(h, io.LimitReader(f, k.Size+1))
	if err != nil {
		return err
	}
	if sum := hex.EncodeToString(h.Sum(nil)); n != k.Size || sum != k.SHA256 {
		return fmt.Errorf("%s is not what the plan says: it has SHA-256 %s and %d bytes or more", filepath.Base(file), sum, n)
	}
	return nil
}

// tidy removes packages that are not the way back any more, and the copy of the
// program.
func (u *Updater) tidy() error {
	wanted := map[string]bool{}
	for _, k := range u.s.Kept {
		wanted[filepath.Base(u.file(k))] = true
	}
	all, err := os.ReadDir(u.cfg.Folder)
	if err != nil {
		return err
	}
	for _, e := range all {
		name := e.Name()
		if strings.HasSuffix(name, ".deb") && !wanted[name] || strings.HasSuffix(name, ".deb"+keep.Half) || name == "program"+keep.Half {
			err = errors.Join(err, os.Remove(u.path(name)))
		}
	}
	return errors.Join(err, keep.Remove(u.path("program")))
}
