package provision_test

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"preau/node/control"
	"preau/node/control/controltest"
	"preau/node/keep"
	"preau/node/provision"
	"preau/replication/enrol"
)

// was brings the box into a region, as library-1 at a fixed address, and then has
// its disk not open any more, for the reason why. The stick is gone.
func (b *bench) was(r *controltest.Region, why string) {
	b.t.Helper()
	b.plug("token = \"" + r.Token(b.t, "box", "0690001A") + "\"\nname = \"library-1\"\n" + address)
	b.power()
	b.enrolled()
	if err := os.Remove(b.stick); err != nil {
		b.t.Fatal(err)
	}
	b.lose(why)
}

// lose takes away all that is not on the boot partition, as another TPM does. A
// machine that is switched off has nothing in memory either.
func (b *bench) lose(why string) {
	b.t.Helper()
	b.screen = &screen{news: make(chan struct{}, 1)}
	b.parts.Console = b.screen
	err := errors.Join(os.RemoveAll(b.cfg.Data), os.RemoveAll(filepath.Dir(b.cfg.State)), os.RemoveAll(filepath.Dir(b.cfg.Network)))
	if why != "" {
		err = errors.Join(err, os.WriteFile(b.cfg.Degraded, []byte(why+"\n"), 0o644))
	}
	if err != nil {
		b.t.Fatal(err)
	}
}

// asks waits until the box shows its code, and returns what it asks of the region.
func (b *bench) asks(r *controltest.Region) enrol.Return {
	b.t.Helper()
	b.sees("Cette boîte demande à reprendre sa place")
	for _, q := range r.Asked() {
		if strings.Contains(b.screen.shows(), "Code à comparer avec la région : "+q.Code()) {
			return q
		}
	}
	b.t.Fatalf("nobody asks with the code that the screen shows:\n%s", b.screen.shows())
	return enrol.Return{}
}

func (b *bench) calls() string {
	b.t.Helper()
	me, err := control.Open(filepath.Join(b.cfg.Data, "identity"), nil)
	if err != nil {
		b.t.Fatal(err)
	}
	defer me.Close()
	return me.Name()
}

func TestABoxWhoseDiskDoesNotOpenIsTakenBackFromAfar(t *testing.T) {
	region := controltest.Start(t, 2)
	b := newBench(t)
	b.was(region, "tpm")
	note := b.read(b.cfg.Note)
	if strings.Contains(note, "PREAU1") {
		t.Errorf("the note has a token:\n%s", note)
	}

	var tries atomic.Int32
	b.parts.Enrol = func(ctx context.Context, q control.Enrolment) (control.Enrolled, error) {
		tries.Add(1)
		return control.Enrol(ctx, q)
	}
	b.power()
	q := b.asks(region)
	if q.Name != "library-1" || q.Why != "tpm" {
		t.Errorf("it asks as %s, because of %q", q.Name, q.Why)
	}
	if text := b.read(b.cfg.Network); !strings.Contains(text, "Address=10.20.30.5/24") {
		t.Errorf("it has lost its address: %s", text)
	}
	s := b.box.State()
	if s.Step != provision.Returning || s.Code != q.Code() || s.Box != "library-1" || s.Degraded != "tpm" {
		t.Errorf("its state is %+v", s)
	}
	for lang, want := range map[string]string{"": "Sa région est prévenue", "en": "Its region has been told"} {
		w, r := httptest.NewRecorder(), httptest.NewRequestWithContext(t.Context(), http.MethodGet, "http://box/", nil)
		r.Header.Set("Accept", "text/html")
		r.Header.Set("Accept-Language", lang)
		b.box.Page().ServeHTTP(w, r)
		if body := w.Body.String(); !strings.Contains(body, want) || !strings.Contains(body, q.Code()) {
			t.Errorf("%q: %s", lang, body)
		}
	}

	// The program is started again, and goes on with the code that people have read.
	b.stop()
	<-b.ended //nolint:errcheck // what it says of its end is another test's
	b.power()
	b.sees(q.Code())
	if n := tries.Load(); n != 0 {
		t.Errorf("it has tried its token %d times before anybody has agreed", n)
	}
	if again := b.asks(region); again.New != q.New {
		t.Error("it asks with another code than it has shown")
	}

	region.Accept(q)
	b.enrolled()
	if want := "box/" + string(q.NewName()); b.calls() != want {
		t.Errorf("it is called %s, not %s", b.calls(), want)
	}
	if strings.Contains(b.read(b.cfg.State), "PREAU1-") {
		t.Error("the token that it has made up is still kept")
	}
	b.power() // and started again
	b.enrolled()
	if b.read(b.cfg.Note) != note {
		t.Errorf("the note is not that of the disk any more:\n%s", b.read(b.cfg.Note))
	}

	// It forgets when it is switched off: it asks as before, with another code.
	b.lose("disk")
	b.power()
	if next := b.asks(region); next.Name != "library-1" || next.New == q.New || next.Why != "disk" {
		t.Errorf("it asks as %s, because of %q", next.Name, next.Why)
	}
}

