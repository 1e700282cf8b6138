package enrol

import (
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base32"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"strconv"
	"strings"
	"time"

	"preau/replication/identity"
	"preau/replication/wire"
)

// Sentinels of a token that cannot be read.
var (
	// ErrTokenTruncated is a token whose end is missing.
	ErrTokenTruncated = errors.New("the token is cut off: copy all of it")
	// ErrTokenMistyped is a token with a wrong character somewhere.
	ErrTokenMistyped = errors.New("the token is mistyped")
	// ErrTokenVersion is a token of another version of this program.
	ErrTokenVersion = errors.New("the token is not of a version that is known here")
)

const (
	tokenPrefix     = "PREAU1-"
	maxTokenServers = 3
	maxTokenAddress = 80
	maxTokenText    = 1024 // longer than any, with line breaks between
	checksumLength  = 4
	tokenFixed      = 8 + len(wire.Pin{}) + len(TokenID{}) + len(TokenSecret{}) + 1
)

// TokenID names a token; it is no secret.
type TokenID [8]byte

// String is the id in hexadecimal digits.
func (id TokenID) String() string { return hex.EncodeToString(id[:]) }

// ParseTokenID reads what String writes.
func ParseTokenID(s string) (TokenID, error) {
	var id TokenID
	if len(s) != 2*len(id) {
		return TokenID{}, fmt.Errorf("%q is not the id of a token (%d hexadecimal digits)", s[:min(len(s), 32)], 2*len(id))
	}
	if _, err := hex.Decode(id[:], []byte(s)); err != nil {
		return TokenID{}, fmt.Errorf("%q is not the id of a token: %w", s, err)
	}
	return id, nil
}

// TokenSecret is what makes a token worth something.
type TokenSecret [16]byte

// LogValue keeps the secret out of logs.
func (TokenSecret) LogValue() slog.Value { return slog.StringValue("(secret)") }

// SecretHash is what the region keeps of a TokenSecret. The secret has 128 random
// bits, so there is nothing to guess and no need of a slow hash.
type SecretHash [sha256.Size]byte

// HashSecret hashes the secret of the token with the given id.
func HashSecret(id TokenID, secret TokenSecret) SecretHash {
	h := sha256.New()
	h.Write([]byte("preau enrol token 1\x00"))
	h.Write(id[:])
	h.Write(secret[:])
	return SecretHash(h.Sum(nil))
}

// Token is what a person carries to a node that is to be enrolled.
type Token struct {
	Region    identity.Region
	Authority wire.Pin
	ID        TokenID
	Secret    TokenSecret
	Servers   []string // up to three, host:port
}

// NewToken makes up a token. The region keeps a TokenRecord with its ID and
// Hash, and shows its String once.
func NewToken(region identity.Region, authority wire.Pin, servers []string) (Token, error) {
	t := Token{Region: region, Authority: authority, Servers: servers}
	if err := t.validate(); err != nil {
		return Token{}, err
	}
	// crypto/rand never fails: it ends the program instead.
	rand.Read(t.ID[:])
	rand.Read(t.Secret[:])
	return t, nil
}

func (t Token) validate() error {
	if _, err := identity.ParseRegion(string(t.Region)); err != nil {
		return err
	}
	if len(t.Servers) == 0 || len(t.Servers) > maxTokenServers {
		return fmt.Errorf("a token has 1 to %d addresses of servers, not %d", maxTokenServers, len(t.Servers))
	}
	for _, address := range t.Servers {
		if err := checkAddress(address); err != nil {
			return err
		}
	}
	return nil
}

func checkAddress(address string) error {
	if len(address) > maxTokenAddress {
		return fmt.Errorf("the address %q... is longer than %d characters", address[:32], maxTokenAddress)
	}
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return fmt.Errorf("the address %q is not host:port: %w", address, err)
	}
	if n, err := strconv.ParseUint(port, 10, 16); err != nil || n == 0 || host == "" {
		return fmt.Errorf("the address %q is not host:port", address)
	}
	if strings.ContainsFunc(address, func(r rune) bool { return r <= ' ' || r > '~' }) {
		return fmt.Errorf("the address %q has characters that no address has", address)
	}
	return nil
}

// Hash is what the region keeps of the token's secret.
func (t Token) Hash() SecretHash { return HashSecret(t.ID, t.Secret) }

// LogValue keeps the secret out of logs.
func (t Token) LogValue() slog.Value { return slog.StringValue(t.ID.String()) }

// alphabet is RFC 4648's base32: upper case and digits, which a QR code packs
// tightest, and neither 0 nor 1 to be taken for letters.
var alphabet = base32.StdEncoding.WithPadding(base32.NoPadding)

// String is the token's text, secret included: for the person, never for a log.
//
// It is "PREAU1-" and in base32: the length of what follows without the
// checksum, the region, the pin, the id, the secret, the number of addresses,
// each with its length before it, and the first bytes of the SHA-256 of all this.
func (t Token) String() string {
	region, err := hex.DecodeString(string(t.Region))
	if err != nil || t.validate() != nil {
		return "(invalid token)"
	}
	b := []byte{0, 0}
	b = append(b, region...)
	b = append(b, t.Authority[:]...)
	b = append(b, t.ID[:]...)
	b = append(b, t.Secret[:]...)
	b = append(b, byte(len(t.Servers)))
	for _, address := range t.Servers {
		b = append(b, byte(len(address)))
		b = append(b, address...)
	}
	body := len(b) - 2
	b[0], b[1] = byte(body>>8), byte(body)
	return tokenPrefix + alphabet.EncodeToString(append(b, checksum(b)...))
}

