package update

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strings"
	"time"

	"preau/node/keep"
)

// SettingsFile is where the region's settings for a box lie in the folder. They are
// there only once the box was found to take them.
const SettingsFile = "settings.toml"

const notTaken = "the region's settings are not taken: "

const newSettings, oldSettings = SettingsFile + ".wanted", SettingsFile + ".before"

// Settings is what a plan sets for some of the boxes, written as in a box's own
// file. What it may say is for the program to know that reads it. An entry that
// names neither schools nor boxes is for everybody.
type Settings struct {
	Schools []string `toml:"schools" doc:"Codes of schools."`
	Boxes   []string `toml:"boxes" doc:"Names of boxes."`
	Text    string   `toml:"text" doc:"The settings."`
}

// Settings are all of a plan's that are for a box, in their order.
func (p Plan) settings(w Who) string {
	var b strings.Builder
	for _, s := range p.Settings {
		named := len(s.Schools) == 0 && len(s.Boxes) == 0 || slices.Contains(s.Boxes, w.Box) ||
			slices.ContainsFunc(s.Schools, func(code string) bool { return strings.EqualFold(code, w.School) })
		if named {
			b.WriteString(strings.TrimSpace(s.Text) + "\n")
		}
	}
	return b.String()
}

// SettingsRefused is settings that this box does not take.
type SettingsRefused struct {
	SHA256  string    `json:"sha256"`
	Version string    `json:"version"` // that does not take them; another one may
	Why     string    `json:"why"`
	At      time.Time `json:"at"`
}

// settled is what became of settings: they are there, or wait for the hours, or
// there is a problem with them.
type settled struct {
	there, waits bool
	problem      string
}

// applySettings applies the region's: they are checked by the program that reads
// them, put in place, and taken back if the box is not well with them.
func (u *Updater) applySettings(ctx context.Context, version, text string, may bool) (settled, error) {
	digest := sha256.Sum256([]byte(text))
	sum := hex.EncodeToString(digest[:])
	has, err := os.ReadFile(u.path(SettingsFile))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return settled{}, err
	}
	switch r := u.s.SettingsRefused; {
	case string(has) == text:
		u.s.SettingsRefused = SettingsRefused{}
		return settled{there: true}, nil
	case r.SHA256 == sum && r.Version == version:
		return settled{problem: notTaken + r.Why}, nil
	}
	if err := u.place(newSettings, text); err != nil {
		return settled{}, err
	}
	if why := u.parts.Settings.Check(ctx, u.path(newSettings)); why != nil {
		return u.refuseSettings(ctx, version, sum, why)
	}
	if !may {
		return settled{waits: true}, nil // for the hours, like an update
	}
	if err := u.place(oldSettings, string(has)); err != nil {
		return settled{}, err
	}
	u.s.Phase, u.s.Ready = setting, u.parts.Box.Ready(ctx)
	if err := u.save(); err != nil {
		return settled{}, err
	}
	if err := os.Rename(u.path(newSettings), u.path(SettingsFile)); err != nil {
		return settled{}, err
	}
	u.log.InfoContext(ctx, "the region's settings are applied", "sha256", sum)
	why := u.parts.Settings.Restart(ctx)
	if why == nil {
		why = u.watch(ctx)
	}
	if ctx.Err() != nil {
		return settled{}, ctx.Err()
	}
	if why != nil {
		if err := u.undoSettings(ctx); err != nil {
			return settled{}, err
		}
		return u.refuseSettings(ctx, version, sum, why)
	}
	u.s.Phase, u.s.SettingsRefused = idle, SettingsRefused{}
	return settled{there: true}, errors.Join(u.save(), keep.Remove(u.path(oldSettings)))
}

// refuseSettings remembers what is wrong with them, once.
func (u *Updater) refuseSettings(ctx context.Context, version, sum string, why error) (settled, error) {
	if ctx.Err() != nil {
		return settled{}, ctx.Err()
	}
	u.log.WarnContext(ctx, "the region's settings are not taken, those before stay", "err", why)
	u.s.SettingsRefused = SettingsRefused{SHA256: sum, Version: version, Why: fmt.Sprintf("%.2000s", oneLine(why.Error())), At: u.parts.Now().UTC()}
	return settled{problem: notTaken + u.s.SettingsRefused.Why}, errors.Join(u.save(), keep.Remove(u.path(newSettings)))
}

// resumeSettings goes on where the power was cut while settings were tried.
func (u *Updater) resumeSettings(ctx context.Context) error {
	if u.s.Phase != setting {
		return nil
	}
	u.log.InfoContext(ctx, "settings were interrupted: those before are put back, and these tried again")
	return u.undoSettings(ctx)
}

// undoSettings has those before back. It may have been begun earlier, by a run whose
// power was cut.
func (u *Updater) undoSettings(ctx context.Context) error {
	before, err := os.ReadFile(u.path(oldSettings))
	if err == nil {
		err = u.place(SettingsFile, string(before))
	}
	if err == nil {
		err = u.parts.Settings.Restart(ctx)
	}
	if err != nil {
		return fmt.Errorf("the settings before can't be put back, which is tried on: %w", err)
	}
	u.s.Phase = idle
	return errors.Join(u.save(), keep.Remove(u.path(oldSettings)))
}

// place writes a file that everybody may read, in one step.
func (u *Updater) place(name, text string) error {
	return replace(u.path(name), strings.NewReader(text), 0o644)
}
