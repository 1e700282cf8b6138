package catalogue

import (
	"bytes"
	"crypto/rand"
	"errors"
	"fmt"
	"time"

	"github.com/fxamacker/cbor/v2"
)

// errForm reports CBOR that is not in the one form that is allowed.
var errForm = errors.New("not in its one form")

// The form: RFC 8949 §4.2.1, times as text in UTC, no tags, nothing unknown.
var (
	encoding = must(cbor.EncOptions{
		Sort:          cbor.SortCoreDeterministic,
		ShortestFloat: cbor.ShortestFloat16,
		NaNConvert:    cbor.NaNConvert7e00,
		InfConvert:    cbor.InfConvertFloat16,
		IndefLength:   cbor.IndefLengthForbidden,
		TagsMd:        cbor.TagsForbidden,
		Time:          cbor.TimeRFC3339NanoUTC,
	}.EncMode())
	decoding = must(cbor.DecOptions{
		DupMapKey:         cbor.DupMapKeyEnforcedAPF,
		IndefLength:       cbor.IndefLengthForbidden,
		TagsMd:            cbor.TagsForbidden,
		ExtraReturnErrors: cbor.ExtraDecErrorUnknownField,
		MaxNestedLevels:   8,
		MaxArrayElements:  4096,
		MaxMapPairs:       256,
	}.DecMode())
)

func must[T any](v T, err error) T {
	if err != nil {
		panic(err) //nolint:forbidigo // the options are constants: this can only happen while they are being written
	}
	return v
}

func encode(v any) ([]byte, error) { return encoding.Marshal(v) }

func decode(p []byte, v any) error { return decoding.Unmarshal(p, v) }

// inOneForm refuses what encode would have written differently, so that what
// is accepted depends neither on a library's leniency nor on its version.
func inOneForm(p []byte, v any) error {
	again, err := encode(v)
	if err == nil && !bytes.Equal(p, again) {
		err = errForm
	}
	return err
}

// NewCommandID makes up an id.
func NewCommandID() CommandID {
	var id CommandID
	rand.Read(id[:])
	return id
}

// NewCommand makes a command of ops, with an id of its own. By is the role and
// name of who asks; now is the time of the server that takes it.
func NewCommand(by string, now time.Time, ops ...Op) Command {
	return Command{ID: NewCommandID(), At: milli(now), By: by, Ops: ops}
}

// milli is how times are kept.
func milli(t time.Time) time.Time {
	if t.IsZero() {
		return time.Time{}
	}
	return t.UTC().Truncate(time.Millisecond)
}

// EncodeAs writes c as Encode does, in another version that this program reads.
// So far they differ in nothing but the byte that says which it is.
func EncodeAs(version uint8, c Command) ([]byte, error) {
	if _, ok := grammars()[version]; !ok {
		return nil, fmt.Errorf("encode command: in version %d, this program knows up to %d: %w", version, MaxVersion, ErrNewer)
	}
	entry, err := Encode(c)
	if err != nil {
		return nil, err
	}
	entry[0] = version
	return entry, nil
}

// Encode writes c as an entry of the log, in version 1, which every server
// reads. It refuses a command that can't be; whether it can be carried out
// shows when it is applied.
func Encode(c Command) ([]byte, error) {
	c.At = milli(c.At)
	if fault := c.fault(); fault != "" {
		return nil, fmt.Errorf("encode command: %s", fault)
	}
	entry, ok := quickEncode(c)
	if !ok {
		p, err := encode(c)
		if err != nil {
			return nil, fmt.Errorf("encode command: %w", err)
		}
		entry = append([]byte{1}, p...)
	}
	if len(entry) > MaxCommandBytes {
		return nil, fmt.Errorf("encode command: it has %d bytes, the most is %d: send several", len(entry), MaxCommandBytes)
	}
	return entry, nil
}

// Decode reads what Encode wrote. Errors: ErrNewer, or that it is no command.
func Decode(p []byte) (Command, error) {
	switch {
	case len(p) == 0:
		return Command{}, errors.New("decode command: it is empty")
	case p[0] > MaxVersion:
		return Command{}, fmt.Errorf("decode command: it is in version %d, this program reads up to %d: %w", p[0], MaxVersion, ErrNewer)
	}
	read, ok := grammars()[p[0]]
	if !ok {
		return Command{}, fmt.Errorf("decode command: there is no version %d", p[0])
	}
	c, err := read(p[1:])
	if err != nil {
		return Command{}, fmt.Errorf("decode command: %w", err)
	}
	return c, nil
}

// decodeFirst reads version 1, without the byte that says so.
func decodeFirst(p []byte) (Command, error) {
	if len(p)+1 > MaxCommandBytes {
		return Command{}, fmt.Errorf("it has %d bytes, the most is %d", len(p)+1, MaxCommandBytes)
	}
	c, ok := quickCommand(p)
	if !ok {
		var err error
		if c, err = slowCommand(p); err != nil {
			return Command{}, err
		}
	}
	if fault := c.fault(); fault != "" {
		return Command{}, errors.New(fault)
	}
	return c, nil
}

// slowCommand is what quickCommand must agree with.
func slowCommand(p []byte) (Command, error) {
	var c Command
	if err := decode(p, &c); err != nil {
		return Command{}, err
	}
	return c, inOneForm(p, c)
}

// fault says what is wrong with the command as such, if anything.
func (c Command) fault() string {
	switch {
	case c.ID == CommandID{}:
		return "it has no id"
	case c.At.IsZero():
		return "it has no time"
	case !c.At.Equal(milli(c.At)):
		return "its time is finer than a millisecond"
	case len(c.Ops) == 0:
		return "it asks for nothing"
	case len(c.Ops) > MaxOps:
		return fmt.Sprintf("it has %d operations, the most is %d: send several", len(c.Ops), MaxOps)
	}
	if f := first(line("who asks", c.By, 1, maxBy), when(c.At)); f != "" {
		return f
	}
	for i, op := range c.Ops {
		set := 0
		for _, is := range []bool{
			op.Put != nil, op.Delete != nil, op.Redeem != nil, op.Count != nil,
			op.Seen != nil, op.Prune != nil, op.Rekey != nil,
		} {
			if is {
				set++
			}
		}
		if set != 1 {
			return fmt.Sprintf("operation %d sets %d fields, not one", i+1, set)
		}
		if op.Prune != nil && len(c.Ops) > 1 {
			return "a prune must be the only operation of its command"
		}
	}
	return ""
}
