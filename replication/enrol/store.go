package enrol

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"sync"

	"preau/replication/identity"
	"preau/replication/wire"
)

// ErrNotEnrolled reports a folder that holds no identity.
var ErrNotEnrolled = errors.New("not enrolled in a region")

// The files of a node's identity.
const (
	fileKey     = "key.pem"
	filePending = "key.pending.pem" // of an enrolment that is not done
	fileCert    = "cert.pem"
	fileRegion  = "region.json"
	fileSecret  = "region.secret" // on servers

	maxServers = 16
	maxFile    = 64 << 10
)

// about is region.json.
type about struct {
	Version   int             `json:"version"`
	Region    identity.Region `json:"region"`
	Authority string          `json:"authority"` // PEM
	Servers   []wire.Target   `json:"servers"`
	Token     string          `json:"token,omitempty"` // the id of the one that was redeemed
}

const aboutVersion = 1

// Store is a node's identity in a folder: its key, which is written once and
// never leaves it, its certificate, and what it knows of its region. It is safe
// for any number of goroutines, and for one process.
type Store struct {
	dir    string
	key    crypto.Signer
	roots  []*x509.Certificate
	secret Secret

	mu    sync.Mutex
	about about
	cert  *tls.Certificate
	id    identity.Identity
}

// OpenStore reads a node's identity. It is ErrNotEnrolled if there is none.
func OpenStore(dir string) (*Store, error) {
	s, err := openStore(dir)
	if err != nil {
		return nil, fmt.Errorf("identity in %s: %w", dir, err)
	}
	return s, nil
}

func openStore(dir string) (*Store, error) {
	certText, err := readFile(dir, fileCert)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, ErrNotEnrolled
	} else if err != nil {
		return nil, err
	}
	cert, err := readCertificate(certText)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", fileCert, err)
	}
	aboutText, err := readFile(dir, fileRegion)
	if err != nil {
		return nil, err
	}
	s := &Store{dir: dir}
	if err := json.Unmarshal(aboutText, &s.about); err != nil {
		return nil, fmt.Errorf("%s: %w", fileRegion, err)
	}
	if s.about.Version != aboutVersion {
		return nil, fmt.Errorf("%s is of version %d, this program knows %d", fileRegion, s.about.Version, aboutVersion)
	}
	if s.key, err = keyFor(dir, cert); err != nil {
		return nil, err
	}
	if s.secret, err = readSecret(dir); err != nil {
		return nil, err
	}
	authority, err := readCertificate([]byte(s.about.Authority))
	if err != nil {
		return nil, fmt.Errorf("%s: the authority: %w", fileRegion, err)
	}
	s.roots = []*x509.Certificate{authority}
	if err := cert.CheckSignatureFrom(authority); err != nil {
		return nil, fmt.Errorf("%s is not signed by the authority in %s: enrol again: %w", fileCert, fileRegion, err)
	}
	if s.id, err = identity.FromCertificate(cert); err != nil {
		return nil, fmt.Errorf("%s: %w", fileCert, err)
	}
	if s.id.Region != s.about.Region {
		return nil, fmt.Errorf("%s is of region %s, %s of region %s: enrol again", fileCert, s.id.Region, fileRegion, s.about.Region)
	}
	s.cert = s.pair(cert)
	return s, nil
}

// keyFor finds the key of cert. An enrolment writes the certificate before it
// gives the pending key its name: if it was cut off in between, that is done now.
func keyFor(dir string, cert *x509.Certificate) (crypto.Signer, error) {
	var errs []error
	for _, file := range []string{fileKey, filePending} {
		key, err := readKey(dir, file)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		public, ok := cert.PublicKey.(interface{ Equal(crypto.PublicKey) bool })
		if !ok || !public.Equal(key.Public()) {
			errs = append(errs, fmt.Errorf("%s is not the key of %s", file, fileCert))
			continue
		}
		if file == filePending {
			if err := rename(dir, filePending, fileKey); err != nil {
				return nil, err
			}
		}
		return key, nil
	}
	return nil, errors.Join(errs...)
}

func (s *Store) pair(cert *x509.Certificate) *tls.Certificate {
	return &tls.Certificate{Certificate: [][]byte{cert.Raw}, PrivateKey: s.key, Leaf: cert}
}

// Dir is the folder.
func (s *Store) Dir() string { return s.dir }

// Identity is who the node is.
func (s *Store) Identity() identity.Identity { return s.id }

// Authority is the certificate of the region's authority.
func (s *Store) Authority() *x509.Certificate { return s.roots[0] }

// Secret is the region's secret on a server, and nil on any other node.
func (s *Store) Secret() Secret { return slices.Clone(s.secret) }

// Certificate is the node's own, as it is now.
func (s *Store) Certificate() *x509.Certificate {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.cert.Leaf
}

// Credentials are for wire. They go on being right when the certificate is
// renewed.
func (s *Store) Credentials() wire.Credentials {
	return wire.Credentials{
		Region: s.id.Region,
		Roots:  slices.Clone(s.roots),
		Certificate: func() (*tls.Certificate, error) {
			s.mu.Lock()
			defer s.mu.Unlock()
			return s.cert, nil
		},
	}
}

