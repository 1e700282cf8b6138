package identity

import (
	"fmt"
	"strings"
)

const (
	regionDigits = 16
	maxName      = 40
	schoolLength = 8
)

// Region is the id of a region: 16 hexadecimal digits, lower case, made up when
// the region is founded and never changed.
type Region string

// ParseRegion checks s.
func ParseRegion(s string) (Region, error) {
	if len(s) != regionDigits || strings.Trim(s, "0123456789abcdef") != "" {
		return "", fmt.Errorf("%w: %q is not the id of a region (%d digits 0-9 a-f)", ErrInvalid, clip(s), regionDigits)
	}
	return Region(s), nil
}

// Role is what the holder of a certificate may be.
type Role string

// The roles, all there are.
const (
	Server   Role = "server"   // of the region: a voter, trusted with the catalogue
	Box      Role = "box"      // in a school
	Operator Role = "operator" // a person of the regional IT
	Central  Role = "central"  // the ministry's gateway
)

// ParseRole checks s.
func ParseRole(s string) (Role, error) {
	switch r := Role(s); r {
	case Server, Box, Operator, Central:
		return r, nil
	default:
		return "", fmt.Errorf("%w: %q is no role (server, box, operator, central)", ErrInvalid, clip(s))
	}
}

// Name is what a box, a server or an operator is called: unique among those of
// its role in its region, fit for a host name and for a file name.
type Name string

// ParseName checks s: 1 to 40 of a-z, 0-9 and "-", with no "-" at either end.
func ParseName(s string) (Name, error) {
	switch {
	case s == "":
		return "", fmt.Errorf("%w: a name is missing", ErrInvalid)
	case len(s) > maxName:
		return "", fmt.Errorf("%w: the name %q... has %d characters, at most %d are allowed", ErrInvalid, clip(s), len(s), maxName)
	case strings.IndexFunc(s, notInName) >= 0:
		return "", fmt.Errorf("%w: the name %q may have a-z, 0-9 and - only", ErrInvalid, s)
	case s[0] == '-' || s[len(s)-1] == '-':
		return "", fmt.Errorf("%w: the name %q begins or ends with -", ErrInvalid, s)
	}
	return Name(s), nil
}

func notInName(r rune) bool {
	return (r < 'a' || r > 'z') && (r < '0' || r > '9') && r != '-'
}

// School is the code of a school, shaped as a French UAI: seven digits and a
// letter. The letter is a check on the digits, but codes for trials and
// training do not honour it, so only the shape is looked at.
type School string

// ParseSchool checks s and makes its letter upper case.
func ParseSchool(s string) (School, error) {
	if len(s) != schoolLength {
		return "", fmt.Errorf("%w: %q is not a school's code (7 digits and a letter, as in 0690001A)", ErrInvalid, clip(s))
	}
	letter := s[schoolLength-1] &^ 0x20
	for i := range schoolLength - 1 {
		if s[i] < '0' || s[i] > '9' {
			return "", fmt.Errorf("%w: %q is not a school's code (7 digits and a letter, as in 0690001A)", ErrInvalid, s)
		}
	}
	if letter < 'A' || letter > 'Z' {
		return "", fmt.Errorf("%w: %q is not a school's code: its last character is no letter", ErrInvalid, s)
	}
	return School(s[:schoolLength-1] + string(rune(letter))), nil
}

// clip keeps what came from outside short in messages.
func clip(s string) string { return s[:min(len(s), maxName)] }
