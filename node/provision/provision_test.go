package provision_test

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"preau/node/auth/claim"
	"preau/node/control"
	"preau/node/control/controltest"
	"preau/node/lifecycle"
	"preau/node/provision"
)

// screen is the box's screen. What it shows can be waited for.
type screen struct {
	mu   sync.Mutex
	text bytes.Buffer
	news chan struct{}
}

func (s *screen) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.text.Write(p)
	select {
	case s.news <- struct{}{}:
	default:
	}
	return len(p), nil
}

func (s *screen) shows() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.text.String()
}

// bench is a new box on somebody's table, with a socket for a stick.
type bench struct {
	t      *testing.T
	cfg    provision.Config
	parts  provision.Parts
	screen *screen
	stick  string // the file on the stick
	box    *provision.Provision
	ended  chan error
	stop   context.CancelFunc
}

func newBench(t *testing.T) *bench {
	t.Helper()
	dir := t.TempDir()
	b := &bench{t: t, screen: &screen{news: make(chan struct{}, 1)}, stick: filepath.Join(dir, "sticks", "sda1", "preau.toml")}
	if err := errors.Join(os.MkdirAll(filepath.Dir(b.stick), 0o755), os.Mkdir(filepath.Join(dir, "efi"), 0o755)); err != nil {
		t.Fatal(err)
	}
	b.cfg = provision.Config{
		Data: filepath.Join(dir, "data"), State: filepath.Join(dir, "state", "provision"),
		Media:   []string{filepath.Join(dir, "sticks", "*", "preau.toml*"), filepath.Join(dir, "efi", "preau.toml")},
		Network: filepath.Join(dir, "network", "10-preau.network"), Degraded: filepath.Join(dir, "degraded"),
		Note:   filepath.Join(dir, "efi", "preau-box.note"),
		Listen: "127.0.0.1:0", Admin: "127.0.0.1:0", Name: "box-0badc0",
	}
	b.parts = provision.Parts{
		Enrol: control.Enrol, Place: control.PlaceOf, AskBack: control.AskBack, Addresses: func() []string { return []string{"192.0.2.7"} },
		QR: func(text string) (string, error) { return "[QR " + text + "]\n", nil }, Console: b.screen,
		Look: 5 * time.Millisecond, Patience: 20 * time.Second, Again: lifecycle.Backoff{Min: time.Millisecond, Max: 2 * time.Millisecond},
	}
	return b
}

// power switches the box on, and off at the test's end.
func (b *bench) power() {
	b.t.Helper()
	var err error
	if b.box, err = provision.New(b.cfg, b.parts, slog.New(slog.DiscardHandler)); err != nil {
		b.t.Fatal(err)
	}
	ctx, stop := context.WithCancel(b.t.Context())
	b.stop, b.ended = stop, make(chan error, 1)
	done := make(chan struct{})
	go func() {
		defer close(done)
		b.ended <- b.box.Run(ctx)
	}()
	b.t.Cleanup(func() { stop(); <-done })
}

// enrolled waits until the box says that it is.
func (b *bench) enrolled() {
	b.t.Helper()
	select {
	case err := <-b.ended:
		if err != nil || !b.box.Enrolled() {
			b.t.Fatalf("it ended without a place in a region: %v\n%s", err, b.screen.shows())
		}
	case <-time.After(30 * time.Second):
		b.t.Fatalf("it is not enrolled:\n%s", b.screen.shows())
	}
}

// sees waits until the screen has shown something.
func (b *bench) sees(want string) {
	b.t.Helper()
	deadline := time.After(30 * time.Second)
	for !strings.Contains(b.screen.shows(), want) {
		select {
		case <-b.screen.news:
		case err := <-b.ended:
			b.t.Fatalf("it ended (%v) and never showed %q:\n%s", err, want, b.screen.shows())
		case <-deadline:
			b.t.Fatalf("it never showed %q:\n%s", want, b.screen.shows())
		}
	}
}

// plug puts a file on the stick in one step, as a stick that is plugged in does.
func (b *bench) plug(text string) {
	b.t.Helper()
	half := filepath.Join(b.t.TempDir(), "half")
	if err := errors.Join(os.WriteFile(half, []byte(text), 0o644), os.Rename(half, b.stick)); err != nil {
		b.t.Fatal(err)
	}
}

func (b *bench) read(path string) string {
	b.t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		b.t.Fatal(err)
	}
	return string(text)
}

const address = "[network]\r\naddress = \"10.20.30.5/24\"\r\ngateway = \"10.20.30.1\"\r\ndns = [\"10.20.30.1\"]\r\n"

