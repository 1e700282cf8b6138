// Package update keeps the program of a box on plain Debian at the version that
// its region wants.
//
// A region publishes packages, and a plan that says which boxes should have which
// version, signed by a key that was installed with the box. The updater asks the
// box of its machine for them, believes nothing that is not in the plan, installs
// with dpkg, and looks whether the box comes back well. If not, it installs the
// version before again, which lay on the disk all the time, and remembers which
// one was bad. What it is at is on the disk before it begins: after a power cut the
// next run goes on.
//
// It speaks with nobody but the box of its own machine, takes no key and no address
// from what it fetches, never goes to an older version unless the plan says so, and
// does nothing at all without a way back. On machines with a whole image it takes
// the plan's settings, and leaves versions to the image.
package update

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"time"

	"preau/cache/block/lockfile"
	"preau/node/keep"
)

// Config is how a machine does it.
type Config struct {
	Folder   string        // for itself
	Archives []string      // folders in which packages may lie that were installed otherwise
	Hours    []string      // when it changes over, whatever the plan says; none: what the plan says
	Within   time.Duration // how long a version may take to be well
	Steady   time.Duration // for how long it must be, then
	Look     time.Duration // how often it is looked at
}

// DefaultConfig has all that need not be said.
func DefaultConfig() Config {
	return Config{
		Folder: Folder, Archives: []string{"/var/cache/apt/archives"},
		Within: 5 * time.Minute, Steady: time.Minute, Look: 2 * time.Second,
	}
}

// Parts is what the updater works with. Packages may be nil for RunSettings.
type Parts struct {
	Box interface {
		Standing(ctx context.Context) (Standing, error)
		Ready(ctx context.Context) bool
		Fetch(ctx context.Context, id string, w io.Writer, most int64) error
	}
	Packages interface {
		Installed(ctx context.Context) (version string, whole bool, err error)
		Arch(ctx context.Context) (string, error)
		Holds(ctx context.Context, file string, k Package) error
		Repair(ctx context.Context) error
		Install(ctx context.Context, file string) error
		Program(ctx context.Context) (string, error)
	}
	Settings interface {
		Check(ctx context.Context, file string) error
		Restart(ctx context.Context) error
	}
	Verify func(ctx context.Context, signed []byte) ([]byte, error)
	Now    func() time.Time
	// Own is the program that runs. A copy of it goes on after a power cut, whatever
	// is half installed then.
	Own string
}

// Updater is one run. It is for one caller.
type Updater struct {
	cfg   Config
	parts Parts
	log   *slog.Logger
	s     state
	lock  *lockfile.Lock
	runs  string // the version of the box, where there are no packages to ask
}

// New makes a run. Nobody else may be at it; Close ends that.
func New(cfg Config, parts Parts, log *slog.Logger) (*Updater, error) {
	if _, err := ParseHours(cfg.Hours); err != nil {
		return nil, fmt.Errorf("hours: %w", err)
	}
	if cfg.Within <= 0 || cfg.Steady < 0 || cfg.Look <= 0 || cfg.Steady >= cfg.Within {
		return nil, fmt.Errorf("a version must be well for %v within %v: the first must be shorter", cfg.Steady, cfg.Within)
	}
	if err := os.MkdirAll(cfg.Folder, 0o755); err != nil {
		return nil, err
	}
	u := &Updater{cfg: cfg, parts: parts, log: log.With("part", "update")}
	var err error
	if u.lock, err = lockfile.Take(u.path("lock")); errors.Is(err, lockfile.ErrHeld) {
		return nil, errors.New("another run is under way: preau update says how far it is")
	} else if err != nil {
		return nil, err
	}
	if err := u.load(); err != nil {
		return nil, errors.Join(err, u.lock.Close())
	}
	return u, nil
}

// Close ends the run.
func (u *Updater) Close() error { return u.lock.Close() }

// Options is how one run differs from what the timer does.
type Options struct {
	AnyTime bool // do not wait for the hours
	Again   bool // try again what was given up

	// Of RunSettings alone:
	First bool          // a box that has no settings does not wait for the hours
	Wait  time.Duration // for how long the first plan is looked for
	Copy  string        // where the signed plan is kept whose settings are in place; nowhere if empty
}

