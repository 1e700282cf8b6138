// Package provision makes a new box a box of its region with nobody typing: it
// reads a file, preau.toml, from the boot partition or a USB stick, sets the
// network as the file says, and enrols the box with the token in it.
//
// Until then it waits, and says on the box's screen and on its web page what it
// waits for. It never asks for anything, and nothing is lost on the way: what was
// read is kept before it is used, so the stick may be pulled out and the power
// may fail; the token is wiped from the file once the region has taken it. A
// sound file takes the place of one that the region refuses.
//
// Once it is enrolled it leaves a note on the boot partition of who it is, without
// any secret. A box whose disk does not open one day reads it, tells its region,
// and shows a code; when an operator has compared that and taken the box back, it
// enrols again under a name beside the old one. A stick does it too, and goes first.
//
// Until then the web sites that the region has set for it pass through, if the plan
// on the boot partition is the region's: a box of its own beside this program serves
// them from memory, and here is only the door to it.
//
// A box that is enrolled reads no stick: whoever plugs one in must not be able to
// bring a school's box into a region of their own. The package mounts nothing and
// serves no pupil; it is done when the box can start.
package provision

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"time"

	"preau/node/auth/claim"
	"preau/node/control"
	"preau/node/keep"
	"preau/node/lifecycle"
	"preau/node/listen"
	"preau/node/obs"
)

// Config says where things are. All but Network, Degraded and Note must be said.
type Config struct {
	Data    string   // the box's folder
	State   string   // file that keeps what was read
	Media   []string // files to look for, as patterns of path/filepath; the first that is there counts
	Network string   // file for systemd-networkd with the box's address; empty: the network is not ours
	// Degraded is a file that is there when the box runs without its disk, and has
	// the reason in a word: tpm or disk.
	Degraded string
	// Note is a file on the boot partition for who the box is. Empty: none is left,
	// and a box whose disk does not open waits for a stick.
	Note string
	// Plan is the region's signed plan on the boot partition, and Pass the file with
	// which a box is started that passes the plan's web sites through, while this one
	// runs without its disk and waits. Empty: none pass.
	Plan, Pass string

	Listen string // where the page for people is
	Admin  string // where the face for operators is
	Name   string // what the box is called if the file says nothing
}

// Parts is what others do.
type Parts struct {
	// Enrol redeems a token, as control.Enrol.
	Enrol func(context.Context, control.Enrolment) (control.Enrolled, error)
	// Place reads who the box is, as control.PlaceOf; AskBack tells the region that
	// it wants its place back, as control.AskBack. Both go with Config.Note.
	Place   func(dir string) (control.Place, error)
	AskBack func(context.Context, control.Comeback, string) (control.Told, error)
	// Sites returns what a signed plan sets for the box that had a place, as
	// update.SettingsIn; Open reads such settings as the box will that passes sites
	// through. Both go with Config.Pass.
	Sites func(ctx context.Context, signed []byte, had control.Place) (string, error)
	Open  func(file string) (Passing, error)
	// Addresses are the machine's own, as people write them; none while there is no
	// network.
	Addresses func() []string
	// QR draws a text for Console.
	QR func(text string) (string, error)
	// Console is the box's screen.
	Console io.Writer
	// Look is how often files are looked for.
	Look time.Duration
	// Patience is how long the region has to answer, and Again the first and the
	// longest pause before it is asked again.
	Patience time.Duration
	Again    lifecycle.Backoff
}

// kept is what lies in Config.State.
type kept struct {
	Settings Settings
	From     string           // the file's path
	Enrolled control.Enrolled // once it is
	Own      string           // the token with which it asks for its place back
	Back     bool             // it has used that one
}

// maxState bounds what is read of Config.State.
const maxState = 1 << 20

// Provision is a box on its way into its region.
type Provision struct {
	cfg   Config
	parts Parts
	log   *slog.Logger
	claim *claim.Claim

	kept  kept
	back  *control.Comeback // if the box is nobody, and has been somebody
	state atomic.Pointer[State]
	pass  atomic.Pointer[pass] // nil: no sites pass
	// passWhy is why none do that should.
	passWhy string
	shown   string // what the screen shows
}

