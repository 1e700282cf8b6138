package outbox_test

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"preau/cache/block"
	"preau/replication/hold"
	"preau/replication/outbox"
)

const away = outbox.DefaultAway + 2*time.Minute

func TestAFileIsOnTwoBoxesBeforeItIsAcknowledged(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newSchool(t, "a", "b")
		body := noise(1, 600<<10)
		for name, content := range map[string][]byte{"film": body, "again": body, "empty": nil} {
			d := s.copied("a", name, content)
			if d.Copies != 2 || len(d.Held) != 1 || d.Held[0] != "b" {
				t.Errorf("%s: %+v", name, d)
			}
			on, ok := s.look("b", d.ID)
			if !ok || !bytes.Equal(content0(t, s.box("b").Outbox, d.ID), content) || on.From != "a" || on.Copies != 2 || on.Filename != name {
				t.Errorf("%s on b: %+v", name, on)
			}
		}
		if n := len(s.box("b").Guests()); n != 3 || len(s.box("b").List()) != 0 {
			t.Errorf("%d guests, %d own", n, len(s.box("b").List()))
		}
		if s.box("a").Alone() != 0 || s.box("b").Alone() != 0 {
			t.Error("a box says that something is on it alone")
		}
	})
}

func content0(t *testing.T, o *outbox.Outbox, id string) []byte {
	t.Helper()
	if b := content(t, o, id); len(b) > 0 {
		return b
	}
	return nil
}

func TestWithoutAnotherBoxNobodyWaits(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newSchool(t, "a")
		start := time.Now()
		d := s.copied("a", "f", []byte("f"))
		if d.Copies != 1 || time.Since(start) > time.Second || s.box("a").Alone() != 1 {
			t.Errorf("%+v after %v", d, time.Since(start))
		}
		// Another box comes: then there is a copy.
		s.start("b", outbox.Config{Dir: filepath.Join(t.TempDir(), "b")})
		<-time.After(time.Minute)
		if d, ok := s.look("a", d.ID); !ok || d.Copies != 2 {
			t.Errorf("%+v", d)
		}
	})
}

// A box that can't be reached, or dies in the middle of a copy, keeps nobody
// waiting for long, and the next one gets it.
func TestABoxThatDiesInTheMiddleIsNotWaitedFor(t *testing.T) {
	t.Parallel()
	for _, at := range []string{"offer", "offer done", "put", "put done", "keep", "keep done"} {
		t.Run(at, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newSchool(t, "a", "b", "c")
				died := ""
				s.on(func(_, to, what string) error {
					s.mu.Lock()
					defer s.mu.Unlock()
					if what == at && died == "" {
						died = to
						s.boxes[to].dead = true
					}
					return nil
				})
				body := noise(2, 20<<10)
				d := s.copied("a", "f", body)
				if d.Copies != 2 || died == "" || d.Held[0] == died {
					t.Fatalf("%+v, %s died", d, died)
				}
				if !bytes.Equal(content(t, s.box(d.Held[0]).Outbox, d.ID), body) {
					t.Error("other bytes")
				}
			})
		})
	}
}

func TestWhatTheRegionHasNeedsNoCopy(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newSchool(t, "a", "b")
		d := s.copied("a", "f", noise(3, 3000))
		s.region.set(true)
		<-time.After(5 * time.Minute) // a finds the line and b is told by a
		for _, name := range []string{"a", "b"} {
			m := s.box(name)
			if n := len(m.Guests()); n != 0 {
				t.Errorf("%s keeps %d guests", name, n)
			}
		}
		if _, ok := s.look("b", d.ID); ok {
			t.Error("b still has it")
		}
		if d, ok := s.look("a", d.ID); !ok || d.State != outbox.InRegion || d.Copies != 1 {
			t.Errorf("%+v", d)
		}
		// What b hears from the region is enough, too.
		s.region.set(false)
		e := s.copied("a", "g", []byte("g"))
		s.region.put(e)
		s.feed()
		if n := len(s.box("b").Guests()); n != 0 {
			t.Errorf("b keeps %d guests", n)
		}
	})
}

