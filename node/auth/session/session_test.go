package session_test

import (
	"encoding/base64"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"pgregory.net/rapid"

	"preau/node/auth/session"
)

var (
	noon  = time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)
	rules = session.Rules{Idle: 2 * time.Hour, Length: 12 * time.Hour, Prolonged: 7 * 24 * time.Hour, BadgeIdle: 30 * 24 * time.Hour}
)

func open(t *testing.T, dir string) *session.Store {
	t.Helper()
	s, err := session.Open(dir, rules, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func begin(t *testing.T, s *session.Store, now time.Time, v session.Session) string {
	t.Helper()
	id, err := s.Begin(now, v)
	if err != nil {
		t.Fatal(err)
	}
	return id
}

func TestEnds(t *testing.T) {
	const h = time.Hour
	provider := session.Session{Kind: "provider", Begun: noon, Seen: noon.Add(h)}
	badge := session.Session{Kind: "badge", Begun: noon, Seen: noon.Add(h), Until: noon.Add(100 * 24 * h)}
	late := badge
	late.Seen = noon.Add(99 * 24 * h)
	busy := provider
	busy.Seen = noon.Add(11 * h)
	for name, tt := range map[string]struct {
		s    session.Session
		cut  bool
		want time.Duration
	}{
		"nobody is there":               {provider, false, 3 * h},
		"in use all day":                {busy, false, 12 * h},
		"the line is cut":               {provider, true, 7 * 24 * h},
		"a badge":                       {badge, false, 30*24*h + h},
		"a badge, and the line is cut":  {badge, true, 30*24*h + h},
		"a badge in use until its end":  {late, false, 100 * 24 * h},
		"one with an end of its own":    {session.Session{Begun: noon, Seen: noon, Until: noon.Add(h)}, true, h},
		"one with an end that is later": {session.Session{Begun: noon, Seen: noon, Until: noon.Add(90 * h)}, false, 2 * h},
	} {
		if got := rules.Ends(tt.s, tt.cut).Sub(noon); got != tt.want {
			t.Errorf("%s: after %v, want %v", name, got, tt.want)
		}
	}
}

func TestASessionIsFoundByItsID(t *testing.T) {
	s := open(t, t.TempDir())
	id := begin(t, s, noon, session.Session{Subject: "anne", Roles: []string{"teacher"}})
	got, ok := s.Find(id, noon.Add(time.Hour), false)
	if !ok || got.Subject != "anne" || !got.Seen.Equal(noon.Add(time.Hour)) || !got.Begun.Equal(noon) {
		t.Errorf("%+v, %v", got, ok)
	}
	raw, err := base64.RawURLEncoding.DecodeString(id)
	if err != nil || len(raw) != 32 {
		t.Errorf("an id of %d bytes, %v", len(raw), err)
	}
	for _, other := range []string{"", "x", id + "A", id[1:], strings.Repeat("A", 43), id[:42] + "_"} {
		if other != id {
			if _, ok := s.Find(other, noon, false); ok {
				t.Errorf("%q is somebody", other)
			}
		}
	}
}

func TestTheDiskDoesNotSayTheID(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir)
	id := begin(t, s, noon, session.Session{Subject: "anne"})
	raw, _ := base64.RawURLEncoding.DecodeString(id)
	files, err := os.ReadDir(dir)
	if err != nil || len(files) != 1 {
		t.Fatalf("%d files, %v", len(files), err)
	}
	p, err := os.ReadFile(filepath.Join(dir, files[0].Name()))
	if err != nil {
		t.Fatal(err)
	}
	for _, secret := range []string{id, fmt.Sprintf("%x", raw), base64.StdEncoding.EncodeToString(raw)} {
		if strings.Contains(files[0].Name()+string(p), secret) {
			t.Error("the id lies on the disk")
		}
	}
}

func TestSessionsSurviveARestart(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir)
	kept := begin(t, s, noon, session.Session{Subject: "anne", Strong: true, Roles: []string{"school"}})
	ended := begin(t, s, noon, session.Session{Subject: "paul"})
	if err := s.End(ended); err != nil {
		t.Fatal(err)
	}
	s = open(t, dir)
	if got, ok := s.Find(kept, noon.Add(time.Minute), false); !ok || !got.Strong || got.Roles[0] != "school" {
		t.Errorf("%+v, %v", got, ok)
	}
	if _, ok := s.Find(ended, noon, false); ok {
		t.Error("who signed out is in again")
	}
}

