package catalogue

import (
	"slices"
	"time"

	"preau/cache/block"
	"preau/replication/identity"
)

// Kind says what a record is about. Numbers are part of the encoding: they are
// never given to anything else.
type Kind uint8

// The kinds.
const (
	KindRegion       Kind = 1  // Region, one, id "region"
	KindServer       Kind = 2  // Server, by name
	KindSchool       Kind = 3  // SchoolEntry, by code
	KindBox          Kind = 4  // Box, by name
	KindRevocation   Kind = 5  // Revocation, by RevocationID
	KindPolicy       Kind = 6  // Policy, by school; "" is everybody's
	KindCollection   Kind = 7  // Collection, by id
	KindResource     Kind = 8  // Resource, by id
	KindSubscription Kind = 9  // Subscription, by id
	KindPin          Kind = 10 // Pin, by id
	KindPurge        Kind = 11 // Purge, by id
	KindHints        Kind = 12 // Hints, one, id "hints"
	KindDeposit      Kind = 13 // Deposit, by id

	// KindAuthority and those after it are what servers alone may know.
	KindAuthority  Kind = 64 // Authority, one, id "authority"
	KindToken      Kind = 65 // Token, by id
	KindPopularity Kind = 66 // Popularity, by key
	KindContact    Kind = 67 // Contact, by box
	KindSource     Kind = 68 // Source, by bucket
)

// Private reports whether records of the kind never leave the servers.
func (k Kind) Private() bool { return k >= 64 }

// Record is one fact of the catalogue in its latest version, or the mark that
// there was one. Body is the deterministic CBOR of the kind's type.
type Record struct {
	Kind    Kind      `cbor:"1,keyasint"`
	ID      string    `cbor:"2,keyasint"`
	Index   uint64    `cbor:"3,keyasint"` // of the log entry that changed it last
	At      time.Time `cbor:"4,keyasint"` // as the server that took the command saw it
	Deleted bool      `cbor:"5,keyasint,omitempty"`
	// Audience names the schools that may see it; empty is all of the region.
	Audience []identity.School `cbor:"6,keyasint,omitempty"`
	// Former names schools that could see it once and can't now: their boxes
	// must be told that it is gone. AllFormer is all of the region.
	Former    []identity.School `cbor:"7,keyasint,omitempty"`
	AllFormer bool              `cbor:"8,keyasint,omitempty"`
	Body      []byte            `cbor:"9,keyasint,omitempty"`
}

// Sight is what a school sees of a record.
type Sight uint8

// What can be seen.
const (
	Hidden Sight = iota
	Gone         // the school could see it once: its copy must go
	Visible
)

// SeenBy tells what boxes of a school may know of r.
func (r *Record) SeenBy(s identity.School) Sight {
	switch {
	case r.Kind.Private():
		return Hidden
	case !r.Deleted && (len(r.Audience) == 0 || slices.Contains(r.Audience, s)):
		return Visible
	case r.AllFormer || slices.Contains(r.Former, s):
		return Gone
	}
	return Hidden
}

// Public reports whether all schools see the same of r.
func (r *Record) Public() bool {
	return !r.Kind.Private() && (r.Deleted && r.AllFormer || !r.Deleted && len(r.Audience) == 0)
}

// Region is what everybody knows of the region.
type Region struct {
	ID    identity.Region `cbor:"1,keyasint" json:"id,omitzero"`
	Name  string          `cbor:"2,keyasint" json:"name,omitzero"`  // for people
	Epoch uint64          `cbor:"3,keyasint" json:"epoch,omitzero"` // raised when a lost quorum was recovered
	CA    []byte          `cbor:"4,keyasint" json:"ca,omitzero"`    // PEM
	// MarkKey is the key of the marks that purges name URLs by: they may be
	// secrets, so they are nowhere kept as text.
	MarkKey [32]byte `cbor:"5,keyasint" json:"-"`
}

// Server is one of the region's servers, as boxes reach it.
type Server struct {
	Name    string   `cbor:"1,keyasint" json:"name,omitzero"`
	Address string   `cbor:"2,keyasint" json:"address,omitzero"` // host:port
	Sites   []string `cbor:"3,keyasint,omitempty" json:"sites,omitzero"`
	// Reads is the highest version of the encoding that it reads, 0 for 1.
	Reads uint8 `cbor:"4,keyasint,omitempty" json:"reads,omitzero"`
}

// SchoolEntry is a school that has boxes.
type SchoolEntry struct {
	Code identity.School `cbor:"1,keyasint" json:"code,omitzero"`
	Name string          `cbor:"2,keyasint,omitempty" json:"name,omitzero"`
}