// Run goes on with what was interrupted, and otherwise takes what the region wants
// here. That nothing can be had now is no error.
func (u *Updater) Run(ctx context.Context, o Options) (Told, error) {
	if err := u.resumeSettings(ctx); err != nil {
		return u.failed(ctx, u.s.Told.Version, err)
	}
	if u.s.Phase != idle {
		u.log.InfoContext(ctx, "going on with an installation", "phase", string(u.s.Phase), "version", u.s.To.Version)
		return u.goOn(ctx)
	}
	if o.Again {
		u.s.Refused, u.s.SettingsRefused = nil, SettingsRefused{}
	}
	installed, whole, err := u.parts.Packages.Installed(ctx)
	if err != nil {
		return u.failed(ctx, "", fmt.Errorf("which version is installed can't be told: %w", err))
	}
	if !whole { // somebody else's installation was cut off
		if err := u.parts.Packages.Repair(ctx); err != nil {
			return u.failed(ctx, installed, err)
		}
	}
	w, err := u.who(ctx)
	if err != nil {
		return u.failed(ctx, installed, err)
	}
	p, _, err := u.plan(ctx, w)
	switch {
	case errors.Is(err, ErrNotNow):
		return u.said(ctx, Told{Version: installed, Text: "no plan: " + err.Error()})
	case err != nil:
		return u.failed(ctx, installed, err)
	}
	return u.take(ctx, o, p, w, installed)
}

// take does what a plan wants: the version first, for settings may be of it.
func (u *Updater) take(ctx context.Context, o Options, p Plan, w Who, installed string) (Told, error) {
	c := Choose(p, w, installed, u.s.Refused)
	t := Told{Version: installed, Wanted: c.Wanted, Text: c.Why}
	u.s.Told.Wanted = c.Wanted
	hours := u.hours(c)
	spans, err := ParseHours(hours)
	if err != nil {
		return u.failed(ctx, installed, err)
	}
	may := o.AnyTime || within(spans, u.parts.Now())
	if c.Take {
		switch err := u.bring(ctx, &c); {
		case errors.Is(err, ErrNotNow):
			t.Text += "; " + err.Error()
		case err != nil:
			return u.failed(ctx, installed, err)
		case may:
			return u.begin(ctx, c.From, c.To)
		default:
			t.Text += fmt.Sprintf("; it is here and waits for %v", hours)
		}
	}
	if p.stranger(w) == nil {
		s, err := u.applySettings(ctx, installed, p.settings(w), may)
		if err != nil {
			return u.failed(ctx, installed, err)
		}
		if s.waits {
			t.Text += fmt.Sprintf("; new settings wait for %v", hours)
		}
		t.Problem = s.problem
	}
	return u.said(ctx, t)
}

// Back goes to the version that was installed before, and gives this one up.
func (u *Updater) Back(ctx context.Context) (Told, error) {
	if u.s.Phase == setting {
		if err := u.undoSettings(ctx); err != nil {
			return u.s.Told, err
		}
	}
	if u.s.Phase != idle {
		return u.goOn(ctx)
	}
	installed, _, err := u.parts.Packages.Installed(ctx)
	if err != nil {
		return u.failed(ctx, "", err)
	}
	n := len(u.s.Kept)
	if n < 2 || u.s.Kept[n-1].Version != installed {
		return u.s.Told, fmt.Errorf("the version before %s is not kept here: install its package with dpkg", installed)
	}
	from, to := u.s.Kept[n-1], u.s.Kept[n-2]
	for _, k := range []Package{from, to} {
		if err := u.right(u.file(k), k); err != nil {
			return u.s.Told, err
		}
	}
	u.refuse(from, "it was taken back by hand")
	return u.begin(ctx, from, to)
}

func (u *Updater) hours(c Choice) []string {
	switch {
	case len(u.cfg.Hours) > 0:
		return u.cfg.Hours
	case len(c.Hours) > 0:
		return c.Hours
	}
	return Night
}

