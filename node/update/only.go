package update

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"time"
)

// RunSettings takes what the plan sets for this box and leaves its version alone:
// for machines whose program comes with a whole image. That there is no region yet,
// or no plan, is no error.
func (u *Updater) RunSettings(ctx context.Context, o Options) (Told, error) {
	if err := u.resumeSettings(ctx); err != nil {
		return u.failed(ctx, u.s.Told.Version, err)
	}
	if u.s.Phase != idle {
		return u.s.Told, fmt.Errorf("%s is being installed here, and is ended first: preau update run", u.s.To.Version)
	}
	if o.Again {
		u.s.SettingsRefused = SettingsRefused{}
	}
	h, err := u.hear(ctx, o.Wait)
	u.runs = h.version
	switch {
	case errors.Is(err, ErrNotNow):
		return u.said(ctx, Told{Version: h.version, Text: "no plan: " + err.Error()})
	case err != nil:
		return u.failed(ctx, h.version, err)
	}
	if err := h.plan.stranger(h.who); err != nil {
		return u.said(ctx, Told{Version: h.version, Text: err.Error()})
	}
	return u.takeSettings(ctx, o, h)
}

// takeSettings does what a plan sets, and keeps the plan once that is in place.
func (u *Updater) takeSettings(ctx context.Context, o Options, h heard) (Told, error) {
	r, _ := h.plan.ring(h.who)
	hours := u.hours(Choice{Hours: r.Hours})
	spans, err := ParseHours(hours)
	if err != nil {
		return u.failed(ctx, h.version, err)
	}
	has, err := os.ReadFile(u.path(SettingsFile))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return u.failed(ctx, h.version, err)
	}
	first := o.First && len(has) == 0 // nobody is cut off from a site
	text := h.plan.settings(h.who)
	s, err := u.applySettings(ctx, h.version, text, o.AnyTime || first || within(spans, u.parts.Now()))
	if err != nil {
		return u.failed(ctx, h.version, err)
	}
	t := Told{Version: h.version, Problem: s.problem}
	switch {
	case s.waits:
		t.Text = fmt.Sprintf("new settings of the region are here and wait for %v", hours)
	case !s.there:
		t.Text = "the settings before stay"
	case text == "":
		t.Text = "the region sets nothing for this box"
	default:
		t.Text = "the region's settings are in place"
	}
	if s.there && o.Copy != "" {
		// The settings stay without it: they are in use, and the copy is for a day on
		// which the disk is not.
		if err := copyPlan(o.Copy, h.signed); err != nil {
			u.log.WarnContext(ctx, "the plan is not kept", "err", err)
			t.Problem = fmt.Sprintf("the signed plan can't be kept in %s, for when the disk does not open: %s", o.Copy, oneLine(err.Error()))
		}
	}
	return u.said(ctx, t)
}

// heard is a plan, and the box that has heard of it.
type heard struct {
	who     Who
	version string
	plan    Plan
	signed  []byte
}

// hear asks the box for the plan. A box that was enrolled a moment ago knows of none
// yet: one that never had a plan is asked again for a while.
func (u *Updater) hear(ctx context.Context, wait time.Duration) (heard, error) {
	until := time.Now().Add(wait)
	for told := false; ; told = true {
		h, again, err := u.ask(ctx)
		if err == nil || !again || u.s.Serial > 0 || !time.Now().Before(until) {
			return h, err
		}
		if !told {
			text := fmt.Sprintf("the region's first plan is waited for, %v at most: %s", wait, oneLine(err.Error()))
			if _, err := u.said(ctx, Told{Version: h.version, Text: text}); err != nil {
				return h, err
			}
		}
		select {
		case <-ctx.Done():
			return h, ctx.Err()
		case <-time.After(u.cfg.Look):
		}
	}
}

// ask asks once. Again says whether the answer may be another one soon.
func (u *Updater) ask(ctx context.Context) (h heard, again bool, err error) {
	st, err := u.parts.Box.Standing(ctx)
	if err != nil {
		return h, true, err
	}
	h.version, h.who = st.Version, Who{Region: st.Region, School: st.School, Box: st.Box}
	if st.Region == "" {
		return h, true, fmt.Errorf("%w: this box belongs to no region yet", ErrNotNow)
	}
	h.plan, h.signed, err = u.plan(ctx, h.who)
	return h, errors.Is(err, ErrNotNow), err
}

// copyPlan has a file say what was signed. It is written only if it says something
// else, for where it lies is worn out by writing.
func copyPlan(name string, signed []byte) error {
	if has, err := os.ReadFile(name); err == nil && bytes.Equal(has, signed) {
		return nil
	}
	return replace(name, bytes.NewReader(signed), 0o644)
}