// New checks cfg and reads what was kept. It opens no port.
func New(cfg Config, parts Parts, log *slog.Logger) (*Provision, error) {
	switch {
	case cfg.Data == "", cfg.State == "", len(cfg.Media) == 0, cfg.Name == "", cfg.Listen == "", cfg.Admin == "":
		return nil, errors.New("provisioning: it needs a data folder, a file for its state, places to look, two addresses and a name")
	case cfg.Note != "" && (parts.Place == nil || parts.AskBack == nil):
		return nil, errors.New("provisioning: a note is of no use without what reads who the box is, and what asks the region")
	case cfg.Pass != "" && (cfg.Note == "" || cfg.Plan == "" || parts.Sites == nil || parts.Open == nil):
		return nil, errors.New("provisioning: to pass web sites through it needs a note, a plan and what reads them")
	case parts.Enrol == nil, parts.Addresses == nil, parts.QR == nil, parts.Console == nil, parts.Look <= 0, parts.Patience <= 0, parts.Again.Min <= 0:
		return nil, errors.New("provisioning: a part is missing")
	}
	for _, pattern := range cfg.Media {
		if _, err := filepath.Match(pattern, ""); err != nil {
			return nil, fmt.Errorf("provisioning: %q is no pattern of a path: %w", pattern, err)
		}
	}
	p := &Provision{cfg: cfg, parts: parts, log: log.With("part", "provision")}
	err := keep.Read(cfg.State, maxState, &p.kept)
	switch {
	case errors.Is(err, keep.ErrDamaged):
		p.log.Warn("what was read of a provisioning file is damaged: it is read again", "file", cfg.State, "err", err)
		p.kept = kept{}
	case err != nil && !errors.Is(err, fs.ErrNotExist):
		return nil, fmt.Errorf("read what was kept: %w", err)
	}
	p.state.Store(&State{Step: Waiting})
	return p, nil
}

// identity is where the box's identity goes.
func (p *Provision) identity() string { return filepath.Join(p.cfg.Data, "identity") }

// Enrolled reports whether the box has its place in a region.
func (p *Provision) Enrolled() bool { return control.HasIdentity(p.identity()) }

// Run returns once the box is enrolled, or when ctx ends. Of a box that was
// enrolled before it only sets the network, and shows the claim code as long as
// nobody has claimed the box.
func (p *Provision) Run(ctx context.Context) error {
	p.setNetwork()
	if p.Enrolled() {
		p.endPassing()
		p.finish()
		if err := p.open(); err != nil {
			p.log.WarnContext(ctx, "nothing can be shown on the screen", "err", err)
			return nil // the box itself says more of it
		}
		p.tell(found{}, State{Step: Done})
		return nil
	}
	if err := p.open(); err != nil {
		return err
	}
	p.remember()
	p.beginPassing(ctx)
	// The group stops what serves the page when the last part, which waits for
	// the region, has ended.
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	reg, err := obs.NewRegistry(obs.ReadBuild())
	if err != nil {
		return err
	}
	admin, err := obs.OpenAdmin(ctx, p.cfg.Admin, false, reg, p.log)
	if err != nil {
		return err
	}
	admin.Ready("provision", func(context.Context) error { return errors.New("the box belongs to no region yet") })
	admin.Handle("GET /status", p.statusHandler())
	door, err := listen.New(ctx, listen.Config{Address: p.cfg.Listen}, p.door(), p.log)
	if err != nil {
		return errors.Join(err, admin.Close())
	}
	group := lifecycle.New(p.log)
	group.Add("admin", 2*time.Second, admin.Run)
	group.Add("page", 2*time.Second, door.Run)
	group.Add("enrolment", 5*time.Second, func(ctx context.Context) error {
		defer stop()
		return p.wait(ctx)
	})
	return group.Run(ctx)
}

// open makes the folders and the code with which the school claims its box: it
// is the one that the box itself takes later.
func (p *Provision) open() (err error) {
	auth := filepath.Join(p.cfg.Data, "auth")
	if err := errors.Join(keep.Dir(p.cfg.Data), keep.Dir(auth), keep.Dir(filepath.Dir(p.cfg.State))); err != nil {
		return err
	}
	p.claim, err = claim.Open(filepath.Join(auth, "claim"), p.log)
	return err
}

