package enrol_test

import (
	"bytes"
	"errors"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"time"

	"preau/replication/enrol"
	"preau/replication/identity"
	"preau/replication/wire"
)

func sample(tb testing.TB) enrol.Token {
	tb.Helper()
	token, err := enrol.NewToken("0123456789abcdef", wire.Pin{1, 2, 3}, []string{"s1.region.example:443", "192.0.2.1:443", "[2001:db8::1]:443"})
	if err != nil {
		tb.Fatal(err)
	}
	return token
}

func equal(a, b enrol.Token) bool {
	return a.Region == b.Region && a.Authority == b.Authority && a.ID == b.ID && a.Secret == b.Secret && slices.Equal(a.Servers, b.Servers)
}

func TestTokensSurvivePasting(t *testing.T) {
	token := sample(t)
	text := token.String()
	var wrapped strings.Builder
	for line := range slices.Chunk([]byte(text), 30) {
		wrapped.WriteString("  " + string(line) + "\r\n")
	}
	for name, pasted := range map[string]string{
		"as it is": text, "lower case": strings.ToLower(text), "wrapped": wrapped.String(), "hyphens": strings.ReplaceAll(text, "A", "A-"),
	} {
		got, err := enrol.ParseToken(pasted)
		if err != nil || !equal(got, token) {
			t.Errorf("%s: %v", name, err)
		}
	}
	// Version 10-M of a QR code, readable from a terminal, holds 311 characters.
	if len(text) > 311 {
		t.Errorf("the token has %d characters: too many for a small QR code", len(text))
	}
}

func TestEveryCutAndEveryTypingErrorIsTold(t *testing.T) {
	text := sample(t).String()
	for cut := range len(text) {
		if _, err := enrol.ParseToken(text[:cut]); !errors.Is(err, enrol.ErrTokenTruncated) {
			t.Errorf("cut after %d of %d: %v, want ErrTokenTruncated", cut, len(text), err)
		}
	}
	const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567"
	for at := range len(text) {
		if text[at] == '-' {
			continue
		}
		for _, c := range alphabet + "0189!é" {
			typed := text[:at] + string(c) + text[at+1:]
			if typed == text {
				continue
			}
			if got, err := enrol.ParseToken(typed); err == nil {
				t.Fatalf("character %d typed as %c: read as %v", at, c, got.ID)
			} else if at > len("PREAU1-")+4 && !errors.Is(err, enrol.ErrTokenMistyped) {
				t.Fatalf("character %d typed as %c: %v, want ErrTokenMistyped", at, c, err)
			}
		}
	}
	for name, tt := range map[string]struct {
		text string
		want error
	}{
		"another version": {"PREAU2-" + text[7:], enrol.ErrTokenVersion},
		"too long":        {text + "A", enrol.ErrTokenMistyped},
		"twice":           {text + text, enrol.ErrTokenMistyped},
		"something else":  {"hello", enrol.ErrTokenMistyped},
		"a megabyte":      {strings.Repeat("A", 1<<20), enrol.ErrTokenMistyped},
	} {
		if _, err := enrol.ParseToken(tt.text); !errors.Is(err, tt.want) {
			t.Errorf("%s: %v, want %v", name, err, tt.want)
		}
	}
}

func TestNewTokenWantsAddresses(t *testing.T) {
	for _, servers := range [][]string{
		nil, {"a:1", "b:1", "c:1", "d:1"}, {"noport"}, {":443"}, {"a:0"}, {"a:http"}, {"a:70000"}, {"a b:1"}, {strings.Repeat("a", 100) + ":1"},
	} {
		if _, err := enrol.NewToken("0123456789abcdef", wire.Pin{}, servers); err == nil {
			t.Errorf("%.60q were accepted", servers)
		}
	}
}

func TestSecretsStayOutOfLogs(t *testing.T) {
	token := sample(t)
	var out bytes.Buffer
	log := slog.New(slog.NewTextHandler(&out, nil))
	log.Info("x", "token", token, "secret", token.Secret, "region", enrol.NewSecret(), "phrase", enrol.Passphrase("hunter2"))
	if strings.Contains(out.String(), token.String()) || strings.Contains(out.String(), "hunter2") || strings.Count(out.String(), "(secret)") != 3 {
		t.Errorf("logged %s", out.String())
	}
}

func TestTokenRecordCheck(t *testing.T) {
	now := time.Now()
	token := sample(t)
	record := enrol.TokenRecord{ID: token.ID, Secret: token.Hash(), Role: identity.Box, School: "0690001A", NotAfter: now, Uses: 2}
	good := enrol.Redemption{Token: token.ID, Secret: token.Hash(), Role: identity.Box, Name: "b1"}
	tests := map[string]struct {
		change func(*enrol.Redemption)
		used   int
		now    time.Time
		want   error
	}{
		"good":           {now: now, used: 1},
		"same school":    {now: now, change: func(r *enrol.Redemption) { r.School = "0690001A" }},
		"other school":   {now: now, change: func(r *enrol.Redemption) { r.School = "0690002B" }, want: enrol.ErrNotForThis},
		"other role":     {now: now, change: func(r *enrol.Redemption) { r.Role = identity.Server }, want: enrol.ErrNotForThis},
		"wrong secret":   {now: now, change: func(r *enrol.Redemption) { r.Secret[31]++ }, want: enrol.ErrTokenUnknown},
		"wrong id":       {now: now, change: func(r *enrol.Redemption) { r.Token[0]++ }, want: enrol.ErrTokenUnknown},
		"used up":        {now: now, used: 2, want: enrol.ErrTokenUsed},
		"expired":        {now: now.Add(time.Second), want: enrol.ErrTokenExpired},
		"wrong, expired": {now: now.Add(time.Second), change: func(r *enrol.Redemption) { r.Secret[0]++ }, want: enrol.ErrTokenUnknown},
	}
	for name, tt := range tests {
		r := good
		if tt.change != nil {
			tt.change(&r)
		}
		if err := record.Check(r, tt.used, tt.now); !errors.Is(err, tt.want) {
			t.Errorf("%s: %v, want %v", name, err, tt.want)
		}
	}
}

func FuzzParseToken(f *testing.F) {
	text := sample(f).String()
	f.Add(text)
	f.Add(strings.ToLower(text))
	f.Add(text[:40])
	f.Add("PREAU1-" + strings.Repeat("A", 200))
	f.Fuzz(func(t *testing.T, text string) {
		token, err := enrol.ParseToken(text)
		if err != nil {
			if !errors.Is(err, enrol.ErrTokenMistyped) && !errors.Is(err, enrol.ErrTokenTruncated) && !errors.Is(err, enrol.ErrTokenVersion) {
				t.Errorf("an error of no kind: %v", err)
			}
			return
		}
		again, err := enrol.ParseToken(token.String())
		if err != nil || !equal(again, token) {
			t.Errorf("written and read again: %v", err)
		}
	})
}