func TestADamagedRecordSignsOneOut(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir)
	id := begin(t, s, noon, session.Session{Subject: "anne"})
	files, _ := os.ReadDir(dir)
	name := filepath.Join(dir, files[0].Name())
	p, _ := os.ReadFile(name)
	p[len(p)/2] ^= 4
	for _, junk := range []string{name, name + ".new", filepath.Join(dir, "junk"), filepath.Join(dir, strings.Repeat("ab", 32))} {
		if err := os.WriteFile(junk, p, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	s = open(t, dir)
	if _, ok := s.Find(id, noon, false); ok {
		t.Error("still signed in")
	}
	if files, _ := os.ReadDir(dir); len(files) != 0 {
		t.Errorf("left: %v", files)
	}
	other := begin(t, s, noon, session.Session{Subject: "anne"})
	if _, ok := s.Find(other, noon, false); !ok {
		t.Error("nobody can sign in any more")
	}
}

func TestWhileTheLineIsCutSessionsGoOn(t *testing.T) {
	s := open(t, t.TempDir())
	id := begin(t, s, noon, session.Session{Kind: "provider", Subject: "anne"})
	for _, days := range []int{1, 3, 6} {
		if _, ok := s.Find(id, noon.Add(time.Duration(days)*24*time.Hour), true); !ok {
			t.Fatalf("over after %d days", days)
		}
	}
	if _, ok := s.Find(id, noon.Add(7*24*time.Hour), true); ok {
		t.Error("it goes on for ever")
	}
	id = begin(t, s, noon, session.Session{Kind: "provider", Subject: "anne"})
	s.Sweep(noon.Add(3*time.Hour), false)
	if _, ok := s.Find(id, noon.Add(3*time.Hour), true); ok {
		t.Error("one that was over came back")
	}
}

func TestAClockThatLeapsEndsNothingAndGivesNothing(t *testing.T) {
	y1970 := time.Unix(60, 0)
	for name, leap := range map[string]struct{ from, to time.Time }{
		"from 1970 to now": {y1970, noon},
		"back to 1970":     {noon, y1970},
		"back from 2090":   {noon.AddDate(64, 0, 0), noon},
	} {
		t.Run(name, func(t *testing.T) {
			s := open(t, t.TempDir())
			id := begin(t, s, leap.from, session.Session{Kind: "provider", Subject: "anne"})
			for h := range 11 {
				if _, ok := s.Find(id, leap.from.Add(time.Duration(h)*time.Hour), false); !ok {
					t.Fatalf("over after %d hours", h)
				}
			}
			if _, ok := s.Find(id, leap.to, false); !ok {
				t.Fatal("the leap ended it")
			}
			if _, ok := s.Find(id, leap.to.Add(90*time.Minute), false); !ok {
				t.Error("over too soon")
			}
			if _, ok := s.Find(id, leap.to.Add(2*time.Hour+time.Second), false); ok {
				t.Error("the leap made it longer than 12 hours")
			}
		})
	}
}

func TestThereIsABoundOnSessions(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir)
	first := begin(t, s, noon, session.Session{Subject: "other"})
	ids := make([]string, 30)
	for i := range ids {
		ids[i] = begin(t, s, noon.Add(time.Duration(i)*time.Second), session.Session{Subject: "anne"})
	}
	at := noon.Add(time.Minute)
	if _, ok := s.Find(ids[0], at, false); ok {
		t.Error("the oldest of one person is still there")
	}
	if _, ok := s.Find(ids[29], at, false); !ok {
		t.Error("the newest is gone")
	}
	if _, ok := s.Find(first, at, false); !ok {
		t.Error("somebody else's is gone")
	}
	if files, _ := os.ReadDir(dir); len(files) != s.Len() || s.Len() != 21 {
		t.Errorf("%d sessions in %d files", s.Len(), len(files))
	}
	n, err := s.EndAll(func(v session.Session) bool { return v.Subject == "anne" })
	if err != nil || n != 20 || s.Len() != 1 {
		t.Errorf("ended %d, %v, left %d", n, err, s.Len())
	}
}