// The box on which it was added is gone: another one brings it, and when the
// first is back there is still one.
func TestAnotherBoxBringsWhatItsOwnCant(t *testing.T) {
	t.Parallel()
	for name, back := range map[string]func(s *school){
		"for ever":        func(*school) {},
		"back":            func(s *school) { s.restart("a") },
		"back, disk lost": func(s *school) { s.wipe("a"); s.restart("a") },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newSchool(t, "a", "b")
				d := s.copied("a", "f", noise(4, 3000))
				s.kill("a")
				<-time.After(away)
				if on, ok := s.look("b", d.ID); !ok || on.From != "a" || s.box("b").Alone() != 1 {
					t.Fatalf("b has not taken it over: %+v", on)
				}
				back(s)
				<-time.After(away)
				s.region.set(true)
				<-time.After(away)
				got, ok := s.region.get(d.ID)
				if !ok || !got.Same(&d) || s.region.count(d.SHA256) != 1 {
					t.Errorf("the region has %+v, and %d of it", got, s.region.count(d.SHA256))
				}
				s.feed()
				for _, m := range s.all() {
					if s.alive(m.name) && (m.Alone() != 0 || len(m.Guests()) != 0) {
						t.Errorf("%s has %d alone and %d guests", m.name, m.Alone(), len(m.Guests()))
					}
				}
			})
		})
	}
}

// A box that has lost its disk says so, and what was kept for it is brought at
// once.
func TestABoxWithoutItsDiskHasItsFilesBrought(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newSchool(t, "a", "b")
		d := s.copied("a", "f", noise(5, 1000))
		s.wipe("a")
		s.restart("a")
		s.region.set(true)
		<-time.After(outbox.DefaultAway / 2)
		if got, ok := s.region.get(d.ID); !ok || got.From != "b" {
			t.Errorf("the region has %+v", got)
		}
	})
}

func TestWhatComesFromARevokedBoxIsNotBroughtAndKeptForAWhile(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newSchool(t, "a", "b", "c")
		ds := map[string]outbox.Deposit{}
		for _, name := range []string{"f", "g", "h", "i"} {
			ds[name] = s.copied("a", name, []byte(name))
		}
		s.kill("a")
		s.revoke("a")
		s.region.set(true)
		<-time.After(keepRevoked - time.Hour)
		guests := func() int { return len(s.box("b").Guests()) + len(s.box("c").Guests()) }
		if n := guests(); n != len(ds) {
			t.Errorf("%d of %d are kept", n, len(ds))
		}
		<-time.After(2 * time.Hour)
		if n := guests(); n != 0 {
			t.Errorf("%d are kept", n)
		}
		if n := s.region.len(); n != 0 {
			t.Errorf("the region has %d", n)
		}
	})
}

// What was taken over before the box was revoked is not brought either.
func TestWhatWasTakenOverFromARevokedBoxWaits(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newSchool(t, "a", "b")
		d := s.copied("a", "f", []byte("f"))
		s.kill("a")
		<-time.After(away)
		s.revoke("a")
		s.region.set(true)
		<-time.After(time.Hour)
		if on, ok := s.look("b", d.ID); !ok || on.State != outbox.OnBox || on.Waiting == "" || s.region.len() != 0 {
			t.Errorf("%+v, the region has %d", on, s.region.len())
		}
	})
}

// A box that is away for long, or drains, keeps its copy for nothing: another gets
// one. When it is back, it gives its own up.
func TestACopyMovesAndIsNotDoubled(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct{ leave, back func(s *school, who string) }{
		"away":   {func(s *school, who string) { s.kill(who) }, func(s *school, who string) { s.restart(who) }},
		"drains": {func(s *school, who string) { s.leave(who, true) }, func(s *school, who string) { s.leave(who, false) }},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newSchool(t, "a", "b", "c")
				d := s.copied("a", "f", noise(6, 1000))
				first := d.Held[0]
				tt.leave(s, first)
				<-time.After(away)
				d, _ = s.look("a", d.ID)
				if len(d.Held) != 1 || d.Held[0] == first || d.Copies != 2 {
					t.Fatalf("%+v", d)
				}
				tt.back(s, first)
				<-time.After(away)
				if n := len(s.box("b").Guests()) + len(s.box("c").Guests()); n != 1 {
					t.Errorf("%d copies", n)
				}
				if now, _ := s.look("a", d.ID); now.Copies != 2 || now.Held[0] != d.Held[0] {
					t.Errorf("%+v", now)
				}
			})
		})
	}
}

