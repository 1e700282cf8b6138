package update

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"

	"preau/node/keep"
)

// Folder is where all of it lies. Root alone writes there.
const Folder = "/var/lib/preau-update"

// phase is how far an installation is. It is on the disk before what it names
// begins, so that after a power cut the next run goes on.
type phase string

const (
	idle       phase = ""
	installing phase = "installing"
	watching   phase = "watching"
	returning  phase = "returning"
	setting    phase = "setting" // the region's settings, not a package
)

// state is what is remembered. Only a run that holds the lock changes it.
type state struct {
	Serial  int64     `json:"serial"` // of the latest plan that was seen
	Phase   phase     `json:"phase"`
	To      Package   `json:"to,omitzero"`
	From    Package   `json:"from,omitzero"`
	Why     string    `json:"why,omitempty"` // it goes back
	Ready   bool      `json:"ready"`         // the box was, before
	Kept    []Package `json:"kept"`          // packages in the folder that were installed, the latest last
	Refused []Refused `json:"refused"`
	Told    Told      `json:"told"`

	SettingsRefused SettingsRefused `json:"settings_refused,omitzero"`
}

const (
	mostState = 1 << 20
	// mostRefused is how many packages that went wrong are remembered.
	mostRefused = 20
)

// Told is what people and programs are told of updates. It lies in the folder,
// where the box reads it.
type Told struct {
	Version string    `json:"version"`          // that is installed
	Wanted  string    `json:"wanted,omitempty"` // that the region wants here
	Text    string    `json:"text"`             // how it stands
	Problem string    `json:"problem,omitempty"`
	Refused []Refused `json:"refused,omitempty"` // tried and given up
	At      time.Time `json:"at"`
}

// Read returns what was told last in a folder; fs.ErrNotExist if nothing was.
func Read(folder string) (Told, error) {
	var t Told
	err := keep.Read(filepath.Join(folder, "told"), mostState, &t)
	return t, err
}

func (u *Updater) load() error {
	err := keep.Read(u.path("state"), mostState, &u.s)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("%w: see that preau is installed well (dpkg --audit), and remove %s", err, u.path("state"))
	}
	return nil
}

func (u *Updater) save() error { return keep.Write(u.path("state"), u.s) }

// tell notes how it stands, for all to read.
func (u *Updater) tell(t Told) (Told, error) {
	t.At, t.Refused = u.parts.Now().UTC(), slices.Clone(u.s.Refused)
	if t.Wanted == "" {
		t.Wanted = u.s.Told.Wanted
	}
	u.s.Told = t
	if err := u.save(); err != nil {
		return t, err
	}
	fresh := u.path("told.fresh")
	if err := keep.Write(fresh, t); err != nil {
		return t, err
	}
	if err := os.Chmod(fresh, 0o644); err != nil {
		return t, err
	}
	return t, os.Rename(fresh, u.path("told"))
}

func (u *Updater) path(name string) string { return filepath.Join(u.cfg.Folder, name) }

// Trouble is what somebody should look at, or nothing.
func (t Told) Trouble() string {
	if t.Problem != "" {
		return t.Problem
	}
	for _, r := range t.Refused {
		if r.Version == t.Wanted && t.Wanted != t.Version {
			return "the region wants " + r.Version + " here, which was tried and given up: " + r.Why
		}
	}
	return ""
}
