// Package lesson is what a teacher prepares: a list of links and files that a
// class needs on a day, and whether each of them will be there.
//
// A Store keeps lessons on the box, and boxes of a school pass them on to each
// other; of two versions of one the later wins everywhere (Merge), but whose a lesson
// is stays as each box knows it. A Preparer gives
// each item of the lessons to come a light, with a reason: it finds what a link
// needs, has the box's own cache fetch that ahead, keeps it from being given up, and
// looks again before the day. It asks the cache as a device does and adds no rule of
// its own: what may not be kept for everybody is not kept for a lesson.
//
// What is fetched ahead yields to people: it keeps to the line's hours, comes at
// its rate, byte by byte, and stops while people talk over it. What a pupil asks for
// meanwhile comes as fast as it can. When something will be ready is told only where
// it follows from what was measured.
//
// Lessons name no pupil, and who opens one is noted nowhere. The package shows
// nothing to people but the words for its reasons.
package lesson

import (
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
)

// Bounds of a lesson.
const (
	MaxItems = 60
	maxText  = 200
	maxURL   = 2000
	maxID    = 128
	maxBy    = 300 // a provider's name for somebody has up to 255
)

// Kind is what an item is.
type Kind string

// The kinds of items.
const (
	Link      Kind = "link"      // a page or file of a site
	Published Kind = "published" // a resource of the region's catalogue
	Deposit   Kind = "deposit"   // a file that was added in the school
)

// Item is one thing that a lesson needs.
type Item struct {
	Kind  Kind   `json:"kind"`
	URL   string `json:"url,omitempty"` // of a link
	ID    string `json:"id,omitempty"`  // of all else
	Title string `json:"title,omitempty"`
}

// Version orders what was written of one lesson. No clock is in it.
type Version struct {
	N   uint64 `json:"n"`
	Box string `json:"box"`
}

// After reports whether v was written after o, or would win over it.
func (v Version) After(o Version) bool { return v.N > o.N || v.N == o.N && v.Box > o.Box }

// Lesson is one lesson.
type Lesson struct {
	ID    string    `json:"id"`
	Code  string    `json:"code"` // its short address
	Title string    `json:"title,omitempty"`
	Class string    `json:"class,omitempty"`
	Date  time.Time `json:"date"` // when it must be ready
	// By is who made it, and stays. Where it is not known, it is anybody's.
	By      string  `json:"by,omitempty"`
	Items   []Item  `json:"items,omitempty"`
	Version Version `json:"version"`
	// Deleted is all that is left of a lesson that was deleted, so that no other
	// box brings it back.
	Deleted bool `json:"deleted,omitempty"`
}

// MayChange reports whether somebody may change or delete the lesson: whoever made
// it, and the school's admins.
func (l Lesson) MayChange(subject string, admin bool) bool {
	return admin || l.By == "" || l.By == subject
}

// Errors of lessons.
var (
	ErrInvalid = errors.New("the lesson will not do")
	ErrUnknown = errors.New("there is no such lesson")
	ErrChanged = errors.New("the lesson was changed by somebody else meanwhile")
	ErrFull    = errors.New("there are too many lessons: delete old ones")
)

// codeLetters are those of codes: none that is taken for another, and no vowels,
// with which there would be words.
const codeLetters = "BCDFGHJKMNPQRSTVWXZ"

// codeLength makes two and a half million codes.
const codeLength = 5

func newCode() string {
	var b strings.Builder
	var one [1]byte
	for b.Len() < codeLength {
		_, _ = rand.Read(one[:])                            // never fails (crypto/rand)
		if n := int(one[0]); n < 256-256%len(codeLetters) { // each letter as often as the others
			b.WriteByte(codeLetters[n%len(codeLetters)])
		}
	}
	return b.String()
}

// ValidCode returns the code that somebody typed, if it can be one.
func ValidCode(s string) (string, bool) {
	s = strings.ToUpper(strings.TrimSpace(s))
	return s, len(s) == codeLength && strings.Trim(s, codeLetters) == ""
}

func newID() string {
	var id [12]byte
	_, _ = rand.Read(id[:]) // never fails (crypto/rand)
	return "l-" + hex.EncodeToString(id[:])
}

func validID(s string) bool {
	raw, err := hex.DecodeString(strings.TrimPrefix(s, "l-"))
	return err == nil && len(raw) == 12 && len(s) == 26 && s == strings.ToLower(s)
}

// Validate reports every mistake at once. It is asked about all that comes from
// forms, disks and other boxes.
func (l Lesson) Validate() error {
	var errs []error
	bad := func(format string, a ...any) { errs = append(errs, fmt.Errorf(format, a...)) }
	if !validID(l.ID) {
		bad("id: %q", l.ID)
	}
	if code, ok := ValidCode(l.Code); !ok || code != l.Code {
		bad("code: %q", l.Code)
	}
	if l.Version.N == 0 || !text(l.Version.Box, maxID) || l.Version.Box == "" {
		bad("version: %d of %q", l.Version.N, l.Version.Box)
	}
	if y := l.Date.Year(); y < 1970 || y > 2200 {
		bad("date: the year %d", y)
	}
	if !text(l.Title, maxText) || !text(l.Class, maxText) || !text(l.By, maxBy) {
		bad("title, class, by: too long, or with control characters")
	}
	if !l.Deleted && l.Title == "" {
		bad("title: must be given")
	}
	if l.Deleted && len(l.Items) > 0 || len(l.Items) > MaxItems {
		bad("items: there are %d, at most %d", len(l.Items), MaxItems)
	}
	for i, it := range l.Items[:min(len(l.Items), MaxItems)] {
		if err := it.Validate(); err != nil {
			bad("item %d: %w", i+1, err)
		}
	}
	if len(errs) > 0 {
		return fmt.Errorf("%w: %w", ErrInvalid, errors.Join(errs...))
	}
	return nil
}

// Validate checks an item.
func (it Item) Validate() error {
	if !text(it.Title, maxText) {
		return errors.New("its title is too long, or has control characters")
	}
	switch it.Kind {
	case Link:
		if it.URL == "" || it.ID != "" || !text(it.URL, maxURL) {
			return errors.New("a link has a web address, and no other")
		}
		return nil
	case Published, Deposit:
		if it.ID == "" || it.URL != "" || !text(it.ID, maxID) || strings.ContainsAny(it.ID, "/?#") {
			return errors.New("a file has an id, and no address")
		}
		return nil
	}
	return fmt.Errorf("it is of no kind that is known: %q", it.Kind)
}

func text(s string, most int) bool {
	return len(s) <= most && utf8.ValidString(s) && !strings.ContainsFunc(s, unicode.IsControl)
}
