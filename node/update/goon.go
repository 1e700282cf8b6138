package update

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"
)

// goOn does the rest of an installation, from whatever phase it is in.
func (u *Updater) goOn(ctx context.Context) (Told, error) {
	if u.s.Phase == installing {
		if err := u.install(ctx, u.s.To); err != nil {
			if ctx.Err() != nil {
				return u.s.Told, ctx.Err()
			}
			return u.goBack(ctx, err)
		}
		u.s.Phase = watching
		if err := u.save(); err != nil {
			return u.s.Told, err
		}
	}
	if u.s.Phase == watching {
		if err := u.watch(ctx); err != nil {
			if ctx.Err() != nil {
				return u.s.Told, ctx.Err()
			}
			return u.goBack(ctx, err)
		}
		u.log.InfoContext(ctx, "the new version is well", "version", u.s.To.Version)
		return u.settle(u.s.From, u.s.To, Told{Text: u.s.To.Version + " was installed, and the box is well"})
	}
	return u.returned(ctx)
}

// goBack notes that the new version is bad, before anything else is done.
func (u *Updater) goBack(ctx context.Context, why error) (Told, error) {
	u.log.ErrorContext(ctx, "the new version is taken back", "version", u.s.To.Version, "back_to", u.s.From.Version, "err", why)
	u.s.Phase, u.s.Why = returning, oneLine(why.Error())
	if !errors.Is(why, errNoRoom) { // that is not its fault
		u.refuse(u.s.To, u.s.Why)
	}
	if err := u.save(); err != nil {
		return u.s.Told, err
	}
	return u.returned(ctx)
}

// returned installs the version before, until that has gone well.
func (u *Updater) returned(ctx context.Context) (Told, error) {
	t := Told{Version: u.s.From.Version, Text: fmt.Sprintf("%s was taken back, and %s runs again: %s", u.s.To.Version, u.s.From.Version, u.s.Why)}
	if err := u.install(ctx, u.s.From); err != nil {
		if ctx.Err() != nil {
			return u.s.Told, ctx.Err()
		}
		t.Text = u.s.To.Version + " is being taken back"
		t.Problem = fmt.Sprintf("%s can't be installed again, which is tried on: %s", u.s.From.Version, oneLine(err.Error()))
		t, worse := u.tell(t)
		return t, errors.Join(errors.New(t.Problem), worse)
	}
	if err := u.watch(ctx); err != nil {
		if ctx.Err() != nil {
			return u.s.Told, ctx.Err()
		}
		t.Problem = fmt.Sprintf("the box is not well with %s either: %s; look at journalctl -u preau-box", u.s.From.Version, oneLine(err.Error()))
	} else {
		t.Problem = fmt.Sprintf("%s did not do well here and is not tried again: %s", u.s.To.Version, u.s.Why)
	}
	return u.settle(Package{}, u.s.From, t)
}

// settle ends an installation: now is installed, and before is the way back.
func (u *Updater) settle(before, now Package, t Told) (Told, error) {
	u.s.Kept = slices.DeleteFunc(u.s.Kept, func(k Package) bool {
		return k.SHA256 == now.SHA256 || k.SHA256 == before.SHA256 || k.SHA256 == u.s.To.SHA256
	})
	if before.SHA256 != "" {
		u.s.Kept = append(u.s.Kept, before)
	}
	u.s.Kept = append(u.s.Kept, now)
	if n := len(u.s.Kept) - 2; n > 0 {
		u.s.Kept = u.s.Kept[n:]
	}
	u.s.Phase, u.s.From, u.s.To, u.s.Why = idle, Package{}, Package{}, ""
	t.Version = now.Version
	t, err := u.tell(t)
	return t, errors.Join(err, u.tidy())
}

// install has a package installed and all of dpkg's work done. It may have been
// begun before.
func (u *Updater) install(ctx context.Context, k Package) error {
	version, whole, err := u.parts.Packages.Installed(ctx)
	if err == nil && version == k.Version && !whole {
		if u.parts.Packages.Repair(ctx) == nil {
			version, whole, err = u.parts.Packages.Installed(ctx)
		}
	}
	if err == nil && version == k.Version && whole {
		return nil
	}
	if err := u.right(u.file(k), k); err != nil {
		return err
	}
	return u.parts.Packages.Install(ctx, u.file(k))
}

// watch is nil once the box has been well for a while with the version that is
// installed, and an error if that does not come about.
func (u *Updater) watch(ctx context.Context) error {
	want, err := u.runs, error(nil)
	if u.parts.Packages != nil {
		want, err = u.parts.Packages.Program(ctx)
	}
	if err != nil {
		return fmt.Errorf("the program does not run: %w", err)
	}
	limit, cancel := context.WithTimeout(ctx, u.cfg.Within)
	defer cancel()
	tick := time.NewTicker(u.cfg.Look)
	defer tick.Stop()
	var since time.Time // it is well
	for {
		why := u.well(limit, want)
		switch now := time.Now(); {
		case why != nil:
			since, err = time.Time{}, why
		case since.IsZero():
			since = now
		}
		if !since.IsZero() && time.Since(since) >= u.cfg.Steady {
			return nil
		}
		select {
		case <-limit.Done():
			if ctx.Err() != nil {
				return ctx.Err()
			}
			if err == nil {
				err = errors.New("it was well too late")
			}
			return fmt.Errorf("the box was not well within %v: %w", u.cfg.Within, err)
		case <-tick.C:
		}
	}
}

// well is nil if the box runs that version and does at least what it did before.
func (u *Updater) well(ctx context.Context, version string) error {
	st, err := u.parts.Box.Standing(ctx)
	switch {
	case err != nil:
		return err
	case st.Version != version:
		return fmt.Errorf("version %s runs, not %s", st.Version, version)
	case st.Region == "":
		return errors.New("the box can't take part in its region any more")
	case u.s.Ready && !u.parts.Box.Ready(ctx):
		return errors.New("the box is not ready, and was before")
	}
	return nil
}
