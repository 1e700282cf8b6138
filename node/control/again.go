package control

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"net/http"
	"time"

	"preau/replication/enrol"
	"preau/replication/identity"
	"preau/replication/wire"
)

// Place is a box's place in its region, in words that can be written down where
// anybody can read them: nothing in it enrols anybody.
type Place struct {
	Region    string   `json:"region"`
	Authority string   `json:"authority"`
	Token     string   `json:"token"` // the id of the one that enrolled the box
	Name      string   `json:"name"`
	Servers   []string `json:"servers"`
	// School is for the box itself, which looks up what is for its school: no server
	// is told of it.
	School string `json:"school,omitempty"`
}

// PlaceOf is the place of the box whose identity is in the folder dir.
func PlaceOf(dir string) (Place, error) {
	me, err := enrol.OpenStore(dir)
	if err != nil {
		return Place{}, fmt.Errorf("open identity: %w", err)
	}
	p, ok := me.Place()
	if !ok {
		return Place{}, fmt.Errorf("the identity in %s does not tell which token it is from", dir)
	}
	return Place{
		Region: string(p.Region), Authority: hex.EncodeToString(p.Authority[:]), Token: p.Token.String(),
		Name: string(p.Name), Servers: p.Servers, School: string(me.Identity().School),
	}, nil
}

func (p Place) read() (out enrol.Place, err error) {
	if out.Region, err = identity.ParseRegion(p.Region); err != nil {
		return out, err
	}
	if out.Name, err = identity.ParseName(p.Name); err != nil {
		return out, err
	}
	if out.Token, err = enrol.ParseTokenID(p.Token); err != nil {
		return out, err
	}
	pin, err := hex.DecodeString(p.Authority)
	if err != nil || len(pin) != len(wire.Pin{}) {
		return out, fmt.Errorf("%.40q does not name the authority of a region", p.Authority)
	}
	out.Authority, out.Servers = wire.Pin(pin), p.Servers
	return out, out.Check()
}

// Comeback is a box without its disk that wants its place back.
type Comeback struct {
	Place Place
	// Token is what the box has made up for it: see NewComeback. Secret.
	Token string
	// Name is what it will be called, and Code what its people compare.
	Name, Code string
}

// NewComeback makes up a token for the box that had the place, or goes on with one
// that was made up before.
func NewComeback(p Place, token string) (Comeback, error) {
	place, err := p.read()
	if err != nil {
		return Comeback{}, err
	}
	t, err := enrol.ParseToken(token)
	if err != nil || t.Region != place.Region || t.Authority != place.Authority {
		if t, err = place.NewToken(); err != nil {
			return Comeback{}, err
		}
	}
	r := enrol.Return{Name: place.Name, Token: place.Token, New: t.ID, Secret: t.Hash()}
	return Comeback{Place: p, Token: t.String(), Name: string(r.NewName()), Code: r.Code()}, nil
}

// ErrOlder is said where no server of the region knows yet how a box is taken back.
var ErrOlder = enrol.ErrOlder

// Told is what the region's servers said of it.
type Told struct {
	Servers  []string // that have taken it down, the best to enrol at first
	Accepted bool     // an operator has agreed: the token can be redeemed
}

// AskBack tells all servers of the region that the box wants its place back, and
// why: tpm, disk, or another word. What it can't do is told by Explain; ErrOlder,
// and not having reached anybody, stay what they are.
func AskBack(ctx context.Context, c Comeback, why string) (Told, error) {
	place, err := c.Place.read()
	if err != nil {
		return Told{}, err
	}
	token, err := enrol.ParseToken(c.Token)
	if err != nil {
		return Told{}, err
	}
	told, err := enrol.AskAgain(ctx, place, token, why, wire.DefaultDialConfig())
	switch {
	case errors.Is(err, enrol.ErrTokenUnknown):
		return Told{}, &Error{Status: http.StatusForbidden, Code: "token_unknown", cause: err, Detail: "the region does not know the box " + c.Place.Name + " by what lies on its boot partition: a new invitation is needed (preau region token)"}
	case errors.Is(err, enrol.ErrRevoked):
		return Told{}, &Error{Status: http.StatusForbidden, Code: "revoked", cause: err, Detail: "the region has revoked " + c.Place.Name}
	case errors.Is(err, enrol.ErrTooMany):
		return Told{}, &Error{Status: http.StatusServiceUnavailable, Code: CodeUnavailable, cause: err, Detail: "too many ask the region for a place back, and " + c.Place.Name + " is not taken down yet: it asks again by itself"}
	}
	return Told{Servers: told.Servers, Accepted: told.Accepted}, err
}

// Return is a box that asks for its place back, as its disk does not open.
type Return struct {
	// Code is what the box itself shows, if it is that box: compare.
	Code  string    `json:"code"`
	Name  string    `json:"name"` // that it gets
	Why   string    `json:"why,omitempty"`
	Since time.Time `json:"since"`
	Seen  time.Time `json:"seen"`
}

// ReturnRequest has the region take such a box back.
type ReturnRequest struct {
	Box  string `json:"box"`
	Code string `json:"code"`
}

// Returned is a box that may enrol by itself until then, under its new name.
type Returned struct {
	Box     string    `json:"box"`
	Name    string    `json:"name"`
	School  string    `json:"school"`
	Expires time.Time `json:"expires"`
	Index   uint64    `json:"index"`
}

// TakeBack has a box come back whose disk does not open. Asking twice is as good
// as once.
func (c *Client) TakeBack(ctx context.Context, q ReturnRequest) (Returned, error) {
	var out Returned
	err := c.do(ctx, call{method: http.MethodPost, path: "/v1/returns", send: q}, &out)
	if said, ok := errors.AsType[*Error](err); ok && said.Status == http.StatusNotFound && said.Code == CodeUnexpected {
		said.Detail = "the server that answers is of an older version, which can't take a box back: upgrade it, or ask another with --region HOST:PORT"
	}
	return out, err
}