// Box is a box that was enrolled.
type Box struct {
	Name      string          `cbor:"1,keyasint" json:"name,omitzero"`
	School    identity.School `cbor:"2,keyasint" json:"school,omitzero"`
	SPKI      [32]byte        `cbor:"3,keyasint" json:"-"` // SHA-256 of its public key
	Enrolled  time.Time       `cbor:"4,keyasint" json:"enrolled,omitzero"`
	MayRejoin bool            `cbor:"5,keyasint,omitempty" json:"may_rejoin,omitzero"` // may renew a certificate that has lapsed
}

// Revocation takes a certificate's bearer out of the region.
type Revocation struct {
	Role   identity.Role   `cbor:"1,keyasint" json:"role,omitzero"`
	Name   string          `cbor:"2,keyasint" json:"name,omitzero"`
	School identity.School `cbor:"3,keyasint,omitempty" json:"school,omitzero"`
	Reason string          `cbor:"4,keyasint,omitempty" json:"reason,omitzero"`
}

// Policy is what IT set for a school's boxes, or for all where School is
// empty. Zero values leave a setting to the box.
type Policy struct {
	School          identity.School `cbor:"1,keyasint,omitempty" json:"school,omitzero"`
	PrefetchRate    int64           `cbor:"2,keyasint,omitempty" json:"prefetch_rate,omitzero"`    // bytes a second
	PrefetchHours   []Hours         `cbor:"3,keyasint,omitempty" json:"prefetch_hours,omitzero"`   // none: at any time
	LeaseSeconds    int64           `cbor:"4,keyasint,omitempty" json:"lease_seconds,omitzero"`    // how long without the region
	KAnonymity      int             `cbor:"5,keyasint,omitempty" json:"k_anonymity,omitzero"`      // requests below which a count stays home
	AllowLapsed     bool            `cbor:"6,keyasint,omitempty" json:"allow_lapsed,omitzero"`     // lapsed boxes may come back by themselves
	PrefetchPopular int64           `cbor:"7,keyasint,omitempty" json:"prefetch_popular,omitzero"` // bytes that hints may fill
}

// Hours is a span of the day in minutes after midnight, local time; it may
// go over midnight.
type Hours struct {
	From int `cbor:"1,keyasint" json:"from,omitzero"`
	To   int `cbor:"2,keyasint" json:"to,omitzero"`
}

// Collection groups resources.
type Collection struct {
	ID       string            `cbor:"1,keyasint" json:"id,omitzero"`
	Title    string            `cbor:"2,keyasint" json:"title,omitzero"`
	Audience []identity.School `cbor:"3,keyasint,omitempty" json:"audience,omitzero"`
}

// Resource is a published file.
type Resource struct {
	ID          string            `cbor:"1,keyasint" json:"id,omitzero"`
	Collection  string            `cbor:"2,keyasint" json:"collection,omitzero"`
	Title       string            `cbor:"3,keyasint" json:"title,omitzero"`
	Filename    string            `cbor:"4,keyasint" json:"filename,omitzero"`
	ContentType string            `cbor:"5,keyasint" json:"content_type,omitzero"`
	Description string            `cbor:"6,keyasint,omitempty" json:"description,omitzero"`
	Language    string            `cbor:"7,keyasint,omitempty" json:"language,omitzero"`
	Level       string            `cbor:"8,keyasint,omitempty" json:"level,omitzero"`
	Licence     string            `cbor:"9,keyasint,omitempty" json:"licence,omitzero"`
	Length      int64             `cbor:"10,keyasint" json:"length,omitzero"`
	SHA256      block.Digest      `cbor:"11,keyasint" json:"sha256,omitzero"` // of the body
	Modified    time.Time         `cbor:"12,keyasint" json:"modified,omitzero"`
	Expires     time.Time         `cbor:"13,keyasint,omitzero" json:"expires,omitzero"`
	Audience    []identity.School `cbor:"14,keyasint,omitempty" json:"audience,omitzero"`
	// Blocks lists a body of few blocks. Of a longer one the list is itself kept
	// beside the bodies: Manifest names it, 32 bytes a block, in the order of
	// the body.
	Blocks   []block.Digest `cbor:"15,keyasint,omitempty" json:"blocks,omitzero"`
	Manifest block.Digest   `cbor:"16,keyasint,omitzero" json:"manifest,omitzero"`
	// Listed: the list that Manifest names tells the blocks' lengths, and there is
	// one however short the body is.
	Listed bool `cbor:"17,keyasint,omitempty" json:"listed,omitzero"`
	// Bucket and Key say where the centre has the body; empty: the region holds it.
	Bucket string `cbor:"18,keyasint,omitempty" json:"bucket,omitzero"`
	Key    string `cbor:"19,keyasint,omitempty" json:"key,omitzero"`
	ETag   string `cbor:"20,keyasint,omitempty" json:"etag,omitzero"` // as the centre has it, without quotes
}

// MaxInlineBlocks is how many blocks a Resource lists itself.
const MaxInlineBlocks = 8