func TestAFullDiskTakesNoCopies(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newSchool(t, "a")
		b, err := outbox.Open(outbox.Config{Dir: t.TempDir(), ReserveBytes: 1 << 60}, quiet, prometheus.NewRegistry())
		if err != nil {
			t.Fatal(err)
		}
		full := &member{Outbox: b, name: "b", stop: func() {
			if err := b.Close(); err != nil {
				t.Error(err)
			}
		}}
		s.mu.Lock()
		s.boxes["b"] = full
		s.mu.Unlock()
		if d := s.copied("a", "f", []byte("f")); d.Copies != 1 || s.box("a").Alone() != 1 {
			t.Errorf("%+v", d)
		}
		s.start("c", outbox.Config{Dir: filepath.Join(t.TempDir(), "c")})
		<-time.After(5 * time.Minute)
		if n := s.box("a").Alone(); n != 0 || len(s.box("c").Guests()) != 1 {
			t.Errorf("%d are alone", n)
		}
	})
}

// A box gives half of its room to others, and says why it gives no more.
func TestGuestsTakeHalfOfTheRoomAtMost(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newSchool(t, "a")
		b := s.start("b", outbox.Config{Dir: filepath.Join(t.TempDir(), "b"), Budget: 2 << 20})
		if d := s.copied("a", "f", noise(7, 900<<10)); d.Copies != 2 {
			t.Fatalf("%+v", d)
		}
		d := s.copied("a", "g", noise(8, 900<<10))
		if d.Copies != 1 {
			t.Fatalf("%+v", d)
		}
		_, _, err := b.Offered(t.Context(), "x", d, nil)
		if !errors.Is(err, outbox.ErrOffer) { // without its list it is nothing
			t.Error(err)
		}
		add(t, b.Outbox, "own", noise(9, 900<<10)) // there is room for the box's own
		s.region.set(true)
		<-time.After(away)
		if d, _ := s.look("a", d.ID); d.State != outbox.InRegion {
			t.Errorf("%+v", d)
		}
	})
}

// What comes in is measured against what was offered, and a name is made of what
// it names.
func TestAForgedCopyIsRefused(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newSchool(t, "a", "b")
		body := noise(10, 1000)
		d := s.copied("a", "f", body)
		b := s.box("b")
		list, err := os.ReadFile(filepath.Join(s.box("a").dir, "blocks", d.List.String()[:2], d.List.String()))
		if err != nil {
			t.Fatal(err)
		}
		change := func(fn func(d *outbox.Deposit)) outbox.Deposit {
			forged := d
			fn(&forged)
			return forged
		}
		for name, tt := range map[string]struct {
			box string
			d   outbox.Deposit
		}{
			"another title":     {"c", change(func(d *outbox.Deposit) { d.Title = "x" })},
			"another file":      {"c", change(func(d *outbox.Deposit) { d.SHA256 = block.Sum(nil) })},
			"another length":    {"c", change(func(d *outbox.Deposit) { d.Length++ })},
			"another list":      {"c", change(func(d *outbox.Deposit) { d.List = block.Sum(nil) })},
			"a path for an id":  {"c", change(func(d *outbox.Deposit) { d.ID = "../d-0123456789" })},
			"a name of nothing": {"c", change(func(d *outbox.Deposit) { d.Nonce = 0 })},
			"no box":            {"../c", d},
		} {
			if _, _, err := b.Offered(t.Context(), tt.box, tt.d, list); !errors.Is(err, outbox.ErrOffer) {
				t.Errorf("%s: %v", name, err)
			}
		}
		// Another box may offer the same.
		if _, _, err := b.Offered(t.Context(), "c", d, list); err != nil {
			t.Fatal(err)
		}
		if err := b.PutGuest(t.Context(), "c", d.ID, block.Sum(body), []byte("other bytes")); !errors.Is(err, outbox.ErrOffer) {
			t.Errorf("other bytes: %v", err)
		}
		if err := b.PutGuest(t.Context(), "c", d.ID, block.Sum([]byte("x")), []byte("x")); !errors.Is(err, outbox.ErrOffer) {
			t.Errorf("a block that is not of it: %v", err)
		}
		if err := b.PutGuest(t.Context(), "x", d.ID, block.Sum(body), body); !errors.Is(err, outbox.ErrNotFound) {
			t.Errorf("in another box's name: %v", err)
		}
		if err := b.KeepGuest(t.Context(), "c", d.ID); err != nil {
			t.Fatal(err)
		}
		if on, _ := s.look("b", d.ID); on.Title != "" || on.From != "a" {
			t.Errorf("the link leads to %+v", on)
		}
		if err := errors.Join(b.DropGuest("c", d.ID), b.DropGuest("x", d.ID), b.AdoptGuest("x", d.ID)); err != nil {
			t.Error(err)
		}
		if !bytes.Equal(content(t, b.Outbox, d.ID), body) {
			t.Error("another box has dropped a's copy")
		}
	})
}