func TestABoxIsEnrolledByWhatIsOnItsStick(t *testing.T) {
	region := controltest.Start(t, 1)
	token := region.Token(t, "box", "0690001A")
	b := newBench(t)
	b.power()
	b.sees("Cette boîte attend sa clé USB")
	b.sees("[QR http://192.0.2.7/]")
	// As an editor of another system stores it.
	b.plug("\ufefftoken = \"" + token + "\"\r\n" + address)
	b.enrolled()

	me, err := control.Open(filepath.Join(b.cfg.Data, "identity"), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer me.Close()
	if me.Name() != "box/box-0badc0" {
		t.Errorf("it is called %q", me.Name())
	}
	for name, text := range map[string]string{"the stick": b.read(b.stick), "the state": b.read(b.cfg.State), "the screen": b.screen.shows()} {
		if strings.Contains(text, token) {
			t.Errorf("%s still has the token:\n%s", name, text)
		}
	}
	if text := b.read(b.stick); !strings.Contains(text, "this token was used for the box box-0badc0") || !strings.Contains(text, address) {
		t.Errorf("the stick has:\n%s", text)
	}
	if text := b.read(b.cfg.Network); !strings.Contains(text, "Type=ether\n\n[Network]\nAddress=10.20.30.5/24\nGateway=10.20.30.1\nDNS=10.20.30.1\n") {
		t.Errorf("the network's file is:\n%s", text)
	}

	// At its next start it sets the address, waits for nothing and looks at no stick.
	if err := os.Remove(b.cfg.Network); err != nil {
		t.Fatal(err)
	}
	other := controltest.Start(t, 1)
	stranger := "token = \"" + other.Token(t, "box", "0690001A") + "\"\nname = \"mine\"\n"
	b.plug(stranger)
	b.power()
	b.enrolled()
	if text := b.read(b.cfg.Network); !strings.Contains(text, "10.20.30.5/24") {
		t.Errorf("the network's file is:\n%s", text)
	}
	if b.read(b.stick) != stranger {
		t.Error("an enrolled box has used a stranger's stick")
	}
}

func TestTheStickMayBePulledOutAndThePowerMayFail(t *testing.T) {
	region := controltest.Start(t, 1)
	token := region.Token(t, "box", "0690001A")
	b := newBench(t)
	b.parts.Enrol = func(context.Context, control.Enrolment) (control.Enrolled, error) {
		return control.Enrolled{}, &control.UnreachableError{}
	}
	b.power()
	b.plug("token = \"" + token + "\"\nname = \"library-2\"\n")
	b.sees("La région ne répond pas encore")
	if err := os.Remove(b.stick); err != nil {
		t.Fatal(err)
	}
	b.stop()
	<-b.ended //nolint:errcheck // what it says of its end is another test's

	var name string
	b.parts.Enrol = func(ctx context.Context, q control.Enrolment) (control.Enrolled, error) {
		name = q.Name
		return control.Enrol(ctx, q)
	}
	b.power()
	b.enrolled()
	if name != "library-2" {
		t.Errorf("it asked to be called %q", name)
	}
	if text := b.read(b.cfg.State); strings.Contains(text, token) {
		t.Errorf("the token is still kept: %s", text)
	}
}

func TestATokenThatWasUsedWhenThePowerFailedIsWipedAtTheNextStart(t *testing.T) {
	region := controltest.Start(t, 1)
	text := "token = \"" + region.Token(t, "box", "0690001A") + "\"\n"
	b := newBench(t)
	b.parts.Enrol = func(ctx context.Context, q control.Enrolment) (control.Enrolled, error) {
		if _, err := control.Enrol(ctx, q); err != nil {
			return control.Enrolled{}, err
		}
		b.stop() // the power fails before anything is done with the answer
		<-ctx.Done()
		return control.Enrolled{}, context.Canceled
	}
	b.plug(text)
	b.power()
	<-b.ended //nolint:errcheck // it was cut off
	if b.read(b.stick) != text {
		t.Fatal("the token is wiped already: this test looks at nothing")
	}
	b.power()
	b.enrolled()
	if strings.Contains(b.read(b.stick), "PREAU1-") || strings.Contains(b.read(b.cfg.State), "PREAU1-") {
		t.Error("the token is still there")
	}
}

func TestWhatTheRegionRefusesIsReplacedByABetterFile(t *testing.T) {
	region := controltest.Start(t, 1)
	wrong, right := region.Token(t, "operator", ""), region.Token(t, "box", "0690001A")
	b := newBench(t)
	b.plug("token = \"" + wrong + "\"\n")
	b.power()
	b.sees("La région refuse cette invitation")
	b.sees("Ask for one that fits")
	b.plug("token = \"" + right + "\"\n")
	b.enrolled()
}

func TestAFileThatCannotBeUsedIsExplained(t *testing.T) {
	region := controltest.Start(t, 1)
	token := region.Token(t, "box", "0690001A")
	tests := map[string]struct{ text, says string }{
		"no token":         {"name = \"a\"\n", "ask the region for a new one"},
		"half a token":     {"token = \"" + token[:40] + "\"\n", "the token is cut off"},
		"a mistyped key":   {"tokn = \"" + token + "\"\n", "unknown key"},
		"no quotes":        {"token = " + token + "\n", "preau.toml:1"},
		"UTF-16":           {"\xff\xfet\x00o\x00", "store it again as UTF-8"},
		"a bad server":     {"token = \"" + token + "\"\nregion = [\"region\"]\n", "write host:port"},
		"a bad name":       {"token = \"" + token + "\"\nname = \"Salle 12\"\n", "name"},
		"no gateway":       {"token = \"" + token + "\"\n[network]\naddress = \"10.0.0.5/24\"\ndns = [\"10.0.0.1\"]\n", "write the router's address"},
		"a gateway beyond": {"token = \"" + token + "\"\n[network]\naddress = \"10.0.0.5/24\"\ngateway = \"10.0.1.1\"\ndns = [\"10.0.0.1\"]\n", "is not in the box's own network 10.0.0.0/24"},
		"no length":        {"token = \"" + token + "\"\n[network]\naddress = \"10.0.0.5\"\n", "write it like 10.20.30.5/24"},
		"lines of others":  {"token = \"" + token + "\"\n[network]\ninterface = \"e\\n[Link]\"\n", "no network card's name"},
		"not a file of it": {strings.Repeat("x", 70<<10), "no provisioning file"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			b := newBench(t)
			b.parts.Enrol = func(context.Context, control.Enrolment) (control.Enrolled, error) {
				t.Error("the region was asked")
				return control.Enrolled{}, errors.New("no")
			}
			b.plug(tt.text)
			b.power()
			b.sees("Le fichier de la clé USB ne peut pas servir")
			b.sees(tt.says)
			if b.read(b.stick) != tt.text {
				t.Error("the file was changed")
			}
			if strings.Contains(b.screen.shows(), token) {
				t.Error("the screen shows the token")
			}
		})
	}
}

