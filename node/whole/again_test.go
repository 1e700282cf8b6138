package whole_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"preau/node/control"
	"preau/node/lifecycle"
	"preau/node/provision"
	region "preau/replication/enrol"
)

// display is what an appliance shows on its screen.
type display struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (d *display) Write(p []byte) (int, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.text.Write(p)
}

func (d *display) shows() string {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.text.String()
}

// appliance is a machine that preau provision makes a box: its boot partition and
// its disk are folders of dir.
func appliance(t *testing.T, dir string) (screen *display, ended chan error) {
	t.Helper()
	at := func(name string) string { return filepath.Join(dir, name) }
	if err := os.MkdirAll(at("efi"), 0o700); err != nil {
		t.Fatal(err)
	}
	screen, ended = &display{}, make(chan error, 1)
	p, err := provision.New(provision.Config{
		Data: at("disk/preau"), State: at("disk/state"), Media: []string{at("efi/preau.toml")}, Note: at("efi/preau-box.note"),
		Degraded: at("without-disk"), Listen: "127.0.0.1:0", Admin: "127.0.0.1:0", Name: "box-1",
	}, provision.Parts{
		Enrol: control.Enrol, Place: control.PlaceOf, AskBack: control.AskBack, Console: screen,
		Addresses: func() []string { return nil }, QR: func(string) (string, error) { return "", nil },
		Look: 20 * time.Millisecond, Patience: 30 * time.Second, Again: lifecycle.Backoff{Min: 50 * time.Millisecond, Max: 200 * time.Millisecond},
	}, logTo(t))
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.WithoutCancel(t.Context()))
	done := make(chan struct{})
	go func() {
		defer close(done)
		ended <- p.Run(ctx)
	}()
	t.Cleanup(func() { stop(); <-done })
	return screen, ended
}

func isEnrolled(t *testing.T, screen *display, ended chan error) {
	t.Helper()
	select {
	case err := <-ended:
		if err != nil {
			t.Fatalf("%v\n%s", err, screen.shows())
		}
	case <-time.After(time.Minute):
		t.Fatalf("it is not enrolled:\n%s", screen.shows())
	}
}

