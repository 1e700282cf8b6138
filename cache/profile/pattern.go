package profile

import (
	"errors"
	"fmt"
	"strings"
)

const (
	maxPatterns = 500
	maxPattern  = 1000 // bytes
)

// matches reports whether text is of the pattern, in which * stands for any
// characters.
func matches(pattern, text string) bool {
	p, t, star, mark := 0, 0, -1, 0
	for t < len(text) {
		switch {
		case p < len(pattern) && pattern[p] == '*':
			star, mark = p, t
			p++
		case p < len(pattern) && pattern[p] == text[t]:
			p++
			t++
		case star >= 0: // the last * takes one more
			mark++
			p, t = star+1, mark
		default:
			return false
		}
	}
	for p < len(pattern) && pattern[p] == '*' {
		p++
	}
	return p == len(pattern)
}

func anyMatches(patterns []string, text string) bool {
	for _, p := range patterns {
		if matches(p, text) {
			return true
		}
	}
	return false
}

// check refuses what could not mean what its writer hopes.
func (a Adjust) check() error {
	if err := checkPaths("pass", a.Pass); err != nil {
		return err
	}
	if err := checkPaths("share", a.Share); err != nil {
		return err
	}
	if a.FreshMax < 0 {
		return errors.New("the longest freshness can't be negative: 0 is no bound")
	}
	if len(a.IgnoreCookies) > maxPatterns {
		return fmt.Errorf("%d cookie names are too many: at most %d", len(a.IgnoreCookies), maxPatterns)
	}
	for _, name := range a.IgnoreCookies {
		switch {
		case strings.Trim(name, "*") == "" || len(name) > maxPattern:
			return fmt.Errorf("cookie name %q would cover sessions too: name the cookie", name)
		case strings.ContainsAny(name, " \t\r\n,;=\""):
			return fmt.Errorf("%q can't be the name of a cookie", name)
		}
	}
	return nil
}

func checkPaths(what string, patterns []string) error {
	if len(patterns) > maxPatterns {
		return fmt.Errorf("%d patterns in %s are too many: at most %d", len(patterns), what, maxPatterns)
	}
	for _, p := range patterns {
		switch {
		case p == "" || p[0] != '/' && p[0] != '*':
			return fmt.Errorf("pattern %q in %s must begin with / or *", p, what)
		case len(p) > maxPattern:
			return fmt.Errorf("a pattern in %s is longer than %d bytes", what, maxPattern)
		case strings.ContainsAny(p, "?#"):
			return fmt.Errorf("pattern %q in %s is for paths: leave out the query", p, what)
		case strings.ContainsFunc(p, func(r rune) bool { return r <= ' ' || r == 0x7f }):
			return fmt.Errorf("pattern %q in %s has a blank or control character", p, what)
		case strings.Count(p, "*") > 10:
			return fmt.Errorf("pattern %q in %s has too many *: at most 10", p, what)
		}
	}
	return nil
}

func folded(patterns []string) []string {
	list := make([]string, len(patterns))
	for i, p := range patterns {
		list[i] = strings.ToLower(p)
	}
	return list
}