func checksum(b []byte) []byte {
	sum := sha256.Sum256(b)
	return sum[:checksumLength]
}

// ParseToken reads what String writes, in either case and with spaces, line
// breaks and hyphens wherever a mail program put them. Its errors are
// ErrTokenTruncated, ErrTokenMistyped and ErrTokenVersion.
func ParseToken(s string) (Token, error) {
	if len(s) > maxTokenText {
		return Token{}, fmt.Errorf("%w: %d characters are too many", ErrTokenMistyped, len(s))
	}
	text := strings.ToUpper(strings.Map(func(r rune) rune {
		if strings.ContainsRune(" \t\r\n-", r) {
			return -1
		}
		return r
	}, s))
	prefix := strings.TrimSuffix(tokenPrefix, "-")
	switch {
	case text == "":
		return Token{}, fmt.Errorf("%w: it is empty", ErrTokenTruncated)
	case len(text) < len(prefix) && strings.HasPrefix(prefix, text):
		return Token{}, ErrTokenTruncated
	case !strings.HasPrefix(text, prefix[:len(prefix)-1]):
		return Token{}, fmt.Errorf("%w: it does not begin with %s", ErrTokenMistyped, tokenPrefix)
	case !strings.HasPrefix(text, prefix):
		return Token{}, fmt.Errorf("%w: it does not begin with %s", ErrTokenVersion, tokenPrefix)
	}
	text = text[len(prefix):]
	if i := strings.IndexFunc(text, func(r rune) bool { return (r < 'A' || r > 'Z') && (r < '2' || r > '7') }); i >= 0 {
		return Token{}, fmt.Errorf("%w: no token has %q in it (character %d after %s)", ErrTokenMistyped, []rune(text[i:])[0], i+1, tokenPrefix)
	}
	return decodeToken(text)
}

// decodeToken reads text, which is of the alphabet.
func decodeToken(text string) (Token, error) {
	// Whole bytes only: a cut may leave a character that is not half a byte.
	b, err := alphabet.DecodeString(text[:alphabet.EncodedLen(len(text)*5/8)])
	if err != nil {
		return Token{}, fmt.Errorf("%w: %w", ErrTokenMistyped, err)
	}
	if len(b) < 2 {
		return Token{}, ErrTokenTruncated
	}
	body := int(b[0])<<8 | int(b[1])
	if most := tokenFixed + maxTokenServers*(1+maxTokenAddress); body < tokenFixed || body > most {
		return Token{}, fmt.Errorf("%w: its length cannot be", ErrTokenMistyped)
	}
	total := 2 + body + checksumLength
	switch {
	case len(b) < total:
		return Token{}, fmt.Errorf("%w: %d of %d characters are there", ErrTokenTruncated, len(text), alphabet.EncodedLen(total))
	case len(text) != alphabet.EncodedLen(total):
		return Token{}, fmt.Errorf("%w: there is something after its end", ErrTokenMistyped)
	case subtle.ConstantTimeCompare(checksum(b[:2+body]), b[2+body:]) != 1:
		return Token{}, fmt.Errorf("%w: its checksum does not fit", ErrTokenMistyped)
	}

	rest := b[2 : 2+body]
	take := func(n int) []byte {
		part := rest[:n]
		rest = rest[n:]
		return part
	}
	t := Token{
		Region:    identity.Region(hex.EncodeToString(take(8))),
		Authority: wire.Pin(take(len(wire.Pin{}))),
		ID:        TokenID(take(len(TokenID{}))),
		Secret:    TokenSecret(take(len(TokenSecret{}))),
	}
	for range int(take(1)[0]) {
		if len(rest) == 0 || len(rest) < 1+int(rest[0]) {
			return Token{}, fmt.Errorf("%w: its addresses do not fit", ErrTokenMistyped)
		}
		t.Servers = append(t.Servers, string(take(int(take(1)[0]))))
	}
	if len(rest) > 0 {
		return Token{}, fmt.Errorf("%w: its addresses do not fit", ErrTokenMistyped)
	}
	if err := t.validate(); err != nil {
		return Token{}, fmt.Errorf("%w: %w", ErrTokenMistyped, err)
	}
	if t.String() != tokenPrefix+text {
		return Token{}, fmt.Errorf("%w: its last character does not fit", ErrTokenMistyped)
	}
	return t, nil
}

// TokenRecord is what the region keeps of a token.
type TokenRecord struct {
	ID       TokenID
	Secret   SecretHash
	Role     identity.Role
	School   identity.School // of boxes; empty for other roles
	NotAfter time.Time
	Uses     int // how many nodes it may enrol
}

// Check compares a redemption with the record, for a token that has enrolled
// used nodes before. It is nil, ErrTokenUnknown, ErrNotForThis, ErrTokenUsed
// or ErrTokenExpired. Whether this very key was enrolled with it before, and so
// is no new use, is for the caller to look at, after ErrTokenUnknown and
// ErrNotForThis are out of the question: see CheckSecret.
func (t TokenRecord) Check(r Redemption, used int, now time.Time) error {
	if err := t.CheckSecret(r); err != nil {
		return err
	}
	switch {
	case now.After(t.NotAfter):
		return ErrTokenExpired
	case used >= t.Uses:
		return ErrTokenUsed
	}
	return nil
}

// CheckSecret is the part of Check that has nothing to do with earlier uses.
func (t TokenRecord) CheckSecret(r Redemption) error {
	if r.Token != t.ID || subtle.ConstantTimeCompare(r.Secret[:], t.Secret[:]) != 1 {
		return ErrTokenUnknown
	}
	if r.Role != t.Role || r.School != "" && r.School != t.School {
		return ErrNotForThis
	}
	return nil
}
