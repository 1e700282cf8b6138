// Package identity says who a certificate speaks for.
//
// Every certificate that a region issues carries exactly one name, a URI:
//
//	preau://0123456789abcdef/box/library-1?school=0690001A
//
// that is the region, a role, a name that is unique in its role, and for a box
// the school it stands in. Host names and addresses play no part: a box moves
// from one line to another and stays the same box.
//
// The package reads and writes that URI and nothing else. It verifies no
// signature and no date (see replication/wire) and issues nothing (see
// replication/enrol). There is one way to write an identity; whatever differs
// from it by one byte is refused, so that two parts of a program can never read
// one certificate differently.
package identity

import (
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"
	"net/url"
	"strings"
)

// Scheme is the scheme of the URI in a certificate.
const Scheme = "preau"

// maxURI bounds what Parse looks at: scheme, region, role, the longest name
// and a school come to less.
const maxURI = 160

// ErrInvalid reports something that is no identity, or part of one.
var ErrInvalid = errors.New("invalid identity")

// Identity is who a certificate speaks for. The zero value is nobody. It is
// comparable and fit for the key of a map.
type Identity struct {
	Region Region
	Role   Role
	Name   Name
	School School // of boxes only
}

// Validate says whether the identity can be put in a certificate.
func (id Identity) Validate() error {
	if _, err := ParseRegion(string(id.Region)); err != nil {
		return err
	}
	if _, err := ParseRole(string(id.Role)); err != nil {
		return err
	}
	if _, err := ParseName(string(id.Name)); err != nil {
		return err
	}
	if id.Role != Box {
		if id.School != "" {
			return fmt.Errorf("%w: only a box belongs to a school, not a %s", ErrInvalid, id.Role)
		}
		return nil
	}
	if school, err := ParseSchool(string(id.School)); err != nil {
		return err
	} else if school != id.School {
		return fmt.Errorf("%w: the school's code %q is not upper case", ErrInvalid, id.School)
	}
	return nil
}

// IsZero says that this is nobody.
func (id Identity) IsZero() bool { return id == Identity{} }

// String is the identity as its certificate has it.
func (id Identity) String() string {
	s := Scheme + "://" + string(id.Region) + "/" + string(id.Role) + "/" + string(id.Name)
	if id.School != "" {
		s += "?school=" + string(id.School)
	}
	return s
}

// URI is String for a certificate's subject alternative name.
func (id Identity) URI() *url.URL {
	u := &url.URL{Scheme: Scheme, Host: string(id.Region), Path: "/" + string(id.Role) + "/" + string(id.Name)}
	if id.School != "" {
		u.RawQuery = "school=" + string(id.School)
	}
	return u
}

// Parse reads what String writes, and nothing else.
func Parse(s string) (Identity, error) {
	if len(s) > maxURI {
		return Identity{}, fmt.Errorf("%w: %d bytes are too many", ErrInvalid, len(s))
	}
	rest, ok := strings.CutPrefix(s, Scheme+"://")
	if !ok {
		return Identity{}, fmt.Errorf("%w: %q does not begin with %s://", ErrInvalid, s, Scheme)
	}
	rest, school, asked := strings.Cut(rest, "?school=")
	parts := strings.Split(rest, "/")
	if len(parts) != 3 || asked && school == "" {
		return Identity{}, fmt.Errorf("%w: %q is not %s://REGION/ROLE/NAME", ErrInvalid, s, Scheme)
	}
	id := Identity{Region: Region(parts[0]), Role: Role(parts[1]), Name: Name(parts[2]), School: School(school)}
	if err := id.Validate(); err != nil {
		return Identity{}, err
	}
	return id, nil
}

// FromCertificate reads the identity of a certificate whose signature the
// caller has verified. A certificate with any second name is refused, be it a
// host name, an address or another URI: it could mean something else to
// somebody else.
func FromCertificate(cert *x509.Certificate) (Identity, error) {
	if len(cert.URIs) != 1 || len(cert.DNSNames) > 0 || len(cert.IPAddresses) > 0 || len(cert.EmailAddresses) > 0 {
		return Identity{}, fmt.Errorf("%w: the certificate has %d URIs, %d host names, %d addresses and %d e-mail addresses, want one URI alone",
			ErrInvalid, len(cert.URIs), len(cert.DNSNames), len(cert.IPAddresses), len(cert.EmailAddresses))
	}
	return Parse(cert.URIs[0].String())
}

// NewRegion makes up the id of a region, once in the region's life.
func NewRegion() Region {
	var b [regionDigits / 2]byte
	rand.Read(b[:]) // never fails
	return Region(hex.EncodeToString(b[:]))
}

// Key is the SHA-256 of a public key (its DER SubjectPublicKeyInfo): it tells
// one key from another where the key itself is of no use.
type Key [sha256.Size]byte

// KeyOf is the Key of a certificate.
func KeyOf(cert *x509.Certificate) Key { return sha256.Sum256(cert.RawSubjectPublicKeyInfo) }

// String is the key in hexadecimal digits.
func (k Key) String() string { return hex.EncodeToString(k[:]) }
