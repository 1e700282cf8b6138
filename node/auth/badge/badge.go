// Package badge keeps the badges of a school: what a teacher signs in with where
// there is no line and no provider.
//
// A school's admin makes a badge for a name, until a day at most a year ahead.
// Its code, on paper or as a QR code, is exchanged once for a session in one
// browser; from then on the paper is worth nothing. A badge can be revoked, and
// can get a new code when its browser is lost. Only hashes of codes are kept.
// The package makes no sessions and draws no QR codes.
package badge

import (
	"cmp"
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"time"
	"unicode"
	"unicode/utf8"

	"preau/node/auth/claim"
	"preau/node/keep"
)

const (
	// Longest is how long a badge may last.
	Longest = 366 * 24 * time.Hour
	// CodeLasts is how long its code can be exchanged.
	CodeLasts = 14 * 24 * time.Hour
	// MaxBadges is how many there may be at a time.
	MaxBadges = 500

	maxName = 80
	maxFile = 1 << 20
	// How long what has ended is still listed.
	remembered = 30 * 24 * time.Hour
)

// Errors of the register. ErrUnknown says the same of a code that was never
// made, was used, or is too old: nobody learns more by trying.
var (
	ErrUnknown = errors.New("there is no such badge, or it was used or has ended")
	ErrName    = errors.New("a badge needs a name of at most 80 letters")
	ErrUntil   = errors.New("a badge needs an end within a year from now")
	ErrFull    = errors.New("there are too many badges: revoke some that are not in use")
	ErrOwned   = errors.New("the badge is joined to somebody else's account: revoke it and make another")
)

// Badge is one as it is listed.
type Badge struct {
	ID      string
	Name    string // the teacher's
	By      string // who made it
	Made    time.Time
	Until   time.Time
	CodeEnd time.Time // until when its code can be exchanged; zero: there is none
	Used    time.Time // when it was last exchanged; zero: not yet
	Revoked time.Time // zero: not
}

// Live reports whether a session by the badge may go on.
func (b Badge) Live(now time.Time) bool { return b.Revoked.IsZero() && now.Before(b.Until) }

// held is a badge as it is kept.
type held struct {
	Badge
	Code []byte // SHA-256 of it; 79 random bits need no slow hash
}

type record struct {
	Latest time.Time
	Badges []held
	// Joined outlives the badges: what somebody wrote by one stays theirs.
	Joined []Joined `json:",omitempty"`
}

// Register is a box's badges. Its methods may be called at the same time.
type Register struct {
	file string
	mu   sync.Mutex
	now  record
}

// Open reads the register. A damaged one is put aside: its badges are lost, and
// who had one needs a new one.
func Open(file string, log *slog.Logger) (*Register, error) {
	r := &Register{file: file}
	err := keep.Read(file, maxFile, &r.now)
	switch {
	case err == nil, errors.Is(err, fs.ErrNotExist):
		return r, nil
	case errors.Is(err, keep.ErrDamaged):
		log.Error("the badges can't be read and are lost: make new ones for those who need them", "file", file, "err", err)
		r.now = record{}
		if err := keep.Remove(file); err != nil {
			return nil, fmt.Errorf("remove damaged badges: %w", err)
		}
		return r, nil
	}
	return nil, fmt.Errorf("read badges: %w", err)
}

// believable is the largest step of the clock that is taken for time.
const believable = 100 * 24 * time.Hour

// floor is the time to judge by: a clock that was put back does not bring back
// what has ended. A clock that leaps far ahead says nothing for the time after.
func (r *Register) floor(now time.Time) time.Time {
	if r.now.Latest.After(now) {
		return r.now.Latest
	}
	return now
}

// noteTime remembers how late it is, before a write.
func (r *Register) noteTime(now time.Time) {
	if ahead := now.Sub(r.now.Latest); r.now.Latest.IsZero() || ahead > 0 && ahead < believable {
		r.now.Latest = now.Round(0)
	}
}

// change changes the register on the disk and then here, or not at all.
func (r *Register) change(now time.Time, do func(*record) error) error {
	before := r.now
	r.now.Badges, r.now.Joined = slices.Clone(before.Badges), slices.Clone(before.Joined)
	err := do(&r.now)
	if err == nil {
		r.noteTime(now)
		err = keep.Write(r.file, r.now)
	}
	if err != nil {
		r.now = before
	}
	return err
}

// Tick remembers how late it is, to be called about once a day, and forgets what
// ended long ago.
func (r *Register) Tick(now time.Time) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.now.Badges) == 0 || now.Sub(r.now.Latest) < 24*time.Hour {
		return nil
	}
	return r.change(now, func(rec *record) error {
		rec.Badges = slices.DeleteFunc(rec.Badges, func(h held) bool { return ended(h.Badge, now, remembered) })
		return nil
	})
}

func ended(b Badge, now time.Time, ago time.Duration) bool {
	return now.Sub(b.Until) > ago || !b.Revoked.IsZero() && now.Sub(b.Revoked) > ago
}

