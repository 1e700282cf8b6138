package enrol

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"

	"preau/replication/identity"
	"preau/replication/wire"
)

// PathAgain is where a box whose disk does not open asks for its place back, as an
// anonymous peer.
const PathAgain = "/enrol/again"

// ErrOlder is said of a server whose version does not know what it is asked.
var ErrOlder = errors.New("the server is of an older version, which can't do this")

// Place is a box's place in its region, as it may be written down where anybody
// can read it: nothing in it enrols anybody.
type Place struct {
	Region    identity.Region
	Authority wire.Pin
	Token     TokenID // that the box was enrolled with
	Name      identity.Name
	Servers   []string // host:port
}

// Place is that of the node whose identity this is. It is false for one that was
// not enrolled with a token.
func (s *Store) Place() (Place, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	id, err := ParseTokenID(s.about.Token)
	if err != nil {
		return Place{}, false
	}
	p := Place{Region: s.id.Region, Authority: wire.PinOf(s.roots[0]), Token: id, Name: s.id.Name}
	for _, t := range s.about.Servers {
		p.Servers = append(p.Servers, t.Address)
	}
	return p, true
}

// Check reports a place that can't be used: anybody may have written it.
func (p Place) Check() error {
	if len(p.Servers) == 0 || len(p.Servers) > maxServers {
		return fmt.Errorf("a region has 1 to %d servers, not %d", maxServers, len(p.Servers))
	}
	for _, address := range p.Servers {
		if err := checkAddress(address); err != nil {
			return err
		}
	}
	return nil
}

// NewToken makes up a token with which the box of this place enrols once the
// region has taken it in. The region is told its hash, and nobody its secret.
func (p Place) NewToken() (Token, error) {
	return NewToken(p.Region, p.Authority, p.Servers[:min(len(p.Servers), maxTokenServers)])
}

// Return is a box that has lost what makes it that box, as its disk does not open,
// and asks for its place back. It shows no secret: whoever has read its Place can
// say the same. So it gives nobody anything until an operator has agreed, who
// compares Code with what the box itself shows.
type Return struct {
	Name   identity.Name // that the box had
	Token  TokenID       // that it was enrolled with then
	New    TokenID       // of the token that it has made up
	Secret SecretHash    // of that token's secret
	Why    string        // in a word, such as tpm or disk
}

// codeLength is how many characters a code has, without the hyphens. Who knows the
// code can look for another token that has the same: eight characters would take
// a graphics card minutes, these sixty bits take as long as it is of no use.
const codeLength = 12

// Code is what the box shows and the operator compares. It stands for the new
// token, and so for the secret behind it.
func (r Return) Code() string {
	sum := r.sum("preau return code 1\x00")
	text := alphabet.EncodeToString(sum[:])[:codeLength]
	return text[:4] + "-" + text[4:8] + "-" + text[8:]
}

// suffixLength keeps the names of boxes that were taken back apart.
const suffixLength = 4

// NewName is what the box is called from then on: the old name stays with the
// identity on the disk, which may open again one day.
func (r Return) NewName() identity.Name {
	const most = 40 - suffixLength - 1
	old := strings.TrimRight(string(r.Name[:min(len(r.Name), most)]), "-")
	sum := r.sum("preau return name 1\x00")
	return identity.Name(old + "-" + strings.ToLower(alphabet.EncodeToString(sum[:])[:suffixLength]))
}

func (r Return) sum(what string) [sha256.Size]byte {
	b := append([]byte(what), r.New[:]...)
	b = append(b, r.Secret[:]...)
	b = binary.BigEndian.AppendUint16(b, uint16(len(r.Name)))
	return sha256.Sum256(append(b, r.Name...))
}

// ParseCode brings a code that somebody has typed into the form in which Code
// writes it. What is no code becomes nothing that Code ever writes.
func ParseCode(s string) string {
	text := strings.Map(func(r rune) rune {
		switch r {
		case ' ', '-':
			return -1
		case '0': // the alphabet has neither
			return 'O'
		case '1':
			return 'I'
		}
		return r
	}, strings.ToUpper(s))
	if len(text) != codeLength {
		return ""
	}
	return text[:4] + "-" + text[4:8] + "-" + text[8:]
}

