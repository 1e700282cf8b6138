// Package actions keeps the log of what admins did on a box: who, when, what.
//
// Lines of JSON are appended and synced, a file for each month or for each
// mebibyte; what is older than twelve months goes, as the CNIL recommends, and
// there is a bound on all of it. It is read back from the newest. No pupil is
// ever in it, nor any address: what is written is for its callers, who know
// admins and teachers only.
package actions

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
	"unicode"

	"preau/node/keep"
)

const (
	// Kept is for how many months an action is kept at most.
	Kept = 12

	maxFile  = 1 << 20
	maxFiles = 64
	maxText  = 300
	ending   = ".jsonl"
)

// Action is something that somebody did.
type Action struct {
	Time    time.Time `json:"time"`
	Subject string    `json:"subject"`
	Name    string    `json:"name"`
	Role    string    `json:"role"`
	Action  string    `json:"action"` // a word, such as "revoke badge"
	What    string    `json:"what"`   // to what
}

// Log is a box's actions. Its methods may be called at the same time.
type Log struct {
	dir string
	mu  sync.Mutex
}

// Open opens the log in a folder, which it makes if need be.
func Open(dir string) (*Log, error) {
	if err := keep.Dir(dir); err != nil {
		return nil, err
	}
	return &Log{dir: dir}, nil
}

// part is one file of the log: of a month, and the how manieth of it.
type part struct {
	month string
	n     int
}

func (p part) name() string { return fmt.Sprintf("%s.%04d%s", p.month, p.n, ending) }

const monthly = "2006-01"

func partOf(name string) (p part, ok bool) {
	stem, ok := strings.CutSuffix(name, ending)
	month, digits, cut := strings.Cut(stem, ".")
	if !ok || !cut {
		return p, false
	}
	n, err := strconv.Atoi(digits)
	if _, bad := time.Parse(monthly, month); err != nil || bad != nil || n < 0 {
		return p, false
	}
	p = part{month, n}
	return p, p.name() == name
}

// parts lists the files, the oldest first.
func (l *Log) parts() ([]part, error) {
	entries, err := os.ReadDir(l.dir)
	if err != nil {
		return nil, fmt.Errorf("read the log of actions: %w", err)
	}
	var parts []part
	for _, e := range entries {
		if p, ok := partOf(e.Name()); ok && e.Type().IsRegular() {
			parts = append(parts, p)
		}
	}
	slices.SortFunc(parts, func(a, b part) int { return cmp.Or(strings.Compare(a.month, b.month), cmp.Compare(a.n, b.n)) })
	return parts, nil
}

