package catalogue

import (
	"fmt"
	"slices"

	"preau/replication/identity"
)

// Fact is the body of a record: one of Region, Server, SchoolEntry, Box,
// Revocation, Policy, Collection, Resource, Subscription, Pin, Purge, Hints,
// Authority, Token, Popularity, Contact, Deposit and Source.
type Fact interface {
	// Kind is the kind of its record.
	Kind() Kind
	// RecordID is the id of its record.
	RecordID() string

	// normal is the fact in its one form: times to the millisecond, schools in
	// order, each once. Slices are not shared with the original where they are changed.
	normal() Fact
	// fault says what is wrong with it by itself, if anything.
	fault() string
}

// The ids of records of which there is one.
const (
	RegionID    = "region"
	HintsID     = "hints"
	AuthorityID = "authority"
)

// RevocationID is the id of the revocation of a bearer.
func RevocationID(role identity.Role, name string) string { return string(role) + "." + name }

// Kind implements Fact.
func (Region) Kind() Kind { return KindRegion }

// Kind implements Fact.
func (Server) Kind() Kind { return KindServer }

// Kind implements Fact.
func (SchoolEntry) Kind() Kind { return KindSchool }

// Kind implements Fact.
func (Box) Kind() Kind { return KindBox }

// Kind implements Fact.
func (Revocation) Kind() Kind { return KindRevocation }

// Kind implements Fact.
func (Policy) Kind() Kind { return KindPolicy }

// Kind implements Fact.
func (Collection) Kind() Kind { return KindCollection }

// Kind implements Fact.
func (Resource) Kind() Kind { return KindResource }

// Kind implements Fact.
func (Subscription) Kind() Kind { return KindSubscription }

// Kind implements Fact.
func (Pin) Kind() Kind { return KindPin }

// Kind implements Fact.
func (Purge) Kind() Kind { return KindPurge }

// Kind implements Fact.
func (Hints) Kind() Kind { return KindHints }

// Kind implements Fact.
func (Authority) Kind() Kind { return KindAuthority }

// Kind implements Fact.
func (Token) Kind() Kind { return KindToken }

// Kind implements Fact.
func (Popularity) Kind() Kind { return KindPopularity }

// Kind implements Fact.
func (Contact) Kind() Kind { return KindContact }

// RecordID implements Fact.
func (Region) RecordID() string { return RegionID }

// RecordID implements Fact.
func (f Server) RecordID() string { return f.Name }

// RecordID implements Fact.
func (f SchoolEntry) RecordID() string { return string(f.Code) }

// RecordID implements Fact.
func (f Box) RecordID() string { return f.Name }

// RecordID implements Fact.
func (f Revocation) RecordID() string { return RevocationID(f.Role, f.Name) }

// RecordID implements Fact.
func (f Policy) RecordID() string { return string(f.School) }

// RecordID implements Fact.
func (f Collection) RecordID() string { return f.ID }

// RecordID implements Fact.
func (f Resource) RecordID() string { return f.ID }

// RecordID implements Fact.
func (f Subscription) RecordID() string { return f.ID }

// RecordID implements Fact.
func (f Pin) RecordID() string { return f.ID }

// RecordID implements Fact.
func (f Purge) RecordID() string { return f.ID }

// RecordID implements Fact.
func (Hints) RecordID() string { return HintsID }

// RecordID implements Fact.
func (Authority) RecordID() string { return AuthorityID }

// RecordID implements Fact.
func (f Token) RecordID() string { return f.ID }

// RecordID implements Fact.
func (f Popularity) RecordID() string { return f.Key }

// RecordID implements Fact.
func (f Contact) RecordID() string { return f.Box }

func (f Region) normal() Fact       { return f }
func (f Server) normal() Fact       { return f }
func (f SchoolEntry) normal() Fact  { return f }
func (f Box) normal() Fact          { f.Enrolled = milli(f.Enrolled); return f }
func (f Revocation) normal() Fact   { return f }
func (f Policy) normal() Fact       { return f }
func (f Collection) normal() Fact   { f.Audience = inOrder(f.Audience); return f }
func (f Subscription) normal() Fact { return f }
func (f Purge) normal() Fact        { return f }
func (f Hints) normal() Fact        { return f }
func (f Authority) normal() Fact    { return f }
func (f Token) normal() Fact        { f.NotAfter = milli(f.NotAfter); return f }
func (f Popularity) normal() Fact   { f.At = milli(f.At); return f }
func (f Contact) normal() Fact      { f.At = milli(f.At); return f }

func (f Resource) normal() Fact {
	f.Modified, f.Expires = milli(f.Modified), milli(f.Expires)
	f.Audience = inOrder(f.Audience)
	return f
}

