// Package explain says what a box would do with a request, and why, rule by rule.
//
// It decides nothing itself: it finds the site that a URL is of, as the box does,
// and tells what the site's profile says. It asks no site and looks at nothing
// that is stored, so that an answer is the same on any machine that has the
// configuration; a box that runs adds what it has (Stored).
package explain

import (
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"

	"preau/cache/profile"
	"preau/node/front"
)

// Question is a request that somebody might make.
type Question struct {
	Method string
	URL    string // of the site itself, or as a device asks a box for it (/o/NAME/…)
	Header http.Header
}

// Answer is what would be done with it.
type Answer struct {
	Site       string   `json:"site,omitempty"`
	Profile    string   `json:"profile"`
	Action     string   `json:"action"` // pass, standard, share or archive
	Rule       string   `json:"rule"`
	Why        string   `json:"why"`
	Asks       []string `json:"asks,omitempty"` // of the site, in order, for share and archive
	Probe      string   `json:"probe,omitempty"`
	Rewrites   string   `json:"rewrites,omitempty"` // what devices are sent otherwise than the site sent it
	Secret     bool     `json:"secret"`             // the URL opens what it names: never listed, counted or logged
	Listed     bool     `json:"listed"`
	Live       bool     `json:"live"` // background traffic keeps quiet meanwhile
	Considered []Step   `json:"considered"`
	// Stored is what a box that runs has for the request now; nil where no box was
	// asked.
	Stored *Stored `json:"stored,omitempty"`
}

// Stored is what a box has for a request now.
type Stored struct {
	State string `json:"state"` // nothing, fresh, stale, gone, own or never
	// Of what is stored, with times that are zero where there is none:
	Status       int       `json:"status,omitzero"`
	Bytes        int64     `json:"bytes,omitzero"` // −1 if not known
	Whole        bool      `json:"whole,omitzero"`
	Of           time.Time `json:"of,omitzero"` // when the site last vouched for it
	FreshUntil   time.Time `json:"fresh_until,omitzero"`
	OfflineUntil time.Time `json:"offline_until,omitzero"` // until when it stands in for a site that can't be reached
}

// Place is which site a question is about, and how the site's profile sees it.
type Place struct {
	Site, Host string
	Asked      profile.Request
}

// Step is one rule that was looked at.
type Step struct {
	Rule    string `json:"rule"`
	Why     string `json:"why"`
	Applies bool   `json:"applies"`
}

// Errors of questions.
var (
	ErrURL    = errors.New("that is not a web address")
	ErrNoSite = errors.New("no site of this box has that address, so that it is not reached at all")
)

// Ask answers by the site that the question's URL is of.
func Ask(sites []front.Site, q Question) (Answer, error) {
	u, err := parse(q.URL)
	if err != nil {
		return Answer{}, err
	}
	site, path, err := find(sites, u)
	if err != nil {
		return Answer{}, err
	}
	rules, err := site.Rules()
	if err != nil {
		return Answer{}, fmt.Errorf("site %s: %w", site.Name, err)
	}
	a := answer(rules, q, path, u.RawQuery)
	a.Site = site.Name
	if site.Rendition != "" && a.Action == "share" && strings.HasSuffix(path, ".m3u8") {
		a.Rewrites = "of a playlist that offers several renditions one is left, the nearest at or below " + site.Rendition
	}
	return a, nil
}

// Find finds the place that a question is about.
func Find(sites []front.Site, q Question) (Place, error) {
	u, err := parse(q.URL)
	if err != nil {
		return Place{}, err
	}
	site, path, err := find(sites, u)
	if err != nil {
		return Place{}, err
	}
	return Place{Site: site.Name, Host: u.Host, Asked: q.asked(path, u.RawQuery)}, nil
}

// asked is the question as a profile is asked it.
func (q Question) asked(path, query string) profile.Request {
	r := profile.Request{Method: q.Method, Path: path, Query: query, Header: q.Header}
	if r.Method == "" {
		r.Method = http.MethodGet
	}
	if r.Header == nil {
		r.Header = http.Header{}
	}
	return r
}

// AskProfile answers by a profile as it is, whatever the URL's host.
func AskProfile(name string, q Question) (Answer, error) {
	u, err := parse(q.URL)
	if err != nil {
		return Answer{}, err
	}
	rules, err := profile.New(name, profile.Adjust{})
	if err != nil {
		return Answer{}, err
	}
	return answer(rules, q, u.EscapedPath(), u.RawQuery), nil
}

func parse(text string) (*url.URL, error) {
	u, err := url.Parse(text)
	switch {
	case err != nil, u.Opaque != "", u.Host != "" && u.Scheme != "http" && u.Scheme != "https", u.Host == "" && !strings.HasPrefix(u.Path, "/"):
		return nil, fmt.Errorf("%w: write it like https://cloud.example.org/s/AbC or /o/cloud/s/AbC", ErrURL)
	}
	if u.Path == "" {
		u.Path = "/"
	}
	return u, nil
}

func answer(rules *profile.Profile, q Question, path, query string) Answer {
	req := q.asked(path, query)
	plan, steps := rules.Explain(req)
	a := Answer{
		Profile: rules.Name(), Action: action(plan.Do), Rule: plan.Name, Why: plan.Why,
		Secret: plan.Capability != "" || rules.Secret(req), Listed: plan.Listed, Live: plan.Live,
	}
	if plan.Folder != nil {
		a.Asks = append(a.Asks, "PROPFIND "+target(plan.Folder.List))
	}
	for _, t := range plan.Targets {
		a.Asks = append(a.Asks, "GET "+target(t))
	}
	if plan.Probe != nil {
		a.Probe = "GET " + target(plan.Probe.Target)
	}
	for _, s := range steps {
		a.Considered = append(a.Considered, Step{Rule: s.Name, Why: s.Why, Applies: s.Applies})
	}
	return a
}

func action(do profile.Do) string {
	switch do {
	case profile.ByRFC9111:
		return "standard"
	case profile.Share:
		return "share"
	case profile.Archive:
		return "archive"
	}
	return "pass"
}

func target(t profile.Target) string {
	if t.Query == "" {
		return t.Path
	}
	return t.Path + "?" + t.Query
}