// Servers are those of the region as last heard.
func (s *Store) Servers() []wire.Target {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.about.Servers)
}

// SetServers remembers the region's servers, for the next start.
func (s *Store) SetServers(servers []wire.Target) error {
	if len(servers) == 0 || len(servers) > maxServers {
		return fmt.Errorf("a region has 1 to %d servers, not %d", maxServers, len(servers))
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if slices.Equal(servers, s.about.Servers) {
		return nil
	}
	next := s.about
	next.Servers = slices.Clone(servers)
	if err := writeAbout(s.dir, next); err != nil {
		return err
	}
	s.about = next
	return nil
}

// renewed takes the place of the certificate; the key stays.
func (s *Store) renewed(g Grant) error {
	cert, _, id, err := g.accept(s.key.Public(), wire.PinOf(s.roots[0]), s.id.Region)
	if err != nil {
		return err
	}
	if id != s.id {
		return fmt.Errorf("the region renewed the certificate of %s for %s", s.id, id)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := writeFile(s.dir, fileCert, encodePEM(pemCertificate, cert.Raw)); err != nil {
		return err
	}
	s.cert = s.pair(cert)
	return nil
}

// establish writes an identity whose key is filePending and opens it. Each write
// is whole or not there, and the order is one that openStore, or the same
// enrolment again, can go on from after each.
func establish(dir string, g Grant, token string) (*Store, error) {
	if len(g.Secret) > 0 {
		if err := g.Secret.Validate(); err != nil {
			return nil, err
		}
		if err := writeFile(dir, fileSecret, encodePEM(pemSecret, g.Secret)); err != nil {
			return nil, err
		}
	} else if err := os.Remove(filepath.Join(dir, fileSecret)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	err := writeAbout(dir, about{Version: aboutVersion, Region: g.Region, Authority: g.Authority, Servers: g.Servers, Token: token})
	if err != nil {
		return nil, err
	}
	if err := writeFile(dir, fileCert, []byte(g.Certificate)); err != nil {
		return nil, err
	}
	return OpenStore(dir)
}

func writeAbout(dir string, a about) error {
	b, err := json.MarshalIndent(a, "", "  ")
	if err != nil {
		return err
	}
	return writeFile(dir, fileRegion, append(b, '\n'))
}

const pemSecret = "PREAU REGION SECRET"

func readSecret(dir string) (Secret, error) {
	text, err := readFile(dir, fileSecret)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	} else if err != nil {
		return nil, err
	}
	block, _ := pem.Decode(text)
	if block == nil || block.Type != pemSecret {
		return nil, fmt.Errorf("%s holds no secret", fileSecret)
	}
	secret := Secret(block.Bytes)
	return secret, secret.Validate()
}

// pendingKey is the key of an enrolment under way, made if there is none.
func pendingKey(dir string) (crypto.Signer, error) {
	key, err := readKey(dir, filePending)
	if err == nil || !errors.Is(err, fs.ErrNotExist) {
		return key, err
	}
	made, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("make a key: %w", err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(made)
	if err != nil {
		return nil, err
	}
	if err := writeFile(dir, filePending, encodePEM(pemKey, der)); err != nil {
		return nil, err
	}
	return made, nil
}

func readKey(dir, file string) (crypto.Signer, error) {
	text, err := readFile(dir, file)
	if err != nil {
		return nil, err
	}
	block, _ := pem.Decode(text)
	if block == nil || block.Type != pemKey {
		return nil, fmt.Errorf("%s holds no key", file)
	}
	key, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	signer, ok := key.(crypto.Signer)
	if !ok {
		return nil, fmt.Errorf("%s holds a key that does not sign", file)
	}
	return signer, nil
}

const (
	fileSealed = "authority.sealed"
	pemSealed  = "PREAU SEALED AUTHORITY KEY"
)

// Sealed is the authority's key as Found or KeepSealed left it in the folder,
// encrypted under Secret.
func (s *Store) Sealed() ([]byte, error) {
	text, err := readFile(s.dir, fileSealed)
	if err != nil {
		return nil, fmt.Errorf("sealed key of the authority: %w", err)
	}
	block, _ := pem.Decode(text)
	if block == nil || block.Type != pemSealed {
		return nil, fmt.Errorf("%s holds no sealed key", fileSealed)
	}
	return block.Bytes, nil
}

// KeepSealed puts the sealed key of the catalogue in a server's folder.
func (s *Store) KeepSealed(sealed []byte) error {
	return writeFile(s.dir, fileSealed, encodePEM(pemSealed, sealed))
}

// OpenAuthority opens the authority on a server. Sealed is what the catalogue
// has; nil for what lies in the folder.
func (s *Store) OpenAuthority(sealed []byte) (*Authority, error) {
	if s.secret == nil {
		return nil, errors.New("this node is no server and has no secret of the region")
	}
	if sealed == nil {
		var err error
		if sealed, err = s.Sealed(); err != nil {
			return nil, err
		}
	}
	return OpenAuthority(encodePEM(pemCertificate, s.roots[0].Raw), sealed, s.secret)
}
