package storage

import (
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
	"os"
	"path/filepath"
)

const secretSize = 32

// loadSecret reads the secret that keys are made with, or makes one. It is
// kept twice, with a checksum: a flipped bit in it would lose the whole cache.
func loadSecret(dir string) ([]byte, error) {
	names := []string{filepath.Join(dir, "secret"), filepath.Join(dir, "secret.copy")}
	for _, name := range names {
		b, err := os.ReadFile(name)
		if err == nil && len(b) == secretSize+sha256.Size && sha256.Sum256(b[:secretSize]) == [sha256.Size]byte(b[secretSize:]) {
			return b[:secretSize], keepSecret(names, b)
		}
	}
	b := make([]byte, secretSize)
	_, _ = rand.Read(b) // never fails (crypto/rand)
	sum := sha256.Sum256(b)
	return b, keepSecret(names, append(b[:secretSize:secretSize], sum[:]...))
}

// keepSecret writes the copies that are missing or damaged. One that can't be
// written is no reason not to start while there is another.
func keepSecret(names []string, b []byte) error {
	var errs []error
	for _, name := range names {
		if old, err := os.ReadFile(name); err == nil && string(old) == string(b) {
			continue
		}
		if err := writeFile(name, func(f *os.File) error { _, err := f.Write(b); return err }); err != nil {
			errs = append(errs, err)
		}
	}
	if len(errs) == len(names) {
		return fmt.Errorf("keep secret: %w", errors.Join(errs...))
	}
	return nil
}

// writeFile writes a file whole or not at all.
func writeFile(path string, write func(*os.File) error) error {
	tmp := path + ".new"
	f, err := os.OpenFile(tmp, os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	if err = write(f); err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err == nil {
		err = os.Rename(tmp, path)
	}
	if err != nil {
		return errors.Join(err, os.Remove(tmp))
	}
	return nil
}
