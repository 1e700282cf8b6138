package claim_test

import (
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"preau/node/auth/claim"
)

var noon = time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)

func open(t *testing.T, file string) *claim.Claim {
	t.Helper()
	c, err := claim.Open(file, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	return c
}

var shape = regexp.MustCompile(`^[2-9A-HJKMNP-TV-Z]{4}-[2-9A-HJKMNP-TV-Z]{4}$`)

func TestACodeClaimsTheBoxOnce(t *testing.T) {
	file := filepath.Join(t.TempDir(), "claim")
	c := open(t, file)
	code, can := c.Code()
	if !can || !shape.MatchString(code) {
		t.Fatalf("%q, %v", code, can)
	}
	if again, _ := open(t, file).Code(); again != code {
		t.Errorf("after a restart %q, want %q", again, code)
	}
	for _, wrong := range []string{"", "AAAA-AAAA", code[:8], code + "A", code + "\x00"} {
		if err := c.Use(wrong, noon); !errors.Is(err, claim.ErrWrong) {
			t.Errorf("%q: %v", wrong, err)
		}
	}
	if err := c.Use(" "+strings.ToLower(strings.ReplaceAll(code, "-", " – "))+" ", noon); err != nil {
		t.Fatal(err)
	}
	for name, now := range map[string]*claim.Claim{"at once": c, "after a restart": open(t, file)} {
		if err := now.Use(code, noon); !errors.Is(err, claim.ErrClaimed) {
			t.Errorf("%s: %v", name, err)
		}
		if code, can := now.Code(); can || code != "" {
			t.Errorf("%s there is %q", name, code)
		}
	}
	p, _ := os.ReadFile(file)
	if strings.Contains(string(p), code) {
		t.Error("the code is still on the disk")
	}
}

func TestTheCodeIsPrintedOnce(t *testing.T) {
	file := filepath.Join(t.TempDir(), "claim")
	c := open(t, file)
	code, _ := c.Code()
	if got, first, err := c.Print(); got != code || !first || err != nil {
		t.Errorf("%q %v %v", got, first, err)
	}
	if _, first, _ := c.Print(); first {
		t.Error("twice")
	}
	c = open(t, file)
	if _, first, _ := c.Print(); first {
		t.Error("again after a restart")
	}
	if err := c.Again(); err != nil {
		t.Fatal(err)
	}
	if got, first, _ := c.Print(); !first || got == code {
		t.Errorf("a new code: %q %v", got, first)
	}
}

func TestADamagedFileMakesANewCode(t *testing.T) {
	file := filepath.Join(t.TempDir(), "claim")
	c := open(t, file)
	code, _ := c.Code()
	if err := c.Use(code, noon); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, []byte("junk"), 0o600); err != nil {
		t.Fatal(err)
	}
	c = open(t, file)
	other, can := c.Code()
	if !can || other == code {
		t.Errorf("%q %v", other, can)
	}
	if err := c.Use(code, noon); !errors.Is(err, claim.ErrWrong) {
		t.Errorf("the old code: %v", err)
	}
}

func TestADiskThatTakesNothingDoesNotStopTheBox(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "missing")
	c := open(t, filepath.Join(dir, "claim"))
	code, can := c.Code()
	if !can {
		t.Fatal("no code")
	}
	if err := c.Use(code, noon); err == nil || errors.Is(err, claim.ErrWrong) {
		t.Errorf("claimed, which a restart would forget: %v", err)
	}
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := c.Use(code, noon); err != nil {
		t.Errorf("the code does not work any more: %v", err)
	}
}

func TestOfManyAtOnceOneClaims(t *testing.T) {
	c := open(t, filepath.Join(t.TempDir(), "claim"))
	code, _ := c.Code()
	var won atomic.Int32
	var all sync.WaitGroup
	for range 20 {
		all.Go(func() {
			if c.Use(code, noon) == nil {
				won.Add(1)
			}
		})
	}
	all.Wait()
	if won.Load() != 1 {
		t.Errorf("%d claimed it", won.Load())
	}
}

func FuzzUse(f *testing.F) {
	c, err := claim.Open(filepath.Join(f.TempDir(), "claim"), slog.New(slog.DiscardHandler))
	if err != nil {
		f.Fatal(err)
	}
	f.Add("")
	f.Add("ABCD-EFGH")
	f.Fuzz(func(t *testing.T, typed string) {
		code, _ := c.Code()
		if claim.Plain(typed) == claim.Plain(code) {
			t.Skip("guessed")
		}
		if err := c.Use(typed, noon); !errors.Is(err, claim.ErrWrong) {
			t.Errorf("%q: %v", typed, err)
		}
	})
}