func TestAFullDiskSignsNobodyOut(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "sessions")
	s := open(t, dir)
	ended := begin(t, s, noon, session.Session{Subject: "paul"})
	if err := os.Rename(dir, dir+".away"); err != nil {
		t.Fatal(err)
	}
	id, err := s.Begin(noon, session.Session{Subject: "anne"})
	if err == nil {
		t.Error("nobody is told")
	}
	if _, ok := s.Find(id, noon, false); !ok {
		t.Error("nobody can sign in")
	}
	if err := s.End(ended); err == nil {
		t.Log("there was nothing to remove")
	}
	if err := os.Rename(dir+".away", dir); err != nil {
		t.Fatal(err)
	}
	if err := s.Save(); err != nil {
		t.Fatal(err)
	}
	if _, ok := open(t, dir).Find(id, noon, false); !ok {
		t.Error("it was not written later")
	}
}

func TestManyComeAndGoAtOnce(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir)
	var all sync.WaitGroup
	var mu sync.Mutex
	var kept []string
	for i := range 8 {
		all.Go(func() {
			for j := range 5 {
				at := noon.Add(time.Duration(j) * 2 * time.Minute)
				id, err := s.Begin(at, session.Session{Subject: fmt.Sprint(i)})
				if err != nil {
					t.Error(err)
				}
				if _, ok := s.Find(id, at, false); !ok {
					t.Error("not found")
				}
				s.Sweep(at, false)
				if j%2 == 0 {
					if err := s.End(id); err != nil {
						t.Error(err)
					}
					continue
				}
				mu.Lock()
				kept = append(kept, id)
				mu.Unlock()
			}
		})
	}
	all.Wait()
	s = open(t, dir)
	for _, id := range kept {
		if _, ok := s.Find(id, noon.Add(10*time.Minute), false); !ok {
			t.Error("one is lost")
		}
	}
	if s.Len() != len(kept) || len(kept) != 16 {
		t.Errorf("%d of %d", s.Len(), len(kept))
	}
}

// Whatever the clock does, no session is in use for longer than its bounds.
func TestNoSessionOutlivesItsBounds(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		now := noon
		v := session.Session{Kind: "provider", Begun: now, Seen: now}
		lived := time.Duration(0)
		for range rapid.IntRange(1, 60).Draw(t, "steps") {
			step := time.Duration(rapid.IntRange(1, 110).Draw(t, "minutes")) * time.Minute
			now = now.Add(step)
			v = session.Redate(v, now)
			if !now.Before(rules.Ends(v, false)) {
				return
			}
			lived += step
			v.Seen = now
			if lived >= rules.Length {
				t.Fatalf("in use for %v", lived)
			}
			if rapid.Bool().Draw(t, "the clock is put back") {
				now = now.Add(-time.Duration(rapid.IntRange(6, 1e6).Draw(t, "by")) * time.Minute)
				if moved := session.Redate(v, now); now.Before(rules.Ends(moved, false)) {
					v = moved
				}
			}
		}
	})
}

func FuzzFind(f *testing.F) {
	f.Add("")
	f.Add(strings.Repeat("A", 43))
	f.Add("\x00\xff")
	s, err := session.Open(f.TempDir(), rules, slog.New(slog.DiscardHandler))
	if err != nil {
		f.Fatal(err)
	}
	id, err := s.Begin(noon, session.Session{Subject: "anne"})
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, other string) {
		if _, ok := s.Find(other, noon, false); ok != (other == id) {
			t.Errorf("%q: %v", other, ok)
		}
	})
}