// Whoever takes an id first in the region keeps nobody from bringing his own.
func TestAnIDThatIsTakenIsChanged(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newSchool(t, "a")
		d := s.copied("a", "f", []byte("f"))
		s.region.put(outbox.Deposit{ID: d.ID, Filename: "forged", From: "x"})
		s.region.set(true)
		<-time.After(time.Hour)
		now, _ := s.look("a", d.ID)
		if now.State != outbox.InRegion || now.As == "" || now.As == d.ID {
			t.Fatalf("%+v", now)
		}
		if got, ok := s.region.get(now.As); !ok || !got.Same(&d) {
			t.Errorf("the region has %+v", got)
		}
		s.kill("a")
		a := s.restart("a")
		if err := a.Learn(d.ID, outbox.InCentral, "b", "forged", "", ""); err != nil {
			t.Error(err)
		}
		if err := a.Learn(now.As, outbox.InCentral, "b", "k", "", ""); err != nil {
			t.Error(err)
		}
		if now, _ := s.look("a", d.ID); now.State != outbox.InCentral || now.Key != "k" {
			t.Errorf("%+v", now)
		}
	})
}

// A record of a copy that can't be read is put aside, and the copy made anew.
func TestADamagedCopyIsMadeAnew(t *testing.T) {
	t.Parallel()
	for name, harm := range map[string]func(t *testing.T, dir string, d outbox.Deposit){
		"record": func(t *testing.T, dir string, d outbox.Deposit) {
			t.Helper()
			if err := os.WriteFile(filepath.Join(dir, "guests", "a", d.ID), bytes.Repeat([]byte("x"), 200), 0o600); err != nil {
				t.Fatal(err)
			}
		},
		"list": func(t *testing.T, dir string, d outbox.Deposit) {
			t.Helper()
			if err := os.Remove(filepath.Join(dir, "blocks", d.List.String()[:2], d.List.String())); err != nil {
				t.Fatal(err)
			}
		},
		"block": func(t *testing.T, dir string, d outbox.Deposit) {
			t.Helper()
			if err := os.Remove(filepath.Join(dir, "blocks", d.SHA256.String()[:2], d.SHA256.String())); err != nil {
				t.Fatal(err)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newSchool(t, "a", "b")
				body := noise(11, 3000)
				d := s.copied("a", "f", body)
				s.kill("b")
				harm(t, s.box("b").dir, d)
				b := s.restart("b")
				<-time.After(away)
				if !bytes.Equal(content(t, b.Outbox, d.ID), body) {
					t.Error("other bytes")
				}
				if left, err := filepath.Glob(filepath.Join(b.dir, "guests", "a", "*.damaged")); err != nil || len(left) != 0 {
					t.Errorf("%v, %v", left, err)
				}
			})
		})
	}
}

