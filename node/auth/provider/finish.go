package provider

import (
	"context"
	"crypto/subtle"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"
	"golang.org/x/oauth2"
)

// Identity is who somebody is, as the provider says.
type Identity struct {
	Subject string // the issuer and its name for the person
	Name    string // as people write it; may be empty
	Claims  map[string]any
	ACR     string   // of the ID token alone: what else says it is no proof
	AMR     []string // likewise (RFC 8176)
}

// Finish makes somebody of what the browser came back with. The attempt must be
// that of the same browser, and is used up. Errors: ErrAway, ErrClock, ErrDenied,
// ErrLogin, ErrUntrue.
func (c *Client) Finish(ctx context.Context, a Attempt, query url.Values) (Identity, error) {
	var none Identity
	ctx, cancel := context.WithTimeoutCause(oidc.ClientContext(ctx, c.http), patience, errors.New("the provider takes too long"))
	defer cancel()
	if !same(query.Get("state"), a.State) || a.State == "" {
		return none, fmt.Errorf("%w: it belongs to another sign-in", ErrUntrue)
	}
	d, err := c.describe(ctx)
	if err != nil {
		return none, err
	}
	// RFC 9207 §2.4: before anything else is believed, errors too.
	if iss := query.Get("iss"); (iss != "" || d.saysIssuer) && iss != c.cfg.Issuer {
		return none, fmt.Errorf("%w: it comes from %q", ErrUntrue, printable(iss))
	}
	if code := query.Get("error"); code != "" {
		return none, refusal(code, query.Get("error_description"))
	}
	code := query.Get("code")
	if code == "" {
		return none, fmt.Errorf("%w: it has no code", ErrUntrue)
	}
	token, err := c.oauth(d, a.redirect).Exchange(ctx, code, oauth2.VerifierOption(a.verifier))
	if err != nil {
		return none, c.exchange(err)
	}
	raw, ok := token.Extra("id_token").(string)
	if !ok {
		return none, fmt.Errorf("%w: it has no ID token", ErrUntrue)
	}
	id, err := c.verify(ctx, d, a, raw, token.AccessToken)
	if err != nil {
		return none, err
	}
	return c.identify(ctx, d, id, token)
}

func same(a, b string) bool { return subtle.ConstantTimeCompare([]byte(a), []byte(b)) == 1 }

// refusal sorts the errors of OAuth (RFC 6749 §4.1.2.1) and of OpenID Connect
// Core §3.1.2.6.
func refusal(code, description string) error {
	kind := ErrUntrue
	switch code {
	case "access_denied", "unmet_authentication_requirements":
		kind = ErrDenied
	case "login_required", "interaction_required", "consent_required", "account_selection_required":
		kind = ErrLogin
	case "server_error", "temporarily_unavailable":
		kind = ErrAway
	}
	return fmt.Errorf("%w: %s %s", kind, printable(code), printable(description))
}

// exchange explains why there is no token.
func (c *Client) exchange(err error) error {
	var refused *oauth2.RetrieveError
	if !errors.As(err, &refused) {
		return c.explain("exchange the code", err, ErrAway)
	}
	if refused.Response != nil && refused.Response.StatusCode >= http.StatusInternalServerError {
		return fmt.Errorf("%w: exchange the code: %s", ErrAway, refused.Response.Status)
	}
	// Its Error has the whole answer, which may have more in it than a log should.
	return fmt.Errorf("%w: exchange the code: %s %s", ErrUntrue, printable(refused.ErrorCode), printable(refused.ErrorDescription))
}