func TestAStickGoesBeforeTheWayFromAfar(t *testing.T) {
	region := controltest.Start(t, 1)
	b := newBench(t)
	b.was(region, "tpm")
	b.power()
	q := b.asks(region)

	// One that the region refuses takes nothing away, and is not written to.
	wrong := "token = \"" + region.Token(t, "operator", "") + "\"\n"
	b.plug("tokn = 1\n")
	b.sees("Le fichier de la clé USB ne peut pas servir")
	b.plug(wrong)
	b.sees("La région refuse cette invitation")
	b.sees(q.Code())

	b.plug("token = \"" + region.Token(t, "box", "0690001A") + "\"\nname = \"library-1-new\"\n")
	b.enrolled()
	if b.calls() != "box/library-1-new" {
		t.Errorf("it is called %s", b.calls())
	}
	if note := b.read(b.cfg.Note); !strings.Contains(note, `"library-1-new"`) {
		t.Errorf("the note is not of the box that the stick has made:\n%s", note)
	}

	b.lose("tpm")
	b.plug(wrong)
	b.power()
	b.sees("La région refuse cette invitation")
	b.sees("Code à comparer")
	b.agreed(region)
	b.enrolled()
	if !strings.HasPrefix(b.calls(), "box/library-1-new-") || b.read(b.stick) != wrong {
		t.Errorf("it is called %s, and the stick has:\n%s", b.calls(), b.read(b.stick))
	}
}

func TestWhatKeepsABoxFromComingBackIsSaid(t *testing.T) {
	tests := map[string]struct {
		happens func(*testing.T, *controltest.Region, *bench)
		says    []string
	}{
		"older servers": {
			func(_ *testing.T, r *controltest.Region, _ *bench) { r.Older() },
			[]string{"Cette boîte attend une nouvelle clé USB", "can’t take a box back from afar yet"},
		},
		"a revoked box": {
			func(_ *testing.T, r *controltest.Region, _ *bench) { r.Revoke("box", "library-1") },
			[]string{"La région ne reprend pas cette boîte", "has revoked library-1"},
		},
		"no line": {
			func(_ *testing.T, r *controltest.Region, _ *bench) { r.Servers[0].Stop() },
			[]string{"Cette boîte ne peut pas encore prévenir sa région", "This box can’t tell its region yet"},
		},
		"a damaged note": {
			func(t *testing.T, _ *controltest.Region, b *bench) {
				t.Helper()
				if err := os.WriteFile(b.cfg.Note, []byte(strings.Replace(b.read(b.cfg.Note), "library-1", "library-2", 1)), 0o644); err != nil {
					t.Fatal(err)
				}
			},
			[]string{"Cette boîte attend sa clé USB", "verrouillé par une autre carte mère"},
		},
		// Anybody may have written one, with its sum.
		"a note whose network can't be": {
			func(t *testing.T, _ *controltest.Region, b *bench) {
				t.Helper()
				_, text, _ := strings.Cut(b.read(b.cfg.Note), "\n")
				other := strings.Replace(text, "10.20.30.5/24", `10.20.30.5/24\n[Link]`, 1)
				if err := keep.Write(b.cfg.Note, json.RawMessage(other)); err != nil || other == text {
					t.Fatal(err, text)
				}
			},
			[]string{"Cette boîte attend sa clé USB", "verrouillé par une autre carte mère"},
		},
		"no note": {
			func(t *testing.T, _ *controltest.Region, b *bench) {
				t.Helper()
				if err := os.Remove(b.cfg.Note); err != nil {
					t.Fatal(err)
				}
			},
			[]string{"Cette boîte attend sa clé USB", "verrouillé par une autre carte mère"},
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			region := controltest.Start(t, 1)
			b := newBench(t)
			b.was(region, "tpm")
			tt.happens(t, region, b)
			b.power()
			for _, text := range tt.says {
				b.sees(text)
			}
			if name == "no line" {
				b.sees("Code à comparer avec la région : ")
			}
			if len(region.Asked()) > 0 {
				t.Error("the region has taken it down")
			}
		})
	}
}