// A deposit of which a block is lost on its own box is brought by the one with
// the copy.
func TestWhatCantBeReadOnItsOwnBoxIsBroughtByTheOther(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newSchool(t, "a", "b")
		d := s.copied("a", "f", noise(12, 3000))
		s.kill("a")
		if err := os.Remove(filepath.Join(s.box("a").dir, "blocks", d.SHA256.String()[:2], d.SHA256.String())); err != nil {
			t.Fatal(err)
		}
		s.restart("a")
		s.region.set(true)
		<-time.After(away / 2)
		// Either may come first with the name: the other's bytes are here again by then.
		if got, ok := s.region.get(d.ID); !ok || !s.region.holds(d.SHA256) {
			t.Errorf("the region has %+v", got)
		}
	})
}

// Blocks of a copy that never came whole are removed.
func TestWhatIsLeftOfACopyThatNeverCameIsRemoved(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newSchool(t, "a", "b")
		s.on(func(_, _, what string) error {
			if what == "keep" {
				return errDead
			}
			return nil
		})
		d := s.copied("a", "f", noise(13, 300<<10))
		if d.Copies != 1 {
			t.Fatalf("%+v", d)
		}
		s.kill("a")
		<-time.After(time.Hour)
		used := 0
		err := filepath.Walk(filepath.Join(s.box("b").dir, "blocks"), func(_ string, info os.FileInfo, err error) error {
			if err == nil && info.Mode().IsRegular() && info.Size() > 0 {
				used++
			}
			return err
		})
		if err != nil || used != 0 {
			t.Errorf("%d files are left, %v", used, err)
		}
	})
}

// A copy is kept when all of it is there, whatever else the box does meanwhile.
func TestACopyIsKeptOnceItIsWhole(t *testing.T) {
	t.Parallel()
	a, b := open(t, outbox.Config{Dir: t.TempDir()}), open(t, outbox.Config{Dir: t.TempDir()})
	defer a.Close()
	defer b.Close()
	body := noise(14, 1000)
	d := add(t, a, "f", body)
	list, err := hold.EncodeList([]hold.Entry{{Digest: block.Sum(body), Length: len(body)}})
	if err != nil {
		t.Fatal(err)
	}
	missing, held, err := b.Offered(t.Context(), "a", d, list)
	if err != nil || held || len(missing) != 1 || missing[0] != block.Sum(body) {
		t.Fatalf("%v %v %v", missing, held, err)
	}
	if err := b.KeepGuest(t.Context(), "a", d.ID); !errors.Is(err, outbox.ErrIncomplete) {
		t.Errorf("without its block: %v", err)
	}
	if err := b.PutGuest(t.Context(), "a", d.ID, block.Sum(body), body); err != nil {
		t.Fatal(err)
	}
	// An upload that comes to nothing has what is left of it removed.
	if _, err := b.Add(t.Context(), bytes.NewReader([]byte("short")), 9, outbox.Words{Filename: "short"}); !errors.Is(err, outbox.ErrShort) {
		t.Fatal(err)
	}
	if _, err := b.Look(d.ID); !errors.Is(err, outbox.ErrNotFound) {
		t.Errorf("it is shown before it is kept: %v", err)
	}
	for range 2 { // the second time an answer was lost
		if err := b.KeepGuest(t.Context(), "a", d.ID); err != nil {
			t.Fatal(err)
		}
	}
	if !bytes.Equal(content(t, b, d.ID), body) {
		t.Error("other bytes")
	}
	if _, held, err := b.Offered(t.Context(), "a", d, list); err != nil || !held {
		t.Errorf("held %v, %v", held, err)
	}
	if list := b.HeldFor("a", "", 9); len(list) != 1 || list[0].ID != d.ID || !list[0].Whole || len(b.HeldFor("a", d.ID, 9)) != 0 || len(b.HeldFor("c", "", 9)) != 0 {
		t.Errorf("%+v", list)
	}
}
