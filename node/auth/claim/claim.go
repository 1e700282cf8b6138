// Package claim makes a new box somebody's: a code that is shown on its console
// makes whoever enters it the school's admin, once.
//
// There is no password that comes with the box. The code lies in a file that
// only the box's own user can read, so that an operator can have it shown
// again; once it was used it is gone. Who may try how often is not decided here.
package claim

import (
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"math/big"
	"strings"
	"sync"
	"time"

	"preau/node/keep"
)

// alphabet has no letter that looks like a digit or like another letter.
const alphabet = "23456789ABCDEFGHJKMNPQRSTVWXYZ"

const length = 8

// Errors of Use.
var (
	ErrWrong   = errors.New("the code is wrong")
	ErrClaimed = errors.New("the box is claimed already")
)

// record is what lies on the disk.
type record struct {
	Code    string    // of a box that nobody has claimed
	Printed bool      // the console had it
	Claimed time.Time // when; only of a box that is
}

// Claim is whether a box is claimed. Its methods may be called at the same time.
type Claim struct {
	file string
	mu   sync.Mutex
	now  record
}

// Open reads the file, or makes a code if there is none. A damaged file makes
// the box unclaimed again, with a new code: only who sees the console has it. A
// disk that takes nothing leaves the code in memory.
func Open(file string, log *slog.Logger) (*Claim, error) {
	c := &Claim{file: file}
	err := keep.Read(file, 4096, &c.now)
	switch {
	case err == nil && (c.now.Code != "" || !c.now.Claimed.IsZero()):
		return c, nil
	case err == nil, errors.Is(err, keep.ErrDamaged):
		log.Warn("what says whether the box is claimed can't be read: it can be claimed again, with a new code", "file", file, "err", err)
	case !errors.Is(err, fs.ErrNotExist):
		return nil, fmt.Errorf("read the claim code: %w", err)
	}
	if err := c.Again(); err != nil {
		if c.now.Code == "" {
			return nil, err
		}
		log.Warn("the claim code can't be kept: the next start makes another", "err", err)
	}
	return c, nil
}

// Code is the code of a box that can be claimed.
func (c *Claim) Code() (code string, open bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now.Code, c.now.Code != ""
}

// Print gives the code to show, once for each code.
func (c *Claim) Print() (code string, first bool, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.now.Code == "" || c.now.Printed {
		return "", false, nil
	}
	c.now.Printed = true
	return c.now.Code, true, c.write(c.now)
}

// Again makes a new code, whether or not the box is claimed: for an operator at
// the box itself, where the admin has lost every way in.
func (c *Claim) Again() error {
	code, err := Random(length, 4)
	if err != nil {
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = record{Code: code}
	return c.write(c.now)
}

func (c *Claim) write(r record) error {
	if err := keep.Write(c.file, r); err != nil {
		return fmt.Errorf("keep the claim code: %w", err)
	}
	return nil
}

// Use claims the box with what somebody typed. After nil no code works any more,
// not even after a power cut. Errors: ErrWrong, ErrClaimed, or the disk's: then
// the code still works.
func (c *Claim) Use(typed string, now time.Time) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.now.Code == "" {
		return ErrClaimed
	}
	// Of hashes, so that the comparison takes as long for any length.
	want, got := sha256.Sum256([]byte(Plain(c.now.Code))), sha256.Sum256([]byte(Plain(typed)))
	if subtle.ConstantTimeCompare(want[:], got[:]) != 1 {
		return ErrWrong
	}
	claimed := record{Claimed: now.Round(0)}
	if err := c.write(claimed); err != nil {
		return err
	}
	c.now = claimed
	return nil
}

// Plain is what somebody typed without spaces and dashes, in capitals.
func Plain(code string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case r >= 'a' && r <= 'z':
			return r - 'a' + 'A'
		case r == ' ', r == '-', r == '.', r == '_', r == '\u00a0', r == '–', r == '\u2011':
			return -1
		}
		return r
	}, code)
}

// Random makes a code of n letters and digits in groups. 30 of them to choose
// from make just under 5 bits each.
func Random(n, group int) (string, error) {
	var b strings.Builder
	for i := range n {
		k, err := rand.Int(rand.Reader, big.NewInt(int64(len(alphabet))))
		if err != nil {
			return "", fmt.Errorf("make a code: %w", err)
		}
		if i > 0 && i%group == 0 {
			b.WriteByte('-')
		}
		b.WriteByte(alphabet[k.Int64()])
	}
	return b.String(), nil
}
