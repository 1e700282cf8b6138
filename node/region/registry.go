package region

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	"preau/node/control"
	"preau/replication/catalogue"
	"preau/replication/enrol"
	"preau/replication/identity"
	"preau/replication/wire"
)

// Bounds of how long an invitation may wait.
const (
	defaultTokenLife = 7 * 24 * time.Hour
	maxTokenLife     = 90 * 24 * time.Hour
)

// registry has the catalogue decide who may enrol. It implements
// enrol.Registry.
type registry struct{ g *Region }

// refusals are what the catalogue's codes are called at enrolment.
var refusals = map[catalogue.Code]error{
	catalogue.CodeTokenUnknown: enrol.ErrTokenUnknown,
	catalogue.CodeTokenUsed:    enrol.ErrTokenUsed,
	catalogue.CodeTokenExpired: enrol.ErrTokenExpired,
	catalogue.CodeNameTaken:    enrol.ErrNameTaken,
	catalogue.CodeRevoked:      enrol.ErrRevoked,
	catalogue.CodeInvalid:      enrol.ErrBadRequest,
}

// Redeem implements enrol.Registry.
func (reg registry) Redeem(ctx context.Context, q enrol.Redemption) (identity.Identity, error) {
	token, ok, err := get[catalogue.Token](reg.g, catalogue.KindToken, q.Token.String())
	if err != nil {
		return identity.Identity{}, fmt.Errorf("%w: %w", enrol.ErrUnavailable, err)
	}
	// A server that is behind may not know the token yet: the region decides.
	if ok && (token.Role != q.Role || q.School != "" && q.School != token.School) {
		return identity.Identity{}, fmt.Errorf("%w: it is for a %s %s", enrol.ErrNotForThis, token.Role, token.School)
	}
	result, err := reg.g.submit(ctx, string(q.Role)+"/"+string(q.Name), catalogue.Op{Redeem: &catalogue.Redeem{
		Token: q.Token.String(), SecretHash: [32]byte(q.Secret), Name: string(q.Name), SPKI: [32]byte(q.Key),
	}})
	if refused, ok := errors.AsType[refusal](err); ok {
		sentinel := refusals[refused.Code]
		if sentinel == nil {
			sentinel = enrol.ErrBadRequest
		}
		return identity.Identity{}, fmt.Errorf("%w: %s", sentinel, refused.Error())
	}
	if err != nil {
		return identity.Identity{}, fmt.Errorf("%w: %w", enrol.ErrUnavailable, err)
	}
	if result.Role != q.Role {
		return identity.Identity{}, fmt.Errorf("%w: it is for a %s", enrol.ErrNotForThis, result.Role)
	}
	return identity.Identity{Region: reg.g.id.Region, Role: result.Role, Name: q.Name, School: result.School}, nil
}

// Renewable implements enrol.Registry.
func (reg registry) Renewable(_ context.Context, peer wire.Peer) error {
	if reg.g.revoked.has(peer) {
		return enrol.ErrRevoked
	}
	if !peer.Lapsed {
		return nil
	}
	// Servers hold the region's memory: one that was away may always return.
	if peer.Role == identity.Server {
		return nil
	}
	for _, id := range []string{string(peer.School), ""} {
		policy, ok, err := get[catalogue.Policy](reg.g, catalogue.KindPolicy, id)
		if err != nil {
			return fmt.Errorf("%w: %w", enrol.ErrUnavailable, err)
		}
		if ok && policy.AllowLapsed {
			return nil
		}
	}
	return enrol.ErrLapsed
}

// makeToken makes an invitation. Its text is in the answer and nowhere else.
func (g *Region) makeToken(r *http.Request) (any, error) {
	q, err := decode[control.TokenRequest](r)
	if err != nil {
		return nil, err
	}
	role, err := identity.ParseRole(q.Role)
	if err != nil {
		return nil, failure{http.StatusBadRequest, "invalid", err}
	}
	var school identity.School
	switch {
	case role == identity.Box && q.School == "":
		return nil, invalid("say which school the box is for, by its code, such as 0690001A")
	case role != identity.Box && q.School != "":
		return nil, invalid("only boxes belong to a school")
	case q.School != "":
		of, err := schools([]string{q.School})
		if err != nil {
			return nil, err
		}
		school = of[0]
	}
	life := q.Valid
	if life == 0 {
		life = defaultTokenLife
	}
	if life < time.Minute || life > maxTokenLife {
		return nil, invalid("a token can be valid for a minute to %d days", maxTokenLife/(24*time.Hour))
	}
	token, err := enrol.NewToken(g.id.Region, wire.PinOf(g.me.Authority()), g.tokenServers())
	if err != nil {
		return nil, err
	}
	rec := catalogue.Token{
		ID: token.ID.String(), SecretHash: [32]byte(token.Hash()), Role: role, School: school,
		NotAfter: time.Now().Add(life).UTC().Truncate(time.Second),
	}
	if _, err := g.put(r, rec); err != nil {
		return nil, err
	}
	return control.Token{Token: token.String(), Role: q.Role, School: string(school), Expires: rec.NotAfter}, nil
}

// tokenServers are up to three addresses, this server's first.
func (g *Region) tokenServers() []string {
	out := []string{g.cfg.address()}
	for _, s := range g.servers() {
		if s.Address != out[0] && len(out) < 3 {
			out = append(out, s.Address)
		}
	}
	return out
}

// revoke takes a certificate's bearer out. Every server refuses it as soon as
// it has applied this, and closes its connections.
func (g *Region) revoke(r *http.Request) (any, error) {
	q, err := decode[control.Revocation](r)
	if err != nil {
		return nil, err
	}
	role, err := identity.ParseRole(q.Role)
	if err != nil {
		return nil, failure{http.StatusBadRequest, "invalid", err}
	}
	rev := catalogue.Revocation{Role: role, Name: q.Name, Reason: q.Reason}
	if role == identity.Box {
		box, ok, err := get[catalogue.Box](g, catalogue.KindBox, q.Name)
		if err != nil {
			return nil, err
		}
		if !ok {
			return nil, failure{http.StatusNotFound, "not_found", fmt.Errorf("there is no box %q: preau boxes lists them", q.Name)}
		}
		rev.School = box.School
	}
	return g.put(r, rev)
}

func (g *Region) readmit(r *http.Request) (any, error) {
	role, err := identity.ParseRole(r.PathValue("role"))
	if err != nil {
		return nil, failure{http.StatusBadRequest, "invalid", err}
	}
	id := catalogue.RevocationID(role, r.PathValue("name"))
	return g.do(r, id, catalogue.NewDelete(catalogue.KindRevocation, id))
}
