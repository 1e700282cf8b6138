package enrol

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/ecdsa"
	"crypto/hkdf"
	"crypto/pbkdf2"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"

	"preau/replication/identity"
)

// ErrSealed reports that a sealed key does not open: the secret is another one,
// or the seal was damaged, which cannot be told apart.
var ErrSealed = errors.New("the authority's key does not open with this secret")

// The sealed form, for ever:
//
//	"preau-ca" | version 1 | derivation | iterations (4) | salt (16) | nonce (12) | AES-256-GCM
//
// All before the ciphertext is authenticated with it.
const (
	sealMagic   = "preau-ca"
	sealVersion = 1
	sealSalt    = 16
	sealNonce   = 12
	sealHeader  = len(sealMagic) + 2 + 4 + sealSalt + sealNonce
	maxSealed   = 4 << 10

	byHKDF   = 1
	byPBKDF2 = 2

	// pbkdf2Iterations is OWASP's advice for HMAC-SHA-256; opening takes what
	// the seal says, within bounds that cost a second and no more.
	pbkdf2Iterations    = 600_000
	maxPBKDF2Iterations = 5_000_000
)

// Unlock opens what is sealed: a Secret or a Passphrase.
type Unlock interface {
	derivation() (kind byte, iterations uint32)
	derive(salt []byte, iterations uint32) ([]byte, error)
}

// Secret is a region's secret: 32 random bytes that every server has and nobody
// else.
type Secret []byte

const secretLength = 32

// NewSecret makes one up.
func NewSecret() Secret {
	s := make(Secret, secretLength)
	rand.Read(s) // never fails
	return s
}

// LogValue keeps the secret out of logs.
func (Secret) LogValue() slog.Value { return slog.StringValue("(secret)") }

// Validate says whether it is a whole secret.
func (s Secret) Validate() error {
	if len(s) != secretLength {
		return fmt.Errorf("the region's secret has %d bytes, want %d", len(s), secretLength)
	}
	return nil
}

func (Secret) derivation() (byte, uint32) { return byHKDF, 0 }

func (s Secret) derive(salt []byte, _ uint32) ([]byte, error) {
	if err := s.Validate(); err != nil {
		return nil, err
	}
	return hkdf.Key(sha256.New, s, salt, "preau region authority key 1", 32)
}

// Passphrase is for a copy of the key that a person keeps.
type Passphrase string

// LogValue keeps the passphrase out of logs.
func (Passphrase) LogValue() slog.Value { return slog.StringValue("(secret)") }

func (Passphrase) derivation() (byte, uint32) { return byPBKDF2, pbkdf2Iterations }

func (p Passphrase) derive(salt []byte, iterations uint32) ([]byte, error) {
	if p == "" {
		return nil, errors.New("the passphrase is empty")
	}
	return pbkdf2.Key(sha256.New, string(p), salt, int(iterations), 32)
}

// Seal encrypts the authority's key.
func (a *Authority) Seal(with Unlock) ([]byte, error) {
	der, err := x509.MarshalPKCS8PrivateKey(a.key)
	if err != nil {
		return nil, fmt.Errorf("seal the authority's key: %w", err)
	}
	return seal(with, der)
}

func seal(with Unlock, plain []byte) ([]byte, error) {
	kind, iterations := with.derivation()
	b := append([]byte(sealMagic), sealVersion, kind)
	b = binary.BigEndian.AppendUint32(b, iterations)
	random := make([]byte, sealSalt+sealNonce)
	rand.Read(random) // never fails
	b = append(b, random...)
	aead, err := sealer(with, b)
	if err != nil {
		return nil, fmt.Errorf("seal the authority's key: %w", err)
	}
	return aead.Seal(b, random[sealSalt:], plain, b), nil
}

func sealer(with Unlock, header []byte) (cipher.AEAD, error) {
	at := len(sealMagic) + 2
	iterations := binary.BigEndian.Uint32(header[at:])
	key, err := with.derive(header[at+4:at+4+sealSalt], iterations)
	if err != nil {
		return nil, err
	}
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, err
	}
	return cipher.NewGCM(block)
}

func unseal(with Unlock, sealed []byte) ([]byte, error) {
	if len(sealed) < sealHeader || len(sealed) > maxSealed || string(sealed[:len(sealMagic)]) != sealMagic {
		return nil, errors.New("this is no sealed key of an authority, or only a part of one")
	}
	if v := sealed[len(sealMagic)]; v != sealVersion {
		return nil, fmt.Errorf("the authority's key is sealed in version %d, this program knows %d: use a newer program", v, sealVersion)
	}
	kind, _ := with.derivation()
	if had := sealed[len(sealMagic)+1]; had != kind {
		return nil, fmt.Errorf("%w: it was sealed with %s, not with %s", ErrSealed, derivationName(had), derivationName(kind))
	}
	if n := binary.BigEndian.Uint32(sealed[len(sealMagic)+2:]); kind == byPBKDF2 && (n == 0 || n > maxPBKDF2Iterations) {
		return nil, fmt.Errorf("%w: %d iterations are out of bounds", ErrSealed, n)
	}
	header := sealed[:sealHeader:sealHeader]
	aead, err := sealer(with, header)
	if err != nil {
		return nil, fmt.Errorf("open the authority's key: %w", err)
	}
	plain, err := aead.Open(nil, header[sealHeader-sealNonce:], sealed[sealHeader:], header)
	if err != nil {
		return nil, ErrSealed // GCM's own error says no more
	}
	return plain, nil
}

func derivationName(kind byte) string {
	switch kind {
	case byHKDF:
		return "a region's secret"
	case byPBKDF2:
		return "a passphrase"
	default:
		return "something unknown"
	}
}

// OpenAuthority opens what Seal closed. It is ErrSealed if the secret is wrong.
func OpenAuthority(certificate, sealed []byte, with Unlock) (*Authority, error) {
	cert, err := readCertificate(certificate)
	if err != nil {
		return nil, fmt.Errorf("read the authority's certificate: %w", err)
	}
	region, err := regionOf(cert)
	if err != nil {
		return nil, err
	}
	der, err := unseal(with, sealed)
	if err != nil {
		return nil, err
	}
	parsed, err := x509.ParsePKCS8PrivateKey(der)
	if err != nil {
		return nil, fmt.Errorf("read the authority's key: %w", err)
	}
	key, ok := parsed.(*ecdsa.PrivateKey)
	if !ok || !key.PublicKey.Equal(cert.PublicKey) {
		return nil, errors.New("the sealed key and the authority's certificate do not belong together")
	}
	return &Authority{region: region, cert: cert, key: key}, nil
}

// regionOf is the region that an authority may sign for.
func regionOf(cert *x509.Certificate) (identity.Region, error) {
	if !cert.IsCA || len(cert.PermittedURIDomains) != 1 {
		return "", errors.New("the certificate is not that of a region's authority")
	}
	return identity.ParseRegion(cert.PermittedURIDomains[0])
}
