// Package profile holds the written rules for the web platforms that schools
// use: what of them may be shared, under which name, for how long, and what must
// pass through the box untouched.
//
// A profile is pure. It is asked twice: with a request, before anybody is asked
// for anything (Request), and with what the site answered (Response). It opens
// nothing, keeps nothing and reads no clock, so that a decision can be repeated
// and explained afterwards (Explain). It takes nothing back of what RFC 9111
// forbids except where a rule says in writing why it may, and each rule has a
// name and its reason.
//
// How long something stays fresh is said as RFC 9213 has it: by a targeted field,
// Field, that the profile puts into the header of a response before that is
// judged and stored. It never comes from outside and never leaves the box.
//
// The package knows paths and fields, no sites: names, addresses and sockets are
// its callers'. It does not unpack, verify or rewrite bodies.
package profile

import (
	"net/http"
	"time"
)

// Field is the targeted field (RFC 9213 section 2.1) in which a profile says
// how a response may be reused. Whoever sends responses to a profile removes it
// from them first, and whoever serves stored ones leaves it out.
const Field = "Preau-Cache-Control"

// Do is what is done with a request or a response.
type Do uint8

// What is done with a request.
const (
	// Pass: the request goes to the site as it is and the answer back, streaming;
	// nothing is stored.
	Pass Do = iota
	// ByRFC9111: the standard rules decide, on the request as it came.
	ByRFC9111
	// Share: the request is made without anything that says who asks, and its
	// answer is for everybody, unless Response says otherwise.
	Share
	// Archive: the request is for a folder as a zip file, which the box makes of
	// the folder's files (Plan.Folder).
	Archive
)

// Rule names why something is done.
type Rule struct {
	Name string // a token that may be shown in Cache-Status: "nextcloud-share-file"
	Why  string // a sentence for people, with its source where there is one
}

// Request is what a profile sees of a request.
type Request struct {
	Method string
	Path   string // escaped, as the site knows it
	Query  string // raw, without "?"
	Header http.Header
}

// Target is a resource of the site.
type Target struct {
	Path  string // escaped
	Query string // raw
}

// Plan is what is done with a request.
type Plan struct {
	Do Do
	Rule
	// Targets are what to ask the site for, the first that will do: for Share at
	// least one. The first is also what the object is stored under, so that
	// requests with the same first target share one object.
	Targets []Target
	// Folder says of what an Archive is made.
	Folder *Folder
	// Capability is the part of the URL that opens the resource to whoever knows
	// it (a share token, a pad's name), or empty. It is also what a platform
	// counts wrong guesses of against the school's address. What belongs to one is
	// never listed, counted or logged by its name.
	Capability string
	// Anonymous, for Share: an answer that is no success says nothing about what
	// the client itself would get with its credentials. If it has some, its own
	// request is passed.
	Anonymous bool
	// Cookies are Set-Cookie lines that the client is sent with the answer,
	// because the site would have sent them for this very request.
	Cookies []string
	// Dated says that a page which is old, because the site can't be asked, is
	// shown to people with a line above it that tells them so, and of when it is:
	// somebody might act on what it says.
	Dated bool
	// Disposition is the Content-Disposition of the answer, where what the site
	// says there names what opens the resource, so that it is not kept.
	Disposition string
	// Listed says whether the object may be listed for people by its path.
	Listed bool
	// Live: while this request is open, or for a short time after it, people talk
	// to each other over the school's line, and background traffic keeps quiet.
	Live bool
	// Probe, if it is set, is asked for before anything of the capability is
	// fetched in order to be shared, and its answer given to Probed.
	Probe *Probe
}

// Probe is a page that tells more about a capability than the resource itself
// does. It is asked for by GET, without anything that says who asks, without
// conditions, ranges or codings.
type Probe struct {
	Target Target
	Limit  int // how much of its body Probed wants to see
}

// Folder is a shared folder and what of it is wanted as a zip file.
type Folder struct {
	// List is asked with PROPFIND, Depth 1 (RFC 4918 section 9.1) and the field
	// X-Requested-With: XMLHttpRequest.
	List Target
	// Files are the names in it that are wanted; none means all.
	Files []string
	// Otherwise is asked where List turns out to be a file.
	Otherwise Target
	// Name is what the file is to be called, without .zip; empty means the name
	// of the folder.
	Name string
}

// Response is what a profile sees of a site's answer.
type Response struct {
	Status int
	Header http.Header // not changed
	// Beginning is the first bytes of the body, at most Reads' answer.
	Beginning []byte
	// Target is the number of the plan's target that was asked; 0 for a plan
	// without any.
	Target int
}

// Effect is what an answer means.
type Effect uint8

// What an answer means.
const (
	// Keep: it is judged by RFC 9111 with the fields of Ruling.Header, and stored
	// if that allows it. That a site fails (5xx, 429) is of this kind too: what is
	// stored may stand in.
	Keep Effect = iota
	// Own: it is the asker's own. Nothing is stored, what is stored and was to be
	// validated is no longer vouched for, and for Ruling.For nobody waits for
	// another's answer.
	Own
	// Next: another of the plan's targets is to be asked. Where there is none it
	// is as Own.
	Next
	// Gone: the resource is no more, or never was. What is stored of it is purged,
	// and for Ruling.For everybody is told so without asking the site.
	Gone
)

// Ruling is what an answer means.
type Ruling struct {
	Effect Effect
	Rule
	Header http.Header   // for Keep: the fields to judge and store by
	For    time.Duration // for Own and Gone
	// Groups, for Gone, are paths at and below which, by whole segments, nothing
	// of the capability is served any more, beside the plan's targets. None means
	// that this resource alone is gone. Probed also sets them with Own.
	Groups []string
}

// Step is one rule that was looked at for an explanation.
type Step struct {
	Rule
	Applies bool
}

// Adjust is what an operator changes in a profile. Patterns are paths in which *
// stands for any characters, / among them.
type Adjust struct {
	Pass          []string      // paths that always pass
	Share         []string      // paths that are shared as RFC 9111 allows, asked for anonymously
	FreshMax      time.Duration // nothing is fresh for longer; 0 for no bound
	IgnoreCookies []string      // cookie names (with *) that say nothing about who asks, where a rule minds cookies
}