// wait looks for files and asks the region until the box is enrolled.
func (p *Provision) wait(ctx context.Context) error {
	var next time.Time
	pause := p.parts.Again.Min
	tick := time.NewTicker(p.parts.Look)
	defer tick.Stop()
	answer := State{Step: Waiting} // the region's last
	for {
		p.lookAtPass(ctx)
		found := p.look()
		if found.fresh {
			next, pause, answer = time.Time{}, p.parts.Again.Min, State{Step: Asking}
		}
		if (p.kept.Settings.Token != "" || p.back != nil) && !time.Now().Before(next) {
			if answer.Step == Waiting {
				answer.Step = Asking
			}
			p.tell(found, answer)
			done, said, err := p.try(ctx)
			switch {
			case ctx.Err() != nil:
				return nil //nolint:nilerr // it was told to stop
			case done:
				p.endPassing()
				p.finish()
				p.tell(found, State{Step: Done})
				return nil
			}
			answer = said
			p.log.WarnContext(ctx, "the box is not enrolled yet", "step", answer.Step, "err", err, "again_in", pause)
			next, pause = time.Now().Add(jittered(pause)), min(2*pause, max(p.parts.Again.Max, p.parts.Again.Min))
		}
		p.tell(found, answer)
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

// try asks the region once, and says what came of it. A stick goes first; one that
// the region refuses, or whose region can't be reached, takes no box its way back.
func (p *Provision) try(ctx context.Context) (done bool, s State, err error) {
	if p.kept.Settings.Token == "" {
		return p.askBack(ctx)
	}
	p.mark(false)
	q := control.Enrolment{Token: p.kept.Settings.Token, Name: p.name(), Servers: p.kept.Settings.Region}
	switch done, err = p.enrol(ctx, q); {
	case done:
		return true, State{Step: Done}, nil
	case control.Refused(err) || tokenUseless(err):
		s = State{Step: Refused, Problems: []string{err.Error()}}
	default:
		s = State{Step: Unreached, Problems: []string{control.Why(err)}}
	}
	if p.back == nil || ctx.Err() != nil {
		return false, s, err
	}
	done, back, asking := p.askBack(ctx)
	s.Code = back.Code
	return done, s, errors.Join(err, asking)
}

// tokenUseless reports a token that can't be read: no region was asked.
func tokenUseless(err error) bool {
	said, ok := errors.AsType[*control.Error](err)
	return ok && said.Code == control.CodeToken
}

// enrol redeems a token.
func (p *Provision) enrol(ctx context.Context, q control.Enrolment) (bool, error) {
	ctx, cancel := context.WithTimeout(ctx, p.parts.Patience)
	defer cancel()
	q.Dir, q.Role = p.identity(), "box"
	made, err := p.parts.Enrol(ctx, q)
	if err != nil {
		return false, err
	}
	p.log.InfoContext(ctx, "the box is enrolled", "name", made.Name, "school", made.School, "region", made.Region)
	// If this can't be kept the next start wipes the token all the same.
	p.kept.Enrolled = made
	p.keepState()
	return true, nil
}

// name is what the box is called, or is to be.
func (p *Provision) name() string {
	switch {
	case p.kept.Enrolled.Name != "":
		return p.kept.Enrolled.Name
	case p.kept.Settings.Name != "":
		return p.kept.Settings.Name
	case p.back != nil && p.kept.Settings.Token == "":
		return p.back.Place.Name
	}
	return p.cfg.Name
}

// finish leaves a note of who the box is, and wipes the token with which it was
// enrolled from wherever it lies.
func (p *Provision) finish() {
	p.leaveNote()
	token := p.kept.Settings.Token
	if token == "" && p.kept.Own == "" {
		return
	}
	whole := true
	for _, path := range p.paths() {
		if token == "" || p.kept.Back { // that of a stick was none with which it was enrolled
			break
		}
		note := fmt.Sprintf("# %s: this token was used for the box %s; nothing is left to do with it.", time.Now().Format(time.DateOnly), p.name())
		if err := wipe(path, token, note); err != nil {
			whole = false
			p.log.Warn("the token, which is used up, can't be wiped from the file: delete the file", "file", path, "err", err)
		}
	}
	p.kept.Settings.Token, p.kept.Own = "", ""
	if err := keep.Write(p.cfg.State, p.kept); err != nil {
		p.log.Warn("the token, which is used up, is still kept on the disk: make room on it", "err", err)
	} else if whole {
		p.log.Info("the token is wiped from where it lay")
	}
}

// setNetwork has the network set as the kept settings say.
func (p *Provision) setNetwork() {
	if p.cfg.Network == "" {
		return
	}
	text := p.kept.Settings.Network.file()
	have, err := os.ReadFile(p.cfg.Network)
	if err == nil && string(have) == text || errors.Is(err, fs.ErrNotExist) && text == "" {
		return
	}
	if err := writeNetwork(p.cfg.Network, text); err != nil {
		p.log.Error("the box's address can't be set as its file says", "file", p.cfg.Network, "err", err)
		return
	}
	p.log.Info("the box's address is set as its file says", "address", p.kept.Settings.Network.Address)
}

// degraded is why the box runs without its disk, or nothing.
func (p *Provision) degraded() string {
	if p.cfg.Degraded == "" {
		return ""
	}
	text, err := os.ReadFile(p.cfg.Degraded)
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(text))
}
