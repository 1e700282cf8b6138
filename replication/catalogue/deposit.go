package catalogue

import (
	"time"

	"preau/cache/block"
	"preau/replication/identity"
)

// Deposit is a file that a teacher added in a school, on its way to the centre.
// Its bytes are on most of the region's servers before it is put, and stay there
// until it is Kept.
type Deposit struct {
	ID          string          `cbor:"1,keyasint" json:"id,omitzero"` // made up by the box
	School      identity.School `cbor:"2,keyasint" json:"school,omitzero"`
	Box         string          `cbor:"3,keyasint" json:"box,omitzero"`
	Filename    string          `cbor:"4,keyasint" json:"filename,omitzero"`
	ContentType string          `cbor:"5,keyasint" json:"content_type,omitzero"`
	Title       string          `cbor:"6,keyasint,omitempty" json:"title,omitzero"`
	Description string          `cbor:"7,keyasint,omitempty" json:"description,omitzero"`
	Collection  string          `cbor:"8,keyasint,omitempty" json:"collection,omitzero"` // as the teacher called it
	At          time.Time       `cbor:"9,keyasint" json:"at,omitzero"`                   // by the box's clock
	Length      int64           `cbor:"10,keyasint" json:"length,omitzero"`
	SHA256      block.Digest    `cbor:"11,keyasint" json:"sha256,omitzero"`
	// Blocks, Manifest and Listed are as in Resource.
	Blocks   []block.Digest `cbor:"12,keyasint,omitempty" json:"blocks,omitzero"`
	Manifest block.Digest   `cbor:"13,keyasint,omitzero" json:"manifest,omitzero"`
	Listed   bool           `cbor:"14,keyasint,omitempty" json:"listed,omitzero"`
	// Kept: the centre has it, checked, under Bucket and Key.
	Kept   bool      `cbor:"15,keyasint,omitempty" json:"kept,omitzero"`
	Bucket string    `cbor:"16,keyasint,omitempty" json:"bucket,omitzero"`
	Key    string    `cbor:"17,keyasint,omitempty" json:"key,omitzero"`
	ETag   string    `cbor:"18,keyasint,omitempty" json:"etag,omitzero"`
	KeptAt time.Time `cbor:"19,keyasint,omitzero" json:"kept_at,omitzero"`
	// Waiting is why it is not kept yet, if that takes longer than it should.
	Waiting string `cbor:"20,keyasint,omitempty" json:"waiting,omitzero"`
}

// Source is how far the region has followed a bucket of the centre.
type Source struct {
	Bucket string `cbor:"1,keyasint" json:"bucket,omitzero"`
	Epoch  string `cbor:"2,keyasint" json:"epoch,omitzero"`
	Seq    uint64 `cbor:"3,keyasint" json:"seq,omitzero"`
}

// Kind implements Fact.
func (Deposit) Kind() Kind { return KindDeposit }

// Kind implements Fact.
func (Source) Kind() Kind { return KindSource }

// RecordID implements Fact.
func (f Deposit) RecordID() string { return f.ID }

// RecordID implements Fact.
func (f Source) RecordID() string { return f.Bucket }

func (f Source) normal() Fact { return f }

func (f Deposit) normal() Fact {
	f.At, f.KeptAt = milli(f.At), milli(f.KeptAt)
	return f
}

func (f Source) fault() string {
	return first(id("the bucket", f.Bucket), line("the epoch", f.Epoch, 1, maxVersion))
}

func (f Deposit) fault() string {
	of := Resource{Length: f.Length, SHA256: f.SHA256, Blocks: f.Blocks, Manifest: f.Manifest, Listed: f.Listed}
	return first(
		id("the id", f.ID), schools([]identity.School{f.School}), id("the box", f.Box),
		filename(f.Filename), mediaType(f.ContentType),
		line("the title", f.Title, 0, MaxTextBytes), lines("the description", f.Description),
		line("the collection", f.Collection, 0, maxLine),
		when(f.At, f.KeptAt), of.bodyFault(),
		line("the bucket", f.Bucket, 0, maxLine), line("the key", f.Key, 0, maxKey), line("the ETag", f.ETag, 0, maxLine),
		unless(f.Kept == (f.Bucket != "") && f.Kept == (f.Key != ""), "what the centre keeps has a bucket and a key, and nothing else has"),
		lines("what it waits for", f.Waiting),
		unless(!f.Kept || f.Waiting == "", "what is kept waits for nothing"),
	)
}

// goesOn sees to it that a deposit stays what it was, and never goes back.
func (w *work) goesOn(t *touch, f Deposit) error {
	if !t.alive() {
		return nil
	}
	old, err := fact[Deposit](t)
	switch {
	case err != nil:
		return err
	case old.School != f.School || old.Box != f.Box || old.Filename != f.Filename || old.Length != f.Length || old.SHA256 != f.SHA256:
		return refuse(CodeConflict, "there is another deposit of that id")
	case old.Kept && !f.Kept:
		return refuse(CodeConflict, "the centre keeps that deposit already")
	}
	return nil
}
