package enrol

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"time"

	"preau/replication/identity"
	"preau/replication/wire"
)

// ErrEnrolled reports a folder that holds an identity already.
var ErrEnrolled = errors.New("already enrolled")

// Ask is what a node wants to be.
type Ask struct {
	Role identity.Role
	Name identity.Name
	// School may be left out: the token knows it. If it is there, a token for
	// another school is refused.
	School identity.School
	// Replace says that an identity in the folder is given up for the new one,
	// when that has been granted.
	Replace bool
}

// Enrol redeems a token and stores the identity in dir, which it makes if need
// be. If it fails, or is killed at any point, the same call again goes on with the
// same key, and so has the same result even if a server has granted it already.
// In a folder that this very token has enrolled it changes nothing.
func Enrol(ctx context.Context, token Token, dir string, ask Ask, cfg wire.DialConfig) (*Store, error) {
	if err := token.validate(); err != nil {
		return nil, err
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("enrol: %w", err)
	}
	if had, err := OpenStore(dir); err == nil {
		switch {
		case had.about.Token == token.ID.String() && had.id.Role == ask.Role && had.id.Name == ask.Name:
			return had, nil
		case !ask.Replace:
			return nil, fmt.Errorf("%s holds the identity %s: %w", dir, had.id, ErrEnrolled)
		}
	} else if !errors.Is(err, ErrNotEnrolled) && !ask.Replace {
		// A half-written identity has its pending key still, and goes on.
		if _, pending := os.Stat(filepath.Join(dir, filePending)); pending != nil {
			return nil, err
		}
	}

	key, err := pendingKey(dir)
	if err != nil {
		return nil, fmt.Errorf("enrol: %w", err)
	}
	request, err := newRequest(key)
	if err != nil {
		return nil, err
	}
	dialer, err := wire.NewPinnedDialer(token.Region, token.Authority, cfg)
	if err != nil {
		return nil, err
	}
	body := enrolment{
		Token: token.ID.String(), Secret: base64.StdEncoding.EncodeToString(token.Secret[:]),
		Role: ask.Role, Name: ask.Name, School: ask.School, Request: request,
	}
	var servers []wire.Target
	for _, address := range token.Servers {
		servers = append(servers, wire.Target{Address: address})
	}
	var grant Grant
	err = eachServer(ctx, dialer, servers, func(server http.RoundTripper) error {
		grant = Grant{}
		return exchange(ctx, server, http.MethodPost, PathEnrol, body, &grant)
	})
	if err != nil {
		return nil, fmt.Errorf("enrol as %s %s: %w", ask.Role, ask.Name, err)
	}
	_, _, id, err := grant.accept(key.Public(), token.Authority, token.Region)
	if err != nil {
		return nil, fmt.Errorf("enrol as %s %s: %w", ask.Role, ask.Name, err)
	}
	if id.Role != ask.Role || id.Name != ask.Name {
		return nil, fmt.Errorf("enrol as %s %s: the region made it %s", ask.Role, ask.Name, id)
	}
	if len(grant.Servers) == 0 {
		grant.Servers = servers
	}
	s, err := establish(dir, grant, token.ID.String())
	if err != nil {
		return nil, fmt.Errorf("store the identity of %s: %w", id, err)
	}
	return s, nil
}

// Found makes the identity of a region's first server in dir, with the region's
// authority and secret. It is called once in the life of a region, and again only
// if it did not return: what was written then is left where it is complete, and
// made anew where not.
//
// The sealed key and the authority's certificate belong in the catalogue, from
// which servers that join take them. Until they are there, they are in dir.
func Found(dir string, region identity.Region, name identity.Name, servers []wire.Target, now time.Time) (*Store, error) {
	id := identity.Identity{Region: region, Role: identity.Server, Name: name}
	if err := id.Validate(); err != nil {
		return nil, err
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("found a region: %w", err)
	}
	if had, err := OpenStore(dir); err == nil {
		return nil, fmt.Errorf("%s holds the identity %s: %w", dir, had.id, ErrEnrolled)
	} else if !errors.Is(err, ErrNotEnrolled) {
		return nil, err
	}
	key, err := pendingKey(dir)
	if err != nil {
		return nil, fmt.Errorf("found a region: %w", err)
	}
	request, err := newRequest(key)
	if err != nil {
		return nil, err
	}
	authority, err := NewAuthority(region, now)
	if err != nil {
		return nil, err
	}
	secret := NewSecret()
	sealed, err := authority.Seal(secret)
	if err != nil {
		return nil, err
	}
	if err := writeFile(dir, fileSealed, encodePEM(pemSealed, sealed)); err != nil {
		return nil, fmt.Errorf("found a region: %w", err)
	}
	cert, err := authority.Issue([]byte(request), id, Validity(id.Role), now)
	if err != nil {
		return nil, err
	}
	s, err := establish(dir, Grant{
		Certificate: string(cert), Authority: string(authority.PEM()),
		Region: region, Servers: servers, Secret: secret,
	}, "")
	if err != nil {
		return nil, fmt.Errorf("found a region: %w", err)
	}
	return s, nil
}
