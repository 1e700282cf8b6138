package catalogue

import (
	"time"

	"preau/replication/identity"
)

// CommandID names a command: given twice, it is carried out once, and the
// second time answered like the first. It is random (NewCommandID), and whoever
// sends the command again sends it with the same one.
type CommandID [16]byte

// Limits of one command. Whoever has more to say sends several.
const (
	MaxOps          = 1000
	MaxCommandBytes = 512 << 10
	MaxRecordBytes  = 64 << 10
	MaxIDBytes      = 512
	MaxTextBytes    = 4 << 10 // of a title, description or reason
	MaxAudience     = 4000
)

// Command is one entry of the log: what somebody wants changed, all of it or
// nothing.
type Command struct {
	ID  CommandID `cbor:"1,keyasint"`
	At  time.Time `cbor:"2,keyasint"` // at the server that took it, to the millisecond
	By  string    `cbor:"3,keyasint"` // the certificate's role and name
	Ops []Op      `cbor:"4,keyasint"`
}

// Op is one change. Exactly one field is set.
type Op struct {
	Put    *Put    `cbor:"1,keyasint,omitempty"`
	Delete *Delete `cbor:"2,keyasint,omitempty"`
	Redeem *Redeem `cbor:"3,keyasint,omitempty"`
	Count  *Count  `cbor:"4,keyasint,omitempty"`
	Seen   *Seen   `cbor:"5,keyasint,omitempty"`
	Prune  *Prune  `cbor:"6,keyasint,omitempty"`
	Rekey  *Rekey  `cbor:"7,keyasint,omitempty"`
}

// Put makes or replaces a record. A purge of a resource or collection, put,
// deletes those too.
type Put struct {
	Kind Kind   `cbor:"1,keyasint"`
	ID   string `cbor:"2,keyasint"`
	Body []byte `cbor:"3,keyasint"`
	// If, unless nil, must be the record's index as it was before the command,
	// 0 for none: else the command is refused with CodeConflict.
	If *uint64 `cbor:"4,keyasint,omitempty"`
}

// Delete removes a record; that it is not there is CodeNotFound, unless
// Missing says that this is as good.
type Delete struct {
	Kind    Kind    `cbor:"1,keyasint"`
	ID      string  `cbor:"2,keyasint"`
	If      *uint64 `cbor:"3,keyasint,omitempty"`
	Missing bool    `cbor:"4,keyasint,omitempty"`
}

// Redeem turns a token into a box or server of the region.
type Redeem struct {
	Token      string   `cbor:"1,keyasint"`
	SecretHash [32]byte `cbor:"2,keyasint"`
	Name       string   `cbor:"3,keyasint"`
	SPKI       [32]byte `cbor:"4,keyasint"`
}

// Count adds a box's counts to the region's. Number goes up by box, from 1; one
// that is not above the latest changes nothing.
type Count struct {
	Box    string  `cbor:"1,keyasint"`
	Number uint64  `cbor:"2,keyasint"`
	Counts []Tally `cbor:"3,keyasint"`
}

// Tally is how often one thing was asked for.
type Tally struct {
	Key string `cbor:"1,keyasint"`
	N   uint32 `cbor:"2,keyasint"`
}

// Seen notes when boxes were last heard of.
type Seen struct {
	Boxes []Contact `cbor:"1,keyasint"`
}

// Prune forgets marks of deleted records, and purges, from before a time, as
// well as popularity that has faded away. Boxes that were away for longer take
// a snapshot.
type Prune struct {
	Before time.Time `cbor:"1,keyasint"`
}

// Rekey gives a box that has lapsed, or renews, a new key.
type Rekey struct {
	Box  string        `cbor:"1,keyasint"`
	Role identity.Role `cbor:"2,keyasint"`
	SPKI [32]byte      `cbor:"3,keyasint"`
}

// Code says why a command was refused. The list is closed; the texts are part
// of the encoding.
type Code string

// The codes. The empty Code is success.
const (
	CodeInvalid      Code = "invalid"       // what it asks for can't be
	CodeVersion      Code = "version"       // for who takes commands: no entry is refused with it (see ErrNewer)
	CodeConflict     Code = "conflict"      // the record was changed meanwhile
	CodeNotFound     Code = "not_found"     // there is no such record
	CodeNameTaken    Code = "name_taken"    // another key has that name
	CodeTokenUnknown Code = "token_unknown" // no such token, or another secret
	CodeTokenUsed    Code = "token_used"
	CodeTokenExpired Code = "token_expired"
	CodeRevoked      Code = "revoked"
)

// Result is what came of a command.
type Result struct {
	Index  uint64          `cbor:"1,keyasint"` // of the entry that carried it out
	Code   Code            `cbor:"2,keyasint,omitempty"`
	Detail string          `cbor:"3,keyasint,omitempty"` // for whoever sent it
	School identity.School `cbor:"4,keyasint,omitempty"` // of a redeemed token
	Role   identity.Role   `cbor:"5,keyasint,omitempty"`
	Repeat bool            `cbor:"-"` // it had been carried out before
}
