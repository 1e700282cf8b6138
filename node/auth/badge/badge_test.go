package badge_test

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"preau/node/auth/badge"
	"preau/node/keep"
)

const day = 24 * time.Hour

var noon = time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)

func open(t *testing.T, file string) *badge.Register {
	t.Helper()
	r, err := badge.Open(file, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func made(t *testing.T, r *badge.Register, name string, until time.Time) (badge.Badge, string) {
	t.Helper()
	b, code, err := r.Make(name, "admin", noon, until)
	if err != nil {
		t.Fatal(err)
	}
	return b, code
}

func TestACodeIsExchangedOnce(t *testing.T) {
	file := filepath.Join(t.TempDir(), "badges")
	r := open(t, file)
	b, code := made(t, r, " Anne Martin ", noon.Add(200*day))
	if b.Name != "Anne Martin" || len(code) != 19 || strings.Count(code, "-") != 3 {
		t.Errorf("%+v, %q", b, code)
	}
	p, err := os.ReadFile(file)
	if err != nil || strings.Contains(string(p), code) || strings.Contains(string(p), strings.ReplaceAll(code, "-", "")) {
		t.Errorf("the code lies on the disk (%v)", err)
	}
	r = open(t, file)
	got, err := r.Exchange(strings.ToLower(code), noon.Add(day))
	if err != nil || got.ID != b.ID || !got.Used.Equal(noon.Add(day)) {
		t.Fatalf("%+v, %v", got, err)
	}
	for name, r := range map[string]*badge.Register{"at once": r, "after a restart": open(t, file)} {
		if _, err := r.Exchange(code, noon.Add(day)); !errors.Is(err, badge.ErrUnknown) {
			t.Errorf("again %s: %v", name, err)
		}
		if !r.Live(b.ID, noon.Add(199*day)) || r.Live(b.ID, noon.Add(200*day)) {
			t.Errorf("%s it does not last until its end", name)
		}
	}
}

func TestWhatNoCodeIs(t *testing.T) {
	r := open(t, filepath.Join(t.TempDir(), "badges"))
	_, late := made(t, r, "late", noon.Add(200*day))
	short, ended := made(t, r, "short", noon.Add(day))
	revoked, code := made(t, r, "revoked", noon.Add(day))
	if _, err := r.Revoke(revoked.ID, noon); err != nil {
		t.Fatal(err)
	}
	renewed, old := made(t, r, "renewed", noon.Add(day))
	_, fresh, err := r.Again(renewed.ID, noon)
	if err != nil {
		t.Fatal(err)
	}
	for name, tt := range map[string]struct {
		code string
		now  time.Time
	}{
		"nothing":                {"", noon},
		"what was never made":    {"2222-2222-2222-2222", noon},
		"a code that is too old": {late, noon.Add(14 * day)},
		"of one that has ended":  {ended, short.Until},
		"of one that is revoked": {code, noon},
		"the one before":         {old, noon},
		"an id":                  {short.ID, noon},
	} {
		if _, err := r.Exchange(tt.code, tt.now); !errors.Is(err, badge.ErrUnknown) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := r.Exchange(fresh, noon); err != nil {
		t.Errorf("the new one: %v", err)
	}
	if r.Live(revoked.ID, noon) {
		t.Error("a revoked one lives")
	}
	if _, _, err := r.Again(revoked.ID, noon); !errors.Is(err, badge.ErrUnknown) {
		t.Errorf("a code for a revoked one: %v", err)
	}
	if _, err := r.Revoke("nobody", noon); !errors.Is(err, badge.ErrUnknown) {
		t.Errorf("%v", err)
	}
}

func TestWhatNoBadgeIs(t *testing.T) {
	r := open(t, filepath.Join(t.TempDir(), "badges"))
	for name, tt := range map[string]struct {
		name  string
		until time.Time
		want  error
	}{
		"no name":               {"  ", noon.Add(day), badge.ErrName},
		"a long name":           {strings.Repeat("é", 81), noon.Add(day), badge.ErrName},
		"a line break":          {"a\nb", noon.Add(day), badge.ErrName},
		"not text":              {"\xff", noon.Add(day), badge.ErrName},
		"over at once":          {"Anne", noon, badge.ErrUntil},
		"for more than a year":  {"Anne", noon.Add(367 * day), badge.ErrUntil},
		"for ever":              {"Anne", time.Date(9999, 1, 1, 0, 0, 0, 0, time.UTC), badge.ErrUntil},
		"without an end at all": {"Anne", time.Time{}, badge.ErrUntil},
	} {
		if _, _, err := r.Make(tt.name, "admin", noon, tt.until); !errors.Is(err, tt.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if len(r.List()) != 0 {
		t.Errorf("%v", r.List())
	}
}

func TestAClockPutBackBringsNothingBack(t *testing.T) {
	file := filepath.Join(t.TempDir(), "badges")
	r := open(t, file)
	b, code := made(t, r, "Anne", noon.Add(10*day))
	for d := range 12 {
		if err := r.Tick(noon.Add(time.Duration(d) * day)); err != nil {
			t.Fatal(err)
		}
	}
	r = open(t, file)
	if r.Live(b.ID, time.Unix(0, 0)) {
		t.Error("1970 brings an ended badge back")
	}
	if _, err := r.Exchange(code, time.Unix(0, 0)); !errors.Is(err, badge.ErrUnknown) {
		t.Errorf("%v", err)
	}
	other, _ := made(t, r, "Paul", noon.Add(100*day))
	if err := r.Tick(noon.AddDate(64, 0, 0)); err != nil {
		t.Fatal(err)
	}
	if r = open(t, file); r.Live(other.ID, noon.Add(20*day)) {
		// A clock that was at 2090 for a while: what it says may remove a badge, as
		// one can be made again, and never lets one live on.
		t.Log("the badge is still there")
	}
	last, _ := made(t, r, "Zoé", noon.Add(100*day))
	if !r.Live(last.ID, noon.Add(20*day)) {
		t.Error("after a clock at 2090 no badge lives any more")
	}
}

func TestBadgesAreListedAndBounded(t *testing.T) {
	file := filepath.Join(t.TempDir(), "badges")
	var full struct{ Badges []badge.Badge }
	for i := range badge.MaxBadges {
		full.Badges = append(full.Badges, badge.Badge{ID: fmt.Sprint(i), Name: "Anne", Made: noon, Until: noon.Add(day)})
	}
	if err := keep.Write(file, full); err != nil {
		t.Fatal(err)
	}
	r := open(t, file)
	if _, _, err := r.Make("one more", "admin", noon, noon.Add(day)); !errors.Is(err, badge.ErrFull) {
		t.Errorf("%v", err)
	}
	if _, err := r.Revoke(r.List()[7].ID, noon); err != nil {
		t.Fatal(err)
	}
	if _, _, err := r.Make("one more", "admin", noon.Add(time.Second), noon.Add(day)); err != nil {
		t.Errorf("there is room: %v", err)
	}
	if list := r.List(); len(list) != badge.MaxBadges || list[0].Name != "one more" {
		t.Errorf("%d, the first %+v", len(list), list[0])
	}
	if err := r.Tick(noon.Add(40 * day)); err != nil || len(r.List()) != 0 {
		t.Errorf("what ended long ago is listed: %d, %v", len(r.List()), err)
	}
	info, err := os.Stat(file)
	if err != nil || info.Size() > 1<<20 {
		t.Errorf("%v %v", info, err)
	}
}

func TestADiskThatTakesNothingChangesNothing(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "auth")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	r := open(t, filepath.Join(dir, "badges"))
	b, code := made(t, r, "Anne", noon.Add(day))
	if err := os.Rename(dir, dir+".away"); err != nil {
		t.Fatal(err)
	}
	if _, err := r.Exchange(code, noon); err == nil {
		t.Error("exchanged, which a restart would forget")
	}
	if _, err := r.Revoke(b.ID, noon); err == nil {
		t.Error("revoked, which a restart would forget")
	}
	if err := os.Rename(dir+".away", dir); err != nil {
		t.Fatal(err)
	}
	if _, err := r.Exchange(code, noon); err != nil {
		t.Errorf("%v", err)
	}
}

func TestDamagedBadgesAreLostAndNothingElse(t *testing.T) {
	file := filepath.Join(t.TempDir(), "badges")
	if err := os.WriteFile(file, []byte("junk"), 0o600); err != nil {
		t.Fatal(err)
	}
	r := open(t, file)
	if _, code := made(t, r, "Anne", noon.Add(day)); code == "" {
		t.Error("no code")
	}
}