// TestABoxWhoseDiskIsLockedIsTakenBackFromAfar goes from a disk that does not open
// to a box of the region again, with nobody at the school but who reads out a code.
// Others who know the box's note get nowhere.
func TestABoxWhoseDiskIsLockedIsTakenBackFromAfar(t *testing.T) {
	t.Parallel()
	var servers []*server
	var operator *control.Client
	if testing.Short() {
		s, o := founded(t, configOf(t))
		servers, operator = []*server{s}, o
	} else {
		servers, operator = threeServers(t)
	}
	first, last := servers[0].cfg.Listen, servers[len(servers)-1].cfg.Listen
	invite := func() string {
		var token control.Token
		eventually(t, func() (err error) {
			token, err = operator.Token(t.Context(), control.TokenRequest{Role: "box", School: "0690001A"})
			return err
		})
		return token.Token
	}
	eventually(t, func() error {
		n := 0
		for _, err := range operator.Records(t.Context(), "servers") {
			if err != nil {
				return err
			}
			n++
		}
		if n != len(servers) {
			return fmt.Errorf("%d servers have told where they are", n)
		}
		return nil
	})
	dir := t.TempDir()
	if err := errors.Join(os.MkdirAll(filepath.Join(dir, "efi"), 0o700), os.WriteFile(filepath.Join(dir, "efi/preau.toml"), []byte("token = \""+invite()+"\"\nname = \"library-1\"\n"), 0o600)); err != nil {
		t.Fatal(err)
	}
	screen, ended := appliance(t, dir)
	isEnrolled(t, screen, ended)
	place, err := control.PlaceOf(filepath.Join(dir, "disk/preau/identity"))
	if err != nil {
		t.Fatal(err)
	}
	if len(place.Servers) != len(servers) {
		t.Errorf("it knows the servers %v", place.Servers)
	}

	// Another main board.
	if err := errors.Join(os.RemoveAll(filepath.Join(dir, "disk")), os.WriteFile(filepath.Join(dir, "without-disk"), []byte("tpm\n"), 0o600)); err != nil {
		t.Fatal(err)
	}
	screen, ended = appliance(t, dir)
	var lost control.Box
	listed := func(name string) (control.Box, error) {
		all, err := operator.Boxes(t.Context())
		if err != nil {
			return control.Box{}, err
		}
		for _, b := range all {
			if b.Name == name {
				return b, nil
			}
		}
		return control.Box{}, fmt.Errorf("%s is not among %+v", name, all)
	}
	eventually(t, func() (err error) {
		if lost, err = listed("library-1"); err == nil && (lost.State != "asking" || len(lost.Returns) != 1 || !strings.Contains(screen.shows(), lost.Returns[0].Code)) {
			err = fmt.Errorf("%+v, and the screen shows:\n%s", lost, screen.shows())
		}
		return err
	})
	asks := lost.Returns[0]
	if asks.Why != "tpm" || !strings.HasPrefix(asks.Name, "library-1-") {
		t.Errorf("it asks: %+v", asks)
	}

	// Whoever has read the note asks at one server only, with a token of theirs, or
	// in place of an invitation that somebody else has.
	stranger, err := control.NewComeback(place, "")
	if err != nil {
		t.Fatal(err)
	}
	stranger.Place.Servers = []string{first}
	if told, err := control.AskBack(t.Context(), stranger, "disk"); err != nil || told.Accepted {
		t.Fatalf("a stranger: %+v, %v", told, err)
	}
	pending := invite()
	invitation, err := region.ParseToken(pending)
	if err != nil {
		t.Fatal(err)
	}
	forged, err := region.ParseToken(stranger.Token)
	if err != nil {
		t.Fatal(err)
	}
	forged.ID = invitation.ID
	thief := stranger
	thief.Token = forged.String()
	if _, err := control.AskBack(t.Context(), thief, "tpm"); !control.Refused(err) {
		t.Errorf("in place of an invitation: %v", err)
	}
	other := stranger
	other.Place.Name = "library-2"
	if _, err := control.AskBack(t.Context(), other, "tpm"); !control.Refused(err) {
		t.Errorf("in another name: %v", err)
	}

	// The operator asks another server than the stranger did, and knows the box's code.
	ask, err := control.Open(filepath.Join(servers[0].cfg.Data, "operator"), []string{last})
	if err != nil {
		t.Fatal(err)
	}
	defer ask.Close()
	for code, status := range map[string]int{"": http.StatusBadRequest, "AAAA-AAAA-AAAA": http.StatusConflict} {
		_, err := ask.TakeBack(t.Context(), control.ReturnRequest{Box: "library-1", Code: code})
		if said, ok := errors.AsType[*control.Error](err); !ok || said.Status != status {
			t.Errorf("with the code %q: %v", code, err)
		}
	}
	if _, err := ask.TakeBack(t.Context(), control.ReturnRequest{Box: "library-2", Code: asks.Code}); !control.Refused(err) {
		t.Errorf("a box that never was: %v", err)
	}
	var back control.Returned
	eventually(t, func() (err error) {
		back, err = ask.TakeBack(t.Context(), control.ReturnRequest{Box: "library-1", Code: strings.ToLower(asks.Code)})
		return err
	})
	if back.Name != asks.Name || back.School != "0690001A" || time.Until(back.Expires) < 50*time.Minute || time.Until(back.Expires) > time.Hour {
		t.Errorf("it is answered %+v", back)
	}
	isEnrolled(t, screen, ended)
	if again, err := ask.TakeBack(t.Context(), control.ReturnRequest{Box: "library-1", Code: asks.Code}); err != nil || again.Name != back.Name || !again.Expires.Equal(back.Expires) {
		t.Errorf("the same command again: %+v, %v", again, err)
	}
	me, err := control.PlaceOf(filepath.Join(dir, "disk/preau/identity"))
	if err != nil || me.Name != asks.Name {
		t.Fatalf("it is %+v, %v", me, err)
	}
	eventually(t, func() error {
		b, err := listed(asks.Name)
		if err == nil && b.School != "0690001A" {
			err = fmt.Errorf("%+v", b)
		}
		return err
	})
	// The stranger still asks, and has got nothing; nor does the invitation suffer.
	if told, err := control.AskBack(t.Context(), stranger, "disk"); err != nil || told.Accepted {
		t.Errorf("the stranger: %+v, %v", told, err)
	}
	if b, err := listed("library-1"); err != nil || len(b.Returns) != 1 || b.Returns[0].Code != stranger.Code {
		t.Errorf("who asks still: %+v, %v", b, err)
	}
	if _, err := control.Enrol(t.Context(), control.Enrolment{Token: pending, Role: "box", Name: "library-3", Dir: t.TempDir()}); err != nil {
		t.Errorf("the invitation: %v", err)
	}

	// Who is revoked does not come back.
	eventually(t, func() error {
		_, err := operator.Revoke(t.Context(), control.Revocation{Role: "box", Name: "library-1"})
		return err
	})
	eventually(t, func() error {
		_, err := control.AskBack(t.Context(), stranger, "disk")
		if !control.Refused(err) {
			return fmt.Errorf("a revoked box may ask: %w", err)
		}
		return nil
	})
	if b, err := listed("library-1"); err != nil || len(b.Returns) != 0 || b.State != "revoked" {
		t.Errorf("a revoked box: %+v, %v", b, err)
	}
}