// A disk that was emptied is one to keep things on: the note is of who the box is
// now.
func TestABoxWhoseDiskIsEmptyAsksToo(t *testing.T) {
	region := controltest.Start(t, 1)
	b := newBench(t)
	b.was(region, "")
	b.power()
	q := b.asks(region)
	if q.Why != "empty" {
		t.Errorf("it asks because of %q", q.Why)
	}
	region.Accept(q)
	b.enrolled()
	if note := b.read(b.cfg.Note); !strings.Contains(note, string(q.NewName())) {
		t.Errorf("the note is still of the box that is gone:\n%s", note)
	}
}

// A box that was enrolled by a version without notes leaves one at its next start.
func TestABoxThatIsEnrolledLeavesANote(t *testing.T) {
	region := controltest.Start(t, 1)
	b := newBench(t)
	path := b.cfg.Note
	b.cfg.Note = ""
	b.plug("token = \"" + region.Token(t, "box", "0690001A") + "\"\n")
	b.power()
	b.enrolled()
	b.cfg.Note = path
	b.power()
	b.enrolled()
	if note := b.read(path); !strings.Contains(note, "box-0badc0") || !strings.Contains(note, region.Servers[0].Address) {
		t.Errorf("the note is:\n%s", note)
	}
	// Nothing is written where nothing has changed.
	old := time.Unix(1_700_000_000, 0)
	if err := os.Chtimes(path, old, old); err != nil {
		t.Fatal(err)
	}
	b.power()
	b.enrolled()
	if info, err := os.Stat(path); err != nil || !info.ModTime().Equal(old) {
		t.Errorf("the note was written again: %v", err)
	}
}

func TestAFileWhoseTokenWasUsedIsNoMistake(t *testing.T) {
	b := newBench(t)
	used := filepath.Join(filepath.Dir(b.cfg.Note), "preau.toml")
	if err := os.WriteFile(used, []byte("token = \"      \"\n# 2026-11-23: this token was used\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	b.power()
	b.sees("Cette boîte attend sa clé USB")
	b.sees("The invitation in this file was used already")
	if text := b.screen.shows(); strings.Contains(text, "ne peut pas servir") {
		t.Errorf("a used file is told as a mistake:\n%s", text)
	}
	b.plug("token = \"\"\n")
	b.sees("Le fichier de la clé USB ne peut pas servir")
	b.sees("ask the region for a new one")
}

// agreed has an operator of the region agree to whose code the screen shows.
func (b *bench) agreed(region *controltest.Region) {
	b.t.Helper()
	for _, q := range region.Asked() {
		if strings.Contains(b.screen.shows(), q.Code()) {
			region.Accept(q)
		}
	}
}

// A stick of another region, which nobody answers for, takes no box its way back;
// and the note stays that of the disk.
func TestAStrangersStickTakesNoWayBack(t *testing.T) {
	region, other := controltest.Start(t, 1), controltest.Start(t, 1)
	b := newBench(t)
	b.was(region, "tpm")
	note := b.read(b.cfg.Note)
	b.plug("token = \"" + other.Token(t, "box", "0690001A") + "\"\nname = \"mine\"\n")
	b.power()
	b.enrolled()
	if b.read(b.cfg.Note) != note {
		t.Errorf("the note is not that of the disk any more:\n%s", b.read(b.cfg.Note))
	}
	b.lose("tpm")
	b.plug("token = \"" + other.Token(t, "box", "0690001A") + "\"\n")
	other.Servers[0].Stop()
	b.power()
	b.sees("La région ne répond pas encore")
	b.sees("Code à comparer avec la région : ")
	b.agreed(region)
	b.enrolled()
	if !strings.HasPrefix(b.calls(), "box/library-1-") {
		t.Errorf("it is called %s", b.calls())
	}
}