// Add writes an action down. After nil it is on the disk.
func (l *Log) Add(a Action) error {
	for _, s := range []*string{&a.Subject, &a.Name, &a.Role, &a.Action, &a.What} {
		*s = short(*s)
	}
	a.Time = a.Time.UTC().Truncate(time.Second)
	line, err := json.Marshal(a)
	if err != nil {
		return fmt.Errorf("log an action: %w", err)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if err := l.redate(a.Time); err != nil {
		return err
	}
	name, err := l.current(a.Time)
	if err == nil {
		err = appendLine(name, line)
	}
	if err != nil {
		return fmt.Errorf("log an action: %w", err)
	}
	return l.tidy("")
}

// short bounds a text, and takes out what would not be seen.
func short(s string) string {
	s = strings.Map(func(r rune) rune {
		if unicode.IsPrint(r) {
			return r
		}
		return ' '
	}, strings.ToValidUTF8(s, "?"))
	if len(s) <= maxText {
		return s
	}
	return strings.ToValidUTF8(s[:maxText], "") + "…"
}

// current is the file that the next line goes to.
func (l *Log) current(now time.Time) (string, error) {
	month := now.Format(monthly)
	parts, err := l.parts()
	if err != nil {
		return "", err
	}
	at := part{month: month}
	for _, p := range parts {
		if p.month == month {
			at = p
		}
	}
	name := filepath.Join(l.dir, at.name())
	if info, err := os.Stat(name); err == nil && info.Size() >= maxFile {
		at.n++
		name = filepath.Join(l.dir, at.name())
	}
	return name, nil
}

// appendLine writes a line below what is there. A power cut may have left half a
// line: it is ended first, and skipped when the log is read.
func appendLine(name string, line []byte) (err error) {
	f, err := os.OpenFile(name, os.O_CREATE|os.O_RDWR|os.O_APPEND, 0o600)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	info, err := f.Stat()
	if err != nil {
		return err
	}
	if size := info.Size(); size > 0 {
		var last [1]byte
		if _, err := f.ReadAt(last[:], size-1); err != nil {
			return err
		}
		if last[0] != '\n' {
			line = append([]byte{'\n'}, line...)
		}
	}
	if _, err := f.Write(append(line, '\n')); err != nil {
		return err
	}
	return f.Sync()
}

// first is the first month in which there was such a log: a clock that says
// less is wrong.
const first = "2026-01"

// redate gives files that a wrong clock has dated the present month, so that
// they too are kept for their time and no longer.
func (l *Log) redate(now time.Time) error {
	year, month, _ := now.Date()
	this, next := now.Format(monthly), time.Date(year, month+1, 1, 0, 0, 0, 0, time.UTC).Format(monthly)
	if this < first {
		return nil
	}
	parts, err := l.parts()
	if err != nil {
		return err
	}
	free := part{month: this}
	for _, p := range parts {
		if p.month == this {
			free.n = p.n + 1
		}
	}
	for _, p := range parts {
		if p.month >= first && p.month <= next {
			continue
		}
		if err := os.Rename(filepath.Join(l.dir, p.name()), filepath.Join(l.dir, free.name())); err != nil {
			return fmt.Errorf("date the log of actions: %w", err)
		}
		free.n++
	}
	return nil
}

// tidy removes months before the oldest, and the oldest of too much.
func (l *Log) tidy(oldest string) error {
	parts, err := l.parts()
	if err != nil {
		return err
	}
	var errs []error
	for i, p := range parts {
		if p.month < oldest || len(parts)-i > maxFiles {
			errs = append(errs, keep.Remove(filepath.Join(l.dir, p.name())))
		}
	}
	return errors.Join(errs...)
}

// Tidy removes what is older than it may be, to be called about once a day. Add
// does not: a clock that is wrong for an hour must not empty the log. Whole files
// go, so the earliest month left is not this month of last year.
func (l *Log) Tidy(now time.Time) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	now = now.UTC()
	if err := l.redate(now); err != nil {
		return err
	}
	year, month, _ := now.Date()
	return l.tidy(time.Date(year, month-Kept+1, 1, 0, 0, 0, 0, time.UTC).Format(monthly))
}

// Last gives the last n actions, the newest first. What can't be read is left
// out.
func (l *Log) Last(n int) ([]Action, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	parts, err := l.parts()
	if err != nil {
		return nil, err
	}
	var list []Action
	for _, p := range slices.Backward(parts) {
		if len(list) >= n {
			break
		}
		raw, err := os.ReadFile(filepath.Join(l.dir, p.name()))
		if err != nil {
			return list, fmt.Errorf("read the log of actions: %w", err)
		}
		lines := bytes.Split(raw, []byte{'\n'})
		for _, line := range slices.Backward(lines) {
			if a, ok := Decode(line); ok && len(list) < n {
				list = append(list, a)
			}
		}
	}
	return list, nil
}

// Decode reads one line of the log.
func Decode(line []byte) (a Action, ok bool) {
	if len(line) == 0 || len(line) > 8*maxText || json.Unmarshal(line, &a) != nil || a.Action == "" {
		return Action{}, false
	}
	for _, s := range []*string{&a.Subject, &a.Name, &a.Role, &a.Action, &a.What} {
		*s = short(*s)
	}
	return a, true
}
