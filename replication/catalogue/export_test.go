package catalogue

import "preau/replication/kv"

// Fade is the table of fading, for a look at its numbers.
var Fade = fade

// WalkLess has one Prune look at n rows only.
func (s *State) WalkLess(n int) { s.walk = n }

// OpenOlder opens the state as a program does that remembers fewer commands.
func OpenOlder(store kv.Store, remember uint64) (*State, error) {
	return open(store, map[byte]func([]byte) (Command, error){1: decodeFirst}, 1, remember)
}

// OpenNewer opens the state as a later program would: it reads a version 2,
// whose entries have the bytes of each command turned round.
func OpenNewer(store kv.Store) (*State, error) {
	return open(store, map[byte]func([]byte) (Command, error){1: decodeFirst, 2: decodeTurned}, 2, MaxRemembered)
}

func decodeTurned(p []byte) (Command, error) { return decodeFirst(turn(p)) }

// EncodeNewer writes an entry of version 2.
func EncodeNewer(c Command) ([]byte, error) {
	p, err := Encode(c)
	if err != nil {
		return nil, err
	}
	return append([]byte{2}, turn(p[1:])...), nil
}

func turn(p []byte) []byte {
	q := make([]byte, len(p))
	for i, b := range p {
		q[len(p)-1-i] = b
	}
	return q
}

// EncodeAny is the encoding of a value that nobody has checked.
func EncodeAny(v any) ([]byte, error) { return encode(v) }

// The quick readers and writers, and the slow ones that they must agree with.
var (
	QuickCommand = quickCommand
	SlowCommand  = slowCommand
	QuickFact    = quickFact
	SlowFact     = slowFact
	QuickEncode  = quickEncode
)

// QuickResult is how a result is kept.
func QuickResult(r Result) []byte { return r.appendTo(nil) }

// Normal is the fact in its one form.
func Normal(f Fact) Fact { return f.normal() }

// SlowContact reads a contact that is in its one form.
func SlowContact(p []byte) (Fact, error) { return readAs[Contact](p) }