// returning is a Return as it crosses the wire, and settled its answer.
type returning struct {
	Name   identity.Name `json:"name"`
	Token  string        `json:"token"`
	New    string        `json:"new"`
	Secret string        `json:"secret"` // its hash
	Why    string        `json:"why,omitempty"`
}

type settled struct {
	Accepted bool `json:"accepted"`
}

// maxWhy bounds the word for why a box asks.
const maxWhy = 16

func (q returning) read() (r Return, err error) {
	if r.Name, err = identity.ParseName(string(q.Name)); err != nil {
		return Return{}, err
	}
	if r.Token, err = ParseTokenID(q.Token); err != nil {
		return Return{}, err
	}
	if r.New, err = ParseTokenID(q.New); err != nil {
		return Return{}, err
	}
	hash, err := base64.StdEncoding.DecodeString(q.Secret)
	if err != nil || len(hash) != len(SecretHash{}) {
		return Return{}, errors.New("the hash of the new secret has not its length")
	}
	r.Secret = SecretHash(hash)
	// It is shown to people, so it can't be anything.
	if len(q.Why) > maxWhy || strings.ContainsFunc(q.Why, func(r rune) bool { return r < 'a' || r > 'z' }) {
		return Return{}, errors.New("why the box asks is told in a word of a-z")
	}
	r.Why = q.Why
	return r, nil
}

func (h *Handler) again(r *http.Request, body []byte) (any, error) {
	var q returning
	if err := json.Unmarshal(body, &q); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrBadRequest, err)
	}
	back, err := q.read()
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrBadRequest, err)
	}
	accepted, err := h.registry.TakeBack(r.Context(), back)
	if err != nil {
		return nil, err
	}
	return settled{Accepted: accepted}, nil
}

// Told is what came of AskAgain.
type Told struct {
	// Servers have taken down what the box asks, those that know of an operator's
	// consent first.
	Servers []string
	// Accepted: the token enrols the box now.
	Accepted bool
}

// AskAgain asks all servers of a place at once to take the box back, which has
// made up the token for that. If none takes that down the error is the one that
// tells most: what the region said, then that it can't say, then ErrOlder, then
// why no server was reached.
func AskAgain(ctx context.Context, p Place, token Token, why string, cfg wire.DialConfig) (Told, error) {
	if err := p.Check(); err != nil {
		return Told{}, err
	}
	hash := token.Hash()
	q := returning{
		Name: p.Name, Token: p.Token.String(), New: token.ID.String(),
		Secret: base64.StdEncoding.EncodeToString(hash[:]), Why: why,
	}
	dialer, err := wire.NewPinnedDialer(p.Region, p.Authority, cfg)
	if err != nil {
		return Told{}, err
	}
	answers, errs := make([]settled, len(p.Servers)), make([]error, len(p.Servers))
	var wg sync.WaitGroup
	for i, address := range p.Servers {
		wg.Go(func() {
			transport := dialer.Transport(wire.Target{Address: address})
			errs[i] = exchange(ctx, transport, http.MethodPost, PathAgain, q, &answers[i])
			if err := transport.Close(); err != nil && errs[i] != nil {
				errs[i] = errors.Join(errs[i], err) // after an answer it does not matter
			}
		})
	}
	wg.Wait()
	var told Told
	for i, address := range p.Servers {
		switch {
		case errs[i] != nil:
		case answers[i].Accepted:
			told.Servers, told.Accepted = slices.Insert(told.Servers, 0, address), true
		default:
			told.Servers = append(told.Servers, address)
		}
	}
	if len(told.Servers) > 0 {
		return told, nil
	}
	is := func(one error) func(error) bool { return func(err error) bool { return errors.Is(err, one) } }
	for _, says := range []func(error) bool{final, is(ErrTooMany), is(ErrUnavailable), is(ErrOlder)} {
		if i := slices.IndexFunc(errs, says); i >= 0 {
			return Told{}, errs[i]
		}
	}
	return Told{}, errors.Join(errs...)
}