func TestThePageSaysWhatToDoAndNeverTheCode(t *testing.T) {
	b := newBench(t)
	if err := os.WriteFile(b.cfg.Degraded, []byte("tpm\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	b.power()
	b.sees("Code to become responsible for this box")
	c, err := claim.Open(filepath.Join(b.cfg.Data, "auth", "claim"), slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	code, open := c.Code()
	if !open || !strings.Contains(b.screen.shows(), code) {
		t.Fatalf("the screen does not show the code %q:\n%s", code, b.screen.shows())
	}
	for lang, want := range map[string]string{"": "verrouillé par une autre carte mère", "en": "locked by another main board"} {
		for _, accept := range []string{"text/html", "*/*"} {
			r := httptest.NewRequestWithContext(t.Context(), http.MethodGet, "http://box/anything", nil)
			r.Header.Set("Accept", accept)
			r.Header.Set("Accept-Language", lang)
			w := httptest.NewRecorder()
			b.box.Page().ServeHTTP(w, r)
			if body := w.Body.String(); w.Code != http.StatusServiceUnavailable || !strings.Contains(body, want) || strings.Contains(body, code) || w.Header().Get("Cache-Control") != "no-store" {
				t.Errorf("%q %q: %d %v\n%s", lang, accept, w.Code, w.Header(), body)
			}
		}
	}
	if s := b.box.State(); s.Step != provision.Waiting || s.Degraded != "tpm" || s.Address != "http://192.0.2.7/" {
		t.Errorf("its state is %+v", s)
	}
}

func TestABoxWithoutItsDiskKeepsItsAddress(t *testing.T) {
	b := newBench(t)
	b.plug("token = \"   \"\n" + address)
	b.power()
	b.sees("Cette boîte attend sa clé USB")
	if text := b.read(b.cfg.Network); !strings.Contains(text, "Address=10.20.30.5/24") {
		t.Errorf("the network's file is:\n%s", text)
	}
}
