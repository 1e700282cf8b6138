package gossip

import (
	"errors"
	"fmt"
	"sync"
	"unicode/utf8"

	"github.com/fxamacker/cbor/v2"
)

// State is what a box says of itself.
type State struct {
	Port     uint16 // where neighbours connect to it
	Weight   uint32 // MiB of disk that it gives to the pool
	Free     uint32 // MiB
	Load     uint8  // percent
	Version  string // at most 64 bytes
	Draining bool   // it is about to leave: nothing new for it
	Device   string // where devices reach it, as host:port; at most 100 bytes, may be empty
}

// Limits on what a box says. maxSaid is memberlist's (MetaMaxSize).
const (
	maxSaid    = 512
	maxVersion = 64
	maxDevice  = 100
)

// urgency is how soon the others have to hear something.
type urgency int

const (
	saidAlready urgency = iota
	sayLater
	sayNow
)

// urgency of the change from s to next.
func (s State) urgency(next State) urgency {
	switch {
	case s == next:
		return saidAlready
	case s.Port != next.Port, s.Weight != next.Weight, s.Draining != next.Draining:
		return sayNow
	}
	return sayLater
}

// said is a State on its way, with the run of the box that said it. Its keys are
// for good: a newer version adds, and never changes what there is.
type said struct {
	Port     uint16 `cbor:"1,keyasint,omitempty"`
	Weight   uint32 `cbor:"2,keyasint,omitempty"`
	Free     uint32 `cbor:"3,keyasint,omitempty"`
	Load     uint8  `cbor:"4,keyasint,omitempty"`
	Version  string `cbor:"5,keyasint,omitempty"`
	Draining bool   `cbor:"6,keyasint,omitempty"`
	Device   string `cbor:"7,keyasint,omitempty"`
	Boot     uint64 `cbor:"8,keyasint,omitempty"`
}

func (s State) check() error {
	var errs []error
	if len(s.Version) > maxVersion || !utf8.ValidString(s.Version) {
		errs = append(errs, fmt.Errorf("version: give at most %d bytes of text", maxVersion))
	}
	if len(s.Device) > maxDevice || !utf8.ValidString(s.Device) {
		errs = append(errs, fmt.Errorf("device: give at most %d bytes of text", maxDevice))
	}
	if s.Load > 100 {
		errs = append(errs, fmt.Errorf("load: %d is more than 100 percent", s.Load))
	}
	return errors.Join(errs...)
}

func encodeState(s State, boot uint64) ([]byte, error) {
	if err := s.check(); err != nil {
		return nil, err
	}
	raw, err := cbor.Marshal(said{s.Port, s.Weight, s.Free, s.Load, s.Version, s.Draining, s.Device, boot})
	if err != nil {
		return nil, fmt.Errorf("encode state: %w", err)
	}
	if len(raw) > maxSaid {
		return nil, fmt.Errorf("encode state: %d bytes are more than %d", len(raw), maxSaid)
	}
	return raw, nil
}

// decoder of states is strict about what it knows and lets pass what a newer
// version may add.
var decoder = sync.OnceValues(func() (cbor.DecMode, error) {
	return cbor.DecOptions{
		MaxArrayElements: 64, MaxMapPairs: 64, MaxNestedLevels: 8,
		DupMapKey: cbor.DupMapKeyEnforcedAPF, IndefLength: cbor.IndefLengthForbidden,
	}.DecMode()
})

func decodeState(raw []byte) (State, uint64, error) {
	if len(raw) > maxSaid {
		return State{}, 0, fmt.Errorf("state of %d bytes is longer than %d", len(raw), maxSaid)
	}
	mode, err := decoder()
	if err != nil {
		return State{}, 0, fmt.Errorf("decode state: %w", err)
	}
	var in said
	if err := mode.Unmarshal(raw, &in); err != nil {
		return State{}, 0, fmt.Errorf("decode state: %w", err)
	}
	s := State{in.Port, in.Weight, in.Free, in.Load, in.Version, in.Draining, in.Device}
	if err := s.check(); err != nil {
		return State{}, 0, fmt.Errorf("state: %w", err)
	}
	return s, in.Boot, nil
}
