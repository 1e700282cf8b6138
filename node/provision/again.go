package provision

import (
	"context"
	"errors"
	"io/fs"
	"math/rand/v2"
	"reflect"
	"slices"
	"time"

	"preau/node/config"
	"preau/node/control"
	"preau/node/keep"
)

// note is what a box leaves on its boot partition for the day its disk does not
// open: who it is and how it reaches its region. Nothing of it is a secret.
type note struct {
	About   string
	Place   control.Place
	Network Network
}

const (
	about = "Who this box is, for the day its disk does not open. It enrols nobody, and can be deleted: then such a box waits for a USB stick."
	// maxNote bounds what is read of Config.Note.
	maxNote = 64 << 10
	// empty is why a box asks whose disk is in order and has nothing on it.
	empty = "empty"
	// tellWithin is how long servers have to answer: a stick that is plugged in
	// meanwhile waits for so long.
	tellWithin = 15 * time.Second
)

// leaveNote writes down who the box is, which is enrolled. Of a box that was taken
// back and runs without its disk, the note stays that of the disk: at the next
// start the box is nobody again.
func (p *Provision) leaveNote() {
	if p.cfg.Note == "" || p.kept.Back && p.degraded() != "" {
		return
	}
	place, err := p.parts.Place(p.identity())
	if err != nil {
		p.log.Warn("who this box is can't be noted on its boot partition", "err", err)
		return
	}
	now := note{About: about, Place: place, Network: p.kept.Settings.Network}
	var had note
	// What can't be read is written anew.
	if err := keep.Read(p.cfg.Note, maxNote, &had); err == nil {
		// A stick may have brought a box without its disk into another region, until
		// it is switched off. The note is that of the disk.
		elsewhere := had.Place.Region != place.Region || had.Place.Authority != place.Authority
		if reflect.DeepEqual(had, now) || elsewhere && p.degraded() != "" {
			return
		}
	}
	if err := keep.Write(p.cfg.Note, now); err != nil {
		p.log.Warn("who this box is can't be noted on its boot partition: if its disk does not open one day, somebody must bring a stick", "file", p.cfg.Note, "err", err)
	}
}

// check reports what can't be: anybody may have written it, and it goes into the
// network's file.
func (n note) check() error {
	var p config.Problems
	n.Network.check(&p)
	return p.Err()
}

// remember has a box that is nobody ask for its place back, if it has left a note.
func (p *Provision) remember() {
	if p.cfg.Note == "" {
		return
	}
	var had note
	err := keep.Read(p.cfg.Note, maxNote, &had)
	if errors.Is(err, fs.ErrNotExist) {
		return
	}
	var back control.Comeback
	if err == nil {
		err = had.check()
	}
	if err == nil {
		back, err = control.NewComeback(had.Place, p.kept.Own)
	}
	if err != nil {
		p.log.Warn("what this box has noted of itself is of no use", "file", p.cfg.Note, "err", err)
		return
	}
	p.back = &back
	// A program that is started again goes on with the code that people have read.
	if p.kept.Own != back.Token {
		p.kept.Own = back.Token
		p.keepState()
	}
	// A file of people's says more of the network than a note does.
	if !slices.ContainsFunc(p.paths(), func(path string) bool { _, err := readFile(path); return err == nil }) {
		p.lookAtNetwork(had.Network)
	}
}

// mark keeps which way the box goes, before it goes: if it is cut off on the way,
// the next start knows whose note is whose.
func (p *Provision) mark(back bool) {
	if p.kept.Back != back {
		p.kept.Back = back
		p.keepState()
	}
}

func (p *Provision) keepState() {
	if err := keep.Write(p.cfg.State, p.kept); err != nil {
		p.log.Warn("what was done can't be kept", "err", err)
	}
}

// askBack tells the region once that the box wants its place back, and enrols it
// if an operator has agreed. Until then it tries no token: each try of one that
// the region does not know would be a decision of the region's.
func (p *Provision) askBack(ctx context.Context) (bool, State, error) {
	why := p.degraded()
	if why == "" {
		why = empty
	}
	s := State{Code: p.back.Code} // whoever has been told it once looks for it again
	asking, cancel := context.WithTimeout(ctx, min(tellWithin, p.parts.Patience))
	told, err := p.parts.AskBack(asking, *p.back, why)
	cancel()
	if err == nil && told.Accepted {
		var made bool
		p.mark(true)
		if made, err = p.enrol(ctx, control.Enrolment{Token: p.back.Token, Name: p.back.Name, Servers: told.Servers}); made {
			return true, State{Step: Done}, nil
		}
	}
	switch {
	case errors.Is(err, control.ErrOlder):
		s.Step, s.Code = Outdated, "" // nobody can compare it
	case err == nil:
		s.Step = Returning
	case control.Refused(err):
		s.Step, s.Code, s.Problems = Rejected, "", []string{err.Error()}
	default:
		s.Step, s.Problems = Untold, []string{control.Why(err)}
	}
	return false, s, err
}

// jittered is a pause, up to a tenth longer: boxes that lost their power together do
// not ask together.
func jittered(d time.Duration) time.Duration { return d + rand.N(d/10+1) }
