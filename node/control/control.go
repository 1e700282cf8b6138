// Package control is what operators and a region's servers say to one another:
// the requests and answers under /v1/, as JSON, and a client for them.
//
// Any server answers; what must be decided is handed on to the leader. An
// answer tells the log index that it is as of. The package decides nothing and
// prints nothing.
package control

import "time"

// IndexHeader tells as of which log index an answer is.
const IndexHeader = "Preau-Index"

// Consistent is the query parameter that asks for an answer that includes all that
// was committed when the request was made, and not just what this server has.
const Consistent = "consistent"

// Status is the region as one server sees it. Other servers' part is what they
// said when asked, or that they did not.
type Status struct {
	Region  string           `json:"region"`
	Name    string           `json:"name"`
	Epoch   uint64           `json:"epoch"`
	Level   uint8            `json:"level,omitzero"` // version of the catalogue's encoding that is written: no server reads less
	Index   uint64           `json:"index"`          // applied by the server that answers
	Leader  string           `json:"leader,omitempty"`
	Term    uint64           `json:"term"`
	Voters  int              `json:"voters"`
	Quorum  bool             `json:"quorum"` // a write would be taken now
	Servers []Server         `json:"servers"`
	Boxes   Tally            `json:"boxes"`
	Centre  Centre           `json:"centre"`
	Waiting Waiting          `json:"deposits_waiting"` // for the centre
	Counts  map[string]int64 `json:"counts"`           // records of each kind
}

// Server is one of the region's servers.
type Server struct {
	Name      string    `json:"name"`
	Address   string    `json:"address"`
	State     string    `json:"state"` // leader, follower, candidate, joining, unreachable
	Voter     bool      `json:"voter"`
	Applied   uint64    `json:"applied"`
	Lag       uint64    `json:"lag"`   // entries behind the furthest server
	Boxes     int       `json:"boxes"` // connected to it
	Version   string    `json:"version,omitempty"`
	HeldBytes int64     `json:"held_bytes"` // of published files
	Clock     time.Time `json:"clock,omitzero"`
	Problem   string    `json:"problem,omitempty"`
	Paths     []Path    `json:"paths,omitempty"` // to the centre and to other servers
}

// Tally counts boxes.
type Tally struct {
	Known     int `json:"known"`
	Connected int `json:"connected"`
	Behind    int `json:"behind"` // connected, and not yet at the index
	Away      int `json:"away"`   // not connected
	Lapsed    int `json:"lapsed"` // away for longer than their certificate can last
	Revoked   int `json:"revoked"`
	// Reported are those of which others of their school say that they sent wrong
	// bytes; see Box.Reports.
	Reported int `json:"reported,omitzero"`
	// Asking are those that are away and ask for their place back; see Box.Returns.
	Asking int `json:"asking,omitzero"`
}

// Box is one box.
type Box struct {
	Name      string    `json:"name"`
	School    string    `json:"school"`
	Connected bool      `json:"connected"`
	Server    string    `json:"server,omitempty"` // it is connected to
	Index     uint64    `json:"index"`            // it has followed
	Seen      time.Time `json:"seen,omitzero"`
	Enrolled  time.Time `json:"enrolled"`
	Version   string    `json:"version,omitempty"`
	State     string    `json:"state"` // connected, behind, away, asking, lapsed, revoked
	// Reports tell which boxes of its school got wrong bytes from it lately. It
	// needs a look at its disk and its memory, or to be revoked.
	Reports []Report `json:"reports,omitempty"`
	// Returns tell who asks in its name, as its disk does not open, and wants its
	// place back. There can be several, of whom one at most is the box: the one
	// that shows the same code.
	Returns []Return `json:"returns,omitempty"`
}

// TokenRequest asks for an invitation.
type TokenRequest struct {
	Role   string        `json:"role"` // box, server or operator
	School string        `json:"school,omitempty"`
	Valid  time.Duration `json:"valid"` // nanoseconds
}

// Token is an invitation for one box, server or operator.
type Token struct {
	Token   string    `json:"token"`
	Role    string    `json:"role"`
	School  string    `json:"school,omitempty"`
	Expires time.Time `json:"expires"`
}

