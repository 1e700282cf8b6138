package config

import (
	"errors"
	"fmt"
	"strings"
)

// Problem is one mistake in a configuration. File and Line are empty when the
// configuration does not come from a file.
type Problem struct {
	File string
	Line int
	// Key is written as in the file, with the number of the entry for lists of
	// tables: site[2].upstream is the upstream of the second [[site]].
	Key  string
	What string
}

func (p *Problem) Error() string {
	var b strings.Builder
	if p.File != "" {
		b.WriteString(p.File)
		if p.Line > 0 {
			fmt.Fprintf(&b, ":%d", p.Line)
		}
		b.WriteString(": ")
	}
	if p.Key != "" {
		b.WriteString(p.Key + ": ")
	}
	b.WriteString(p.What)
	return b.String()
}

// Problems gathers mistakes so that all of them can be told at once. The zero
// value is ready.
type Problems struct{ list []error }

// Addf notes that key is wrong. The text says what is wrong and what to do.
func (p *Problems) Addf(key, format string, args ...any) {
	p.list = append(p.list, &Problem{Key: key, What: fmt.Sprintf(format, args...)})
}

// Err is nil when nothing was noted.
func (p *Problems) Err() error { return errors.Join(p.list...) }

// List takes an error of this package apart: each entry is one mistake, and is
// a *Problem if it has a key.
func List(err error) []error {
	switch e := err.(type) { //nolint:errorlint // walks the tree itself, one level a call
	case nil:
		return nil
	case interface{ Unwrap() []error }:
		var list []error
		for _, inner := range e.Unwrap() {
			list = append(list, List(inner)...)
		}
		return list
	default:
		return []error{err}
	}
}

// Item names the i-th (from 0) entry of a list as people count: from 1.
func Item(key string, i int) string { return fmt.Sprintf("%s[%d]", key, i+1) }

// locate gives each Problem within err its file and line.
func locate(err error, file string, where map[string]int) error {
	switch e := err.(type) { //nolint:errorlint // walks the tree itself, one level a call
	case nil:
		return nil
	case *Problem:
		placed := *e
		placed.File, placed.Line = file, lineOf(e.Key, where)
		return &placed
	case interface{ Unwrap() []error }:
		var list []error
		for _, inner := range e.Unwrap() {
			list = append(list, locate(inner, file, where))
		}
		return errors.Join(list...)
	default:
		return fmt.Errorf("%s: %w", file, err)
	}
}

func joinKey(parts []string) string { return strings.Join(parts, ".") }

func under(prefix, key string) string {
	if prefix == "" {
		return key
	}
	return prefix + "." + key
}

func trimLibrary(message string) string {
	return strings.TrimPrefix(message, "toml: ")
}