// Subscription has a school's boxes keep a whole collection.
type Subscription struct {
	ID         string          `cbor:"1,keyasint" json:"id,omitzero"`
	School     identity.School `cbor:"2,keyasint,omitempty" json:"school,omitzero"` // empty: all
	Collection string          `cbor:"3,keyasint" json:"collection,omitzero"`
}

// Pin has boxes hold a resource or a collection, and never give it up, while
// it is in force.
type Pin struct {
	ID         string            `cbor:"1,keyasint" json:"id,omitzero"`
	Resource   string            `cbor:"2,keyasint,omitempty" json:"resource,omitzero"`
	Collection string            `cbor:"3,keyasint,omitempty" json:"collection,omitzero"`
	Schools    []identity.School `cbor:"4,keyasint,omitempty" json:"schools,omitzero"`
	From       time.Time         `cbor:"5,keyasint,omitzero" json:"from,omitzero"`
	Until      time.Time         `cbor:"6,keyasint,omitzero" json:"until,omitzero"`
}

// Scope says what a purge names.
type Scope uint8

// The scopes.
const (
	ScopeExact      Scope = 1 // one URL of a site, by mark
	ScopePrefix     Scope = 2 // what lies under a path of a site, by mark
	ScopeTag        Scope = 3 // what a site tagged, by mark
	ScopeSite       Scope = 4 // all of a site
	ScopeResource   Scope = 5 // a published resource, by id
	ScopeCollection Scope = 6 // a collection and all that is in it, by id
)

// Purge makes every box forget what was stored before it.
type Purge struct {
	ID     string  `cbor:"1,keyasint" json:"id,omitzero"`
	Scope  Scope   `cbor:"2,keyasint" json:"scope,omitzero"`
	Site   string  `cbor:"3,keyasint,omitempty" json:"site,omitzero"`
	Mark   [8]byte `cbor:"4,keyasint,omitzero" json:"-"`                // under the region's MarkKey
	Target string  `cbor:"5,keyasint,omitempty" json:"target,omitzero"` // a resource or collection
	Reason string  `cbor:"6,keyasint,omitempty" json:"reason,omitzero"` // for operators
	By     string  `cbor:"7,keyasint,omitempty" json:"by,omitzero"`     // who asked for it
}

// Hints names what is asked for most, best first.
type Hints struct {
	Keys []Hint `cbor:"1,keyasint" json:"keys,omitzero"`
}

// Hint is one thing that is much asked for.
type Hint struct {
	Key string `cbor:"1,keyasint" json:"key,omitzero"` // as in Popularity
	Sum uint64 `cbor:"2,keyasint" json:"sum,omitzero"`
}

// Authority is the region's signing key, sealed under the secret that only its
// servers hold.
type Authority struct {
	CA     []byte `cbor:"1,keyasint" json:"ca,omitzero"` // PEM
	Sealed []byte `cbor:"2,keyasint" json:"sealed,omitzero"`
}

// Token is an invitation, of which only a hash is kept.
type Token struct {
	ID         string          `cbor:"1,keyasint" json:"id,omitzero"`
	SecretHash [32]byte        `cbor:"2,keyasint" json:"secret_hash,omitzero"`
	Role       identity.Role   `cbor:"3,keyasint" json:"role,omitzero"`
	School     identity.School `cbor:"4,keyasint,omitempty" json:"school,omitzero"`
	NotAfter   time.Time       `cbor:"5,keyasint" json:"not_after,omitzero"`
	// Once redeemed: by whom. The same key may repeat it, since an answer can be lost.
	UsedBy   string   `cbor:"6,keyasint,omitempty" json:"used_by,omitzero"`
	UsedSPKI [32]byte `cbor:"7,keyasint,omitzero" json:"-"`
}

// Popularity is how much something was asked for in all schools, in
// thousandths of a request, halved every seven days.
type Popularity struct {
	Key string    `cbor:"1,keyasint" json:"key,omitzero"` // "r/ID", "o/SITE/PATH", or "m/" and a mark in hexadecimal
	Sum uint64    `cbor:"2,keyasint" json:"sum,omitzero"`
	At  time.Time `cbor:"3,keyasint" json:"at,omitzero"` // of Sum
}

// Contact is when a box was last heard of, to the nearest ten minutes.
type Contact struct {
	Box     string    `cbor:"1,keyasint" json:"box,omitzero"`
	At      time.Time `cbor:"2,keyasint" json:"at,omitzero"`
	Index   uint64    `cbor:"3,keyasint" json:"index,omitzero"` // what it had followed
	Version string    `cbor:"4,keyasint,omitempty" json:"version,omitzero"`
	Counted uint64    `cbor:"5,keyasint,omitempty" json:"counted,omitzero"` // number of its latest count
}