// Make makes a badge and gives its code, which is nowhere else.
func (r *Register) Make(name, by string, now, until time.Time) (Badge, string, error) {
	name = strings.TrimSpace(name)
	if !fitting(name) {
		return Badge{}, "", ErrName
	}
	id, err := claim.Random(8, 8)
	if err != nil {
		return Badge{}, "", err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	now = r.floor(now).Round(0)
	if !until.After(now) || until.Sub(now) > Longest {
		return Badge{}, "", ErrUntil
	}
	code, hash, err := newCode()
	if err != nil {
		return Badge{}, "", err
	}
	b := Badge{ID: id, Name: name, By: by, Made: now, Until: until.Round(0), CodeEnd: earlier(now.Add(CodeLasts), until)}
	err = r.change(now, func(rec *record) error {
		if len(rec.Badges) >= MaxBadges {
			rec.Badges = slices.DeleteFunc(rec.Badges, func(h held) bool { return !h.Live(now) })
		}
		if len(rec.Badges) >= MaxBadges {
			return ErrFull
		}
		rec.Badges = append(rec.Badges, held{b, hash})
		return nil
	})
	if err != nil {
		return Badge{}, "", fmt.Errorf("make a badge: %w", err)
	}
	return b, code, nil
}

// fitting reports whether a name can be printed.
func fitting(name string) bool {
	return name != "" && utf8.ValidString(name) && utf8.RuneCountInString(name) <= maxName &&
		!strings.ContainsFunc(name, func(c rune) bool { return !unicode.IsPrint(c) })
}

func earlier(a, b time.Time) time.Time {
	if b.Before(a) {
		return b
	}
	return a
}

// newCode makes a code of 16 letters, which is 78 bits.
func newCode() (code string, hash []byte, err error) {
	code, err = claim.Random(16, 4)
	if err != nil {
		return "", nil, err
	}
	return code, hashOf(code), nil
}

func hashOf(typed string) []byte {
	sum := sha256.Sum256([]byte(claim.Plain(typed)))
	return sum[:]
}

// Again gives a badge a new code. The old code is worth nothing any more; the
// browser that had the badge is for the caller to sign out.
func (r *Register) Again(id string, now time.Time) (Badge, string, error) {
	code, hash, err := newCode()
	if err != nil {
		return Badge{}, "", err
	}
	b, err := r.one(id, now, func(h *held, now time.Time) error {
		if !h.Live(now) {
			return ErrUnknown
		}
		h.Code, h.CodeEnd, h.Used = hash, earlier(now.Add(CodeLasts), h.Until), time.Time{}
		return nil
	})
	if err != nil {
		return Badge{}, "", err
	}
	return b, code, nil
}

// Revoke ends a badge. The sessions by it are for the caller to end.
func (r *Register) Revoke(id string, now time.Time) (Badge, error) {
	return r.one(id, now, func(h *held, now time.Time) error {
		if h.Revoked.IsZero() {
			h.Revoked = now
		}
		h.Code, h.CodeEnd = nil, time.Time{}
		return nil
	})
}

// Exchange uses a code up. After nil it never works again.
func (r *Register) Exchange(typed string, now time.Time) (Badge, error) {
	hash := hashOf(typed)
	// To look hashes up tells nothing of codes by how long it takes.
	return r.find(now, func(h held) bool { return slices.Equal(h.Code, hash) }, func(h *held, now time.Time) error {
		if !h.Live(now) || !now.Before(h.CodeEnd) {
			return ErrUnknown
		}
		h.Code, h.CodeEnd, h.Used = nil, time.Time{}, now
		return nil
	})
}

func (r *Register) one(id string, now time.Time, do func(*held, time.Time) error) (Badge, error) {
	return r.find(now, func(h held) bool { return h.ID == id }, do)
}

func (r *Register) find(now time.Time, meant func(held) bool, do func(*held, time.Time) error) (b Badge, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	now = r.floor(now).Round(0)
	i := slices.IndexFunc(r.now.Badges, meant)
	if i < 0 {
		return b, ErrUnknown
	}
	err = r.change(now, func(rec *record) error {
		if err := do(&rec.Badges[i], now); err != nil {
			return err
		}
		b = rec.Badges[i].Badge
		return nil
	})
	if err != nil {
		return Badge{}, fmt.Errorf("badge: %w", err)
	}
	return b, nil
}

// Live reports whether sessions by the badge with an id may go on.
func (r *Register) Live(id string, now time.Time) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	now = r.floor(now)
	return slices.ContainsFunc(r.now.Badges, func(h held) bool { return h.ID == id && h.Live(now) })
}

// List is all badges, the newest first, with those that ended of late.
func (r *Register) List() []Badge {
	r.mu.Lock()
	defer r.mu.Unlock()
	list := make([]Badge, 0, len(r.now.Badges))
	for _, h := range r.now.Badges {
		list = append(list, h.Badge)
	}
	slices.SortStableFunc(list, func(a, b Badge) int { return cmp.Or(b.Made.Compare(a.Made), strings.Compare(a.Name, b.Name)) })
	return list
}