// Publication is a file that its publisher has put, block by block, on a
// server.
type Publication struct {
	ID              string    `json:"id,omitempty"` // empty: chosen from the content
	Collection      string    `json:"collection"`
	CollectionTitle string    `json:"collection_title,omitempty"` // for a new one
	Title           string    `json:"title"`
	Filename        string    `json:"filename"`
	ContentType     string    `json:"content_type"`
	Description     string    `json:"description,omitempty"`
	Language        string    `json:"language,omitempty"`
	Level           string    `json:"level,omitempty"`
	Licence         string    `json:"licence,omitempty"`
	Modified        time.Time `json:"modified"`
	Expires         time.Time `json:"expires,omitzero"`
	Schools         []string  `json:"schools,omitempty"` // who may see it; empty: all
	Length          int64     `json:"length"`
	SHA256          string    `json:"sha256"`
	Blocks          []string  `json:"blocks,omitempty"`    // of a short body
	Manifest        string    `json:"manifest,omitempty"`  // of a long one: the block that lists them
	Listed          bool      `json:"listed,omitempty"`    // the list tells the blocks' lengths
	Subscribe       bool      `json:"subscribe,omitempty"` // have every box keep the collection
}

// Done says what came of a request, as of which index it is decided.
type Done struct {
	ID     string `json:"id,omitempty"`
	Index  uint64 `json:"index"`
	Copies int    `json:"copies,omitempty"` // servers that hold what was published
	URL    string `json:"url,omitempty"`    // path on a box
}

// PinRequest has boxes hold something.
type PinRequest struct {
	Resource   string    `json:"resource,omitempty"`
	Collection string    `json:"collection,omitempty"`
	Schools    []string  `json:"schools,omitempty"`
	From       time.Time `json:"from,omitzero"`
	Until      time.Time `json:"until,omitzero"`
}

// PurgeRequest has boxes forget something. Exactly one of URL, Prefix, Tag,
// Resource, Collection and All is given; the first three with Site, or as a
// whole URL that the server finds the site of.
type PurgeRequest struct {
	// ID makes it safe to repeat: the same purge twice is one. Empty: the
	// server chooses.
	ID         string `json:"id,omitempty"`
	Site       string `json:"site,omitempty"`
	URL        string `json:"url,omitempty"`    // path and query
	Prefix     string `json:"prefix,omitempty"` // path
	Tag        string `json:"tag,omitempty"`
	All        bool   `json:"all,omitempty"` // of the site
	Resource   string `json:"resource,omitempty"`
	Collection string `json:"collection,omitempty"`
	Reason     string `json:"reason,omitempty"`
}

// Progress is how far a decision has come: a box that has confirmed an index
// has carried out all up to it.
type Progress struct {
	Index     uint64   `json:"index"`
	Confirmed int      `json:"confirmed"`
	Connected int      `json:"connected"`
	Known     int      `json:"known"`
	Waiting   []string `json:"waiting,omitempty"` // connected boxes that have not, at most 20
	Silent    []string `json:"silent,omitempty"`  // servers that did not answer
}

// Revocation takes a box, server or operator out of the region.
type Revocation struct {
	Role   string `json:"role"`
	Name   string `json:"name"`
	Reason string `json:"reason,omitempty"`
}

// Failure is the body of every answer that is not a success.
type Failure struct {
	Code   string `json:"code"`
	Detail string `json:"detail"`
}

// Record is one record of the catalogue, for listings.
type Record struct {
	Kind  string    `json:"kind"`
	ID    string    `json:"id"`
	Index uint64    `json:"index"`
	At    time.Time `json:"at"`
	Value any       `json:"value"`
}

// Policy is what IT sets for a school's boxes, or for all where School is
// empty.
type Policy struct {
	School          string        `json:"school,omitempty"`
	PrefetchRate    int64         `json:"prefetch_rate,omitempty"` // bytes a second; 0: as the box finds right
	PrefetchHours   []Hours       `json:"prefetch_hours,omitempty"`
	Lease           time.Duration `json:"lease,omitempty"` // nanoseconds without the region; 0: 30 days
	KAnonymity      int           `json:"k_anonymity,omitempty"`
	AllowLapsed     bool          `json:"allow_lapsed,omitempty"`
	PrefetchPopular int64         `json:"prefetch_popular,omitempty"` // bytes
}

// Hours is a span of the day in minutes after midnight, local time.
type Hours struct {
	From int `json:"from"`
	To   int `json:"to"`
}