func (f Pin) normal() Fact {
	f.From, f.Until = milli(f.From), milli(f.Until)
	f.Schools = inOrder(f.Schools)
	return f
}

// inOrder returns schools sorted, each once.
func inOrder(schools []identity.School) []identity.School {
	if len(schools) == 0 {
		return nil
	}
	s := slices.Clone(schools)
	slices.Sort(s)
	return slices.Compact(s)
}

// NewPut makes the operation that puts f under its own id, and refuses what
// could never be.
func NewPut(f Fact) (Op, error) {
	f = f.normal()
	switch fault := f.fault(); {
	case fault != "":
		return Op{}, fmt.Errorf("put %s %q: %s", f.Kind(), f.RecordID(), fault)
	case f.Kind().counter():
		return Op{}, fmt.Errorf("put %s: %s", f.Kind(), byHand)
	}
	p, err := encode(f)
	if err != nil {
		return Op{}, fmt.Errorf("put %s %q: %w", f.Kind(), f.RecordID(), err)
	}
	if len(p) > MaxRecordBytes {
		return Op{}, fmt.Errorf("put %s %q: it has %d bytes, the most is %d", f.Kind(), f.RecordID(), len(p), MaxRecordBytes)
	}
	return Op{Put: &Put{Kind: f.Kind(), ID: f.RecordID(), Body: p}}, nil
}

// NewDelete makes the operation that deletes a record that must be there.
func NewDelete(k Kind, id string) Op { return Op{Delete: &Delete{Kind: k, ID: id}} }

// Body reads the body of a record that is not deleted.
func Body[T Fact](r Record) (T, error) {
	var f T
	if r.Deleted {
		return f, fmt.Errorf("read %s %q: %w", r.Kind, r.ID, ErrNotFound)
	}
	if f.Kind() != r.Kind {
		return f, fmt.Errorf("read %s %q: it is no %s", r.Kind, r.ID, f.Kind())
	}
	if quick, ok := quickFact(r.Kind, r.Body); ok {
		if f, ok := quick.(T); ok {
			return f, nil
		}
	}
	if err := decode(r.Body, &f); err != nil {
		return f, fmt.Errorf("read %s %q: %w: %w", r.Kind, r.ID, ErrDamaged, err)
	}
	return f, nil
}

func readAs[T Fact](body []byte) (Fact, error) {
	var f T
	if err := decode(body, &f); err != nil {
		return nil, err
	}
	n := f.normal()
	return n, inOneForm(body, n)
}

// readFact reads a body that came from outside. Any error means that it is not
// in its one form.
func readFact(k Kind, body []byte) (Fact, error) {
	if f, ok := quickFact(k, body); ok {
		return f, nil
	}
	return slowFact(k, body)
}

// slowFact is what quickFact must agree with.
func slowFact(k Kind, body []byte) (Fact, error) {
	switch k {
	case KindRegion:
		return readAs[Region](body)
	case KindServer:
		return readAs[Server](body)
	case KindSchool:
		return readAs[SchoolEntry](body)
	case KindBox:
		return readAs[Box](body)
	case KindRevocation:
		return readAs[Revocation](body)
	case KindPolicy:
		return readAs[Policy](body)
	case KindCollection:
		return readAs[Collection](body)
	case KindResource:
		return readAs[Resource](body)
	case KindSubscription:
		return readAs[Subscription](body)
	case KindPin:
		return readAs[Pin](body)
	case KindPurge:
		return readAs[Purge](body)
	case KindHints:
		return readAs[Hints](body)
	case KindAuthority:
		return readAs[Authority](body)
	case KindToken:
		return readAs[Token](body)
	case KindDeposit:
		return readAs[Deposit](body)
	case KindSource:
		return readAs[Source](body)
	}
	return nil, errForm
}

// counter reports whether records of the kind change all the time, and so are
// kept out of the change index.
func (k Kind) counter() bool { return k == KindPopularity || k == KindContact }

var kindNames = map[Kind]string{
	KindRegion: "region", KindServer: "server", KindSchool: "school", KindBox: "box",
	KindRevocation: "revocation", KindPolicy: "policy", KindCollection: "collection",
	KindResource: "resource", KindSubscription: "subscription", KindPin: "pin",
	KindPurge: "purge", KindHints: "hints", KindAuthority: "authority",
	KindDeposit: "deposit", KindSource: "source",
	KindToken: "token", KindPopularity: "popularity", KindContact: "contact",
}

// String is the kind in a word.
func (k Kind) String() string {
	if s, ok := kindNames[k]; ok {
		return s
	}
	return fmt.Sprintf("kind %d", uint8(k))
}