// verify checks the ID token (OpenID Connect Core §3.1.3.7).
func (c *Client) verify(ctx context.Context, d *description, a Attempt, raw, access string) (*oidc.IDToken, error) {
	id, err := d.verifier.Verify(ctx, raw)
	var expired *oidc.TokenExpiredError
	switch {
	case errors.As(err, &expired):
		return nil, c.late("check the ID token", err)
	case err != nil && strings.Contains(err.Error(), "(not before)"):
		return nil, c.late("check the ID token", err)
	case err != nil && strings.Contains(err.Error(), "fetching keys"):
		return nil, c.explain("fetch the provider's keys", err, ErrAway)
	case err != nil:
		return nil, fmt.Errorf("%w: check the ID token: %s", ErrUntrue, printable(err.Error()))
	}
	if time.Until(id.IssuedAt) > 2*tolerated {
		return nil, c.late("check the ID token", errors.New("it was made in the future"))
	}
	if !same(id.Nonce, a.nonce) {
		return nil, fmt.Errorf("%w: the ID token belongs to another sign-in", ErrUntrue)
	}
	if id.AccessTokenHash != "" {
		if err := id.VerifyAccessToken(access); err != nil {
			return nil, fmt.Errorf("%w: check the access token: %w", ErrUntrue, err)
		}
	}
	var party struct {
		AZP string `json:"azp"`
	}
	if err := id.Claims(&party); err != nil {
		return nil, fmt.Errorf("%w: read the ID token: %w", ErrUntrue, err)
	}
	if (party.AZP != "" || len(id.Audience) > 1) && party.AZP != c.cfg.ClientID {
		return nil, fmt.Errorf("%w: the ID token was made for %q", ErrUntrue, printable(party.AZP))
	}
	if id.Subject == "" || len(id.Subject) > 255 {
		return nil, fmt.Errorf("%w: a subject of %d bytes", ErrUntrue, len(id.Subject))
	}
	return id, nil
}

// identify reads the claims, and asks for those that are missing.
func (c *Client) identify(ctx context.Context, d *description, id *oidc.IDToken, token *oauth2.Token) (Identity, error) {
	var none Identity
	who := Identity{Subject: id.Subject, Claims: map[string]any{}}
	if err := id.Claims(&who.Claims); err != nil {
		return none, fmt.Errorf("%w: read the ID token: %w", ErrUntrue, err)
	}
	who.ACR, who.AMR = text(who.Claims["acr"]), Texts(who.Claims["amr"])
	if d.provider.UserInfoEndpoint() != "" && c.lacks(who.Claims) {
		info, err := d.provider.UserInfo(ctx, oauth2.StaticTokenSource(token))
		if err != nil {
			return none, c.explain("ask for the claims", err, ErrAway)
		}
		// OpenID Connect Core §5.3.2: else it may be somebody else's.
		if info.Subject != id.Subject {
			return none, fmt.Errorf("%w: the claims are of somebody else", ErrUntrue)
		}
		more := map[string]any{}
		if err := info.Claims(&more); err != nil {
			return none, fmt.Errorf("%w: read the claims: %w", ErrUntrue, err)
		}
		for name, v := range more {
			if _, known := who.Claims[name]; !known {
				who.Claims[name] = v
			}
		}
	}
	for _, claim := range []string{"name", "preferred_username"} {
		if who.Name == "" {
			who.Name = text(who.Claims[claim])
		}
	}
	return who, nil
}

func (c *Client) lacks(claims map[string]any) bool {
	for _, name := range c.cfg.Needs {
		if _, ok := Claim(claims, name); !ok {
			return true
		}
	}
	return false
}

// Claim is a claim by its name, or by the way to it: realm_access.roles.
func Claim(claims map[string]any, name string) (any, bool) {
	if v, ok := claims[name]; ok {
		return v, true
	}
	first, rest, ok := strings.Cut(name, ".")
	if !ok {
		return nil, false
	}
	inner, ok := claims[first].(map[string]any)
	if !ok {
		return nil, false
	}
	return Claim(inner, rest)
}

// maxTexts is how many values of one claim are looked at.
const maxTexts = 1000

// Texts is a claim that is a text or a list of them.
func Texts(v any) []string {
	switch v := v.(type) {
	case string:
		return []string{v}
	case []any:
		list := make([]string, 0, min(len(v), maxTexts))
		for _, item := range v[:min(len(v), maxTexts)] {
			if s, ok := item.(string); ok {
				list = append(list, s)
			}
		}
		return list
	}
	return nil
}

// text is a claim that is one text that people can read.
func text(v any) string {
	s, ok := v.(string)
	if !ok {
		return ""
	}
	s = strings.ToValidUTF8(s, "")
	if len(s) > 200 {
		s = strings.ToValidUTF8(s[:200], "")
	}
	return strings.TrimSpace(s)
}
