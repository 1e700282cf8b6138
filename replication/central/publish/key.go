package publish

import (
	"crypto/ed25519"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
)

const (
	pemType = "PRIVATE KEY" // PKCS #8, RFC 5958 in the form of RFC 7468 §10
	maxKey  = 16 << 10
)

// LoadKey reads the key that signs what is published, and makes it first if the
// file is not there. All gateways of one ministry share one key: a second
// gateway is given the file of the first.
func LoadKey(file string) (ed25519.PrivateKey, error) {
	key, err := readKey(file)
	if errors.Is(err, fs.ErrNotExist) {
		if err := makeKey(file); err != nil {
			return nil, fmt.Errorf("make the signing key: %w", err)
		}
		key, err = readKey(file)
	}
	if err != nil {
		return nil, fmt.Errorf("read the signing key: %w", err)
	}
	return key, nil
}

func readKey(file string) (ed25519.PrivateKey, error) {
	f, err := os.Open(file)
	if err != nil {
		return nil, err
	}
	defer closeRead(f)
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("%s is no file", file)
	}
	if open := info.Mode().Perm() & 0o077; open != 0 {
		return nil, fmt.Errorf("%s can be used by others than its owner (mode %#o): chmod 600 it, and make a new one if others may have read it", file, info.Mode().Perm())
	}
	p, err := io.ReadAll(io.LimitReader(f, maxKey))
	if err != nil {
		return nil, err
	}
	b, rest := pem.Decode(p)
	if b == nil || b.Type != pemType || len(rest) > 0 {
		return nil, fmt.Errorf("%s is not one %q in PEM: openssl genpkey -algorithm ed25519 makes such a file, and so does a gateway that finds none", file, pemType)
	}
	parsed, err := x509.ParsePKCS8PrivateKey(b.Bytes)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	key, ok := parsed.(ed25519.PrivateKey)
	if !ok {
		return nil, fmt.Errorf("%s holds a key of type %T, want Ed25519", file, parsed)
	}
	return key, nil
}

// makeKey writes a new key beside file and links it there, so that of several
// gateways one wins and none ever reads half a key.
func makeKey(file string) (err error) {
	_, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return err
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return err
	}
	f, err := os.CreateTemp(filepath.Dir(file), ".signing-key-*") // 0600, and O_EXCL
	if err != nil {
		return err
	}
	defer func() {
		if bad := os.Remove(f.Name()); err == nil {
			err = bad
		}
	}()
	defer func() { err = errors.Join(err, f.Close()) }()
	if err := pem.Encode(f, &pem.Block{Type: pemType, Bytes: der}); err != nil {
		return err
	}
	if err := f.Sync(); err != nil {
		return err
	}
	if err := os.Link(f.Name(), file); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	dir, err := os.Open(filepath.Dir(file))
	if err != nil {
		return err
	}
	defer closeRead(dir)
	return dir.Sync()
}

// closeRead closes what was not written to: that can't lose anything.
func closeRead(c io.Closer) { c.Close() }
