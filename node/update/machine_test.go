package update_test

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"preau/node/update"
)

var quiet = slog.New(slog.DiscardHandler)

var errCut = errors.New("the power was cut")

// machine is a box with its dpkg, in memory; the updater's folder is on the disk. A
// package is the text of its version, and those with "bad" in it never come well.
type machine struct {
	mu           sync.Mutex
	folder       string
	published    map[string][]byte
	standing     update.Standing
	installed    string
	whole        bool
	runs         string // the version that the box runs; nothing: it is down
	steps        int
	cutAt        int // the power is cut in this step of dpkg's; 0: never
	now          time.Time
	settings     string // that the box runs with
	restarts     int
	cutAtRestart int
	signed       string // what a good signature looks like
	imaged       bool   // it has no packages
}

func newMachine(t *testing.T, installed string) *machine {
	t.Helper()
	return &machine{
		folder: t.TempDir(), published: map[string][]byte{}, installed: installed, whole: true, runs: installed, signed: "good:",
		standing: update.Standing{Region: "r", Box: "box-a", School: "0690001A"}, now: time.Date(2026, 11, 23, 2, 0, 0, 0, time.UTC),
	}
}

// step is where the power may be cut: before and in the middle of what dpkg does.
func (m *machine) step() error {
	m.steps++
	if m.steps == m.cutAt {
		m.runs = ""
		return errCut
	}
	return nil
}

func (m *machine) Standing(context.Context) (update.Standing, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.runs == "" || strings.Contains(m.runs, "bad") {
		return update.Standing{}, errors.New("no box answers on this machine")
	}
	st := m.standing
	st.Version = "v" + m.runs
	return st, nil
}

func (m *machine) Ready(context.Context) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return !strings.Contains(m.runs, "lame")
}

func (m *machine) Fetch(_ context.Context, id string, w io.Writer, most int64) error {
	m.mu.Lock()
	text, ok := m.published[id]
	m.mu.Unlock()
	if !ok {
		return fmt.Errorf("%w: %s is not published", update.ErrNotNow, id)
	}
	if int64(len(text)) > most {
		text = text[:most]
	}
	_, err := w.Write(text)
	return err
}

func (m *machine) Installed(context.Context) (string, bool, error) { return m.installed, m.whole, nil }
func (m *machine) Arch(context.Context) (string, error)            { return "amd64", nil }
func (m *machine) Program(context.Context) (string, error)         { return "v" + m.installed, nil }

func (m *machine) Holds(_ context.Context, file string, k update.Package) error {
	text, err := os.ReadFile(file)
	if err == nil && string(text) != k.Version {
		err = fmt.Errorf("it is a package of %q", text)
	}
	return err
}

func (m *machine) Repair(context.Context) error {
	if err := m.step(); err != nil {
		return err
	}
	m.whole, m.runs = true, m.installed
	return nil
}

func (m *machine) Install(_ context.Context, file string) error {
	text, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	if err := m.step(); err != nil {
		return err
	}
	m.installed, m.whole = string(text), false // unpacked
	if err := m.step(); err != nil {
		return err
	}
	m.whole, m.runs = true, m.installed
	return nil
}

// Check takes settings unless they say wrong.
func (m *machine) Check(_ context.Context, file string) error {
	text, err := os.ReadFile(file)
	if err == nil && strings.Contains(string(text), "wrong") {
		err = errors.New("settings.toml:1: wrong: unknown key")
	}
	return err
}

// Restart has the box run with the settings that are in place. With deadly ones it
// never comes well.
func (m *machine) Restart(context.Context) error {
	text, err := os.ReadFile(filepath.Join(m.folder, update.SettingsFile))
	if err != nil {
		return err
	}
	m.restarts++
	if m.restarts == m.cutAtRestart {
		m.runs = ""
		return errCut
	}
	m.settings, m.runs = string(text), m.installed
	if strings.Contains(m.settings, "deadly") {
		m.runs = "bad"
	}
	return nil
}

func (m *machine) verify(_ context.Context, signed []byte) ([]byte, error) {
	text, ok := strings.CutPrefix(string(signed), m.signed)
	if !ok {
		return nil, errors.New("it is not signed by the key")
	}
	return []byte(text), nil
}

// publish publishes packages of versions and a plan for them, with these rings.
func (m *machine) publish(serial int, rings string, versions ...string) {
	text := fmt.Sprintf("serial = %d\n%s", serial, rings)
	for _, v := range versions {
		digest := sha256.Sum256([]byte(v))
		id := "preau_" + v + "_amd64.deb"
		m.published[id] = []byte(v)
		text += fmt.Sprintf("[[package]]\nversion = %q\narch = \"amd64\"\nid = %q\nsha256 = %q\nsize = %d\n", v, id, hex.EncodeToString(digest[:]), len(v))
	}
	m.published[update.PlanID] = []byte(m.signed + text)
}

func ring(version string, more ...string) string {
	return fmt.Sprintf("[[ring]]\nversion = %q\n%s\n", version, strings.Join(more, "\n"))
}

// run is one run of the updater. With a power cut in it, the machine is on again
// afterwards, and what runs is what is installed.
func (m *machine) run(t *testing.T, o update.Options) (update.Told, error) {
	t.Helper()
	return m.with(t, func(u *update.Updater, ctx context.Context) (update.Told, error) { return u.Run(ctx, o) })
}

func (m *machine) with(t *testing.T, do func(*update.Updater, context.Context) (update.Told, error)) (told update.Told, err error) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) { told, err = m.within(t, do) })
	return told, err
}

func (m *machine) within(t *testing.T, do func(*update.Updater, context.Context) (update.Told, error)) (update.Told, error) {
	t.Helper()
	cfg := update.DefaultConfig()
	cfg.Folder, cfg.Archives = m.folder, []string{filepath.Join(m.folder, "archives")}
	own := filepath.Join(t.TempDir(), "preau")
	if err := os.WriteFile(own, []byte("program"), 0o755); err != nil {
		t.Fatal(err)
	}
	ctx, cut := context.WithCancel(t.Context())
	defer cut()
	parts := update.Parts{Box: m, Packages: &cutting{m, cut}, Settings: &cutting{m, cut}, Verify: m.verify, Now: func() time.Time { return m.now }, Own: own}
	if m.imaged {
		parts.Packages = nil
	}
	u, err := update.New(cfg, parts, quiet)
	if err != nil {
		t.Fatal(err)
	}
	told, err := do(u, ctx)
	if err := u.Close(); err != nil {
		t.Fatal(err)
	}
	m.mu.Lock()
	if m.runs == "" { // it is switched on again, and runs what is unpacked
		m.runs = m.installed
	}
	m.mu.Unlock()
	return told, err
}

// cutting ends the run's context with the power, so that nothing more is written.
type cutting struct {
	*machine
	cut context.CancelFunc
}

func (c *cutting) end(err error) error {
	if errors.Is(err, errCut) {
		c.cut()
	}
	return err
}
func (c *cutting) Restart(ctx context.Context) error { return c.end(c.machine.Restart(ctx)) }
func (c *cutting) Repair(ctx context.Context) error  { return c.end(c.machine.Repair(ctx)) }
func (c *cutting) Install(ctx context.Context, f string) error {
	return c.end(c.machine.Install(ctx, f))
}