// who is the box of this machine.
func (u *Updater) who(ctx context.Context) (Who, error) {
	st, err := u.parts.Box.Standing(ctx)
	if err != nil {
		return Who{}, err
	}
	if st.Region == "" {
		return Who{}, errors.New("this box belongs to no region: preau enrol")
	}
	arch, err := u.parts.Packages.Arch(ctx)
	return Who{Region: st.Region, School: st.School, Box: st.Box, Arch: arch}, err
}

// begin changes over. Both packages are in the folder.
func (u *Updater) begin(ctx context.Context, from, to Package) (Told, error) {
	if err := u.copyOwn(); err != nil {
		return u.failed(ctx, from.Version, fmt.Errorf("keep a copy of this program: %w", err))
	}
	u.s.Phase, u.s.From, u.s.To, u.s.Why = installing, from, to, ""
	u.s.Ready = u.parts.Box.Ready(ctx)
	u.log.InfoContext(ctx, "installing", "version", to.Version, "before", from.Version)
	if _, err := u.tell(Told{Version: from.Version, Wanted: u.s.Told.Wanted, Text: to.Version + " is being installed"}); err != nil {
		return u.s.Told, err
	}
	return u.goOn(ctx)
}

func (u *Updater) refuse(k Package, why string) {
	u.s.Refused = slices.DeleteFunc(u.s.Refused, func(r Refused) bool { return r.SHA256 == k.SHA256 })
	u.s.Refused = append(u.s.Refused, Refused{Version: k.Version, SHA256: k.SHA256, Why: why, At: u.parts.Now().UTC()})
	if n := len(u.s.Refused) - mostRefused; n > 0 {
		u.s.Refused = u.s.Refused[n:]
	}
}

// said notes how it stands.
func (u *Updater) said(ctx context.Context, t Told) (Told, error) {
	if t.Text != u.s.Told.Text {
		u.log.InfoContext(ctx, "how updates stand", "what", t.Text, "version", t.Version)
	}
	return u.tell(t)
}

// failed notes what is wrong.
func (u *Updater) failed(ctx context.Context, installed string, err error) (Told, error) {
	if ctx.Err() != nil {
		return u.s.Told, ctx.Err()
	}
	what := "no update is taken"
	if u.parts.Packages == nil {
		what = "no settings are taken"
	}
	u.log.WarnContext(ctx, "what the region wants is not taken", "told", what, "err", err)
	t := Told{Version: installed, Text: what, Problem: oneLine(err.Error())}
	t, worse := u.tell(t)
	return t, errors.Join(err, worse)
}

// copyOwn puts the program that runs where a package does not reach it.
func (u *Updater) copyOwn() (err error) {
	if st, err := os.Stat(u.parts.Own); err == nil {
		if own, err := os.Stat(u.path("program")); err == nil && os.SameFile(st, own) {
			return nil
		}
	}
	in, err := os.Open(u.parts.Own)
	if err != nil {
		return err
	}
	defer in.Close() //nolint:errcheck // it was read
	return replace(u.path("program"), in, 0o755)
}

// replace writes a file in one step: whatever happens there is the one before or
// the whole new one, and nothing half beside it unless the power was cut.
func replace(name string, from io.Reader, mode os.FileMode) error {
	half := name + keep.Half
	err := write(half, from, mode)
	if err == nil {
		err = os.Rename(half, name)
	}
	if err == nil {
		err = keep.SyncDir(filepath.Dir(name))
	}
	if err != nil {
		return errors.Join(err, keep.Remove(half))
	}
	return nil
}

func write(name string, from io.Reader, mode os.FileMode) error {
	f, err := os.OpenFile(name, os.O_CREATE|os.O_WRONLY|os.O_TRUNC, mode)
	if err != nil {
		return err
	}
	_, err = io.Copy(f, from)
	if err == nil {
		err = f.Sync()
	}
	return errors.Join(err, f.Close())
}

func (u *Updater) file(k Package) string { return filepath.Join(u.cfg.Folder, k.SHA256+".deb") }
