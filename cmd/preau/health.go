package main

import (
	"fmt"
	"slices"
	"time"

	"preau/node/control"
)

const (
	// tooFarBehind is how many entries a server may lack before people should
	// look at it; a few are on their way at any time.
	tooFarBehind = 1000
	// clockApart is how far a server's clock may be from the others', as seen
	// through an answer that took a moment.
	clockApart = 2 * time.Minute
)

// problems says why a region is not healthy, most grave first.
func problems(s control.Status) []string {
	var out []string
	if s.Leader == "" || !s.Quorum {
		out = append(out, fmt.Sprintf("there is no leader: nothing can be decided until most of the %d voters are up and reach one another", s.Voters))
	}
	middle := middleClock(s.Servers)
	for _, v := range s.Servers {
		switch {
		case v.State == "unreachable":
			text := "server " + v.Name + " does not answer"
			if v.Problem != "" {
				text += " (" + v.Problem + ")"
			}
			out = append(out, text)
			continue
		case v.Problem != "":
			out = append(out, "server "+v.Name+": "+v.Problem)
		}
		if v.Lag > tooFarBehind {
			out = append(out, fmt.Sprintf("server %s is %s behind", v.Name, some(v.Lag, "entry", "entries")))
		}
		if apart := v.Clock.Sub(middle); !v.Clock.IsZero() && apart.Abs() > clockApart {
			word := "ahead of"
			if apart < 0 {
				word = "behind"
			}
			out = append(out, fmt.Sprintf("the clock of server %s is %s %s the others'", v.Name, span(apart.Abs()), word))
		}
	}
	if c := s.Centre; c.Follows && !c.Connected && !c.Since.IsZero() {
		text := "the centre " + c.Address + " can't be reached"
		if c.Reason != "" {
			text += " (" + c.Reason + ")"
		}
		out = append(out, text)
	}
	return out
}

// middleClock is what most servers can agree on.
func middleClock(servers []control.Server) time.Time {
	var clocks []time.Time
	for _, v := range servers {
		if !v.Clock.IsZero() {
			clocks = append(clocks, v.Clock)
		}
	}
	if len(clocks) == 0 {
		return time.Time{}
	}
	slices.SortFunc(clocks, time.Time.Compare)
	return clocks[(len(clocks)-1)/2]
}

// remarks says what is no fault, and worth a thought.
func remarks(s control.Status) []string {
	var out []string
	switch {
	case s.Voters == 1:
		out = append(out, "one server alone: if it is lost, so is all that was decided. Add two (preau region token --server)")
	case s.Voters > 1 && s.Voters%2 == 0:
		out = append(out, fmt.Sprintf("%d voters survive no more losses than %d would: add a server, or remove one", s.Voters, s.Voters-1))
	}
	if s.Boxes.Asking > 0 {
		out = append(out, some(s.Boxes.Asking, "box can't open its disk and asks for its place back", "boxes can't open their disks and ask for their places back")+": preau boxes --state asking")
	}
	if s.Boxes.Lapsed > 0 {
		out = append(out, some(s.Boxes.Lapsed, "box has", "boxes have")+" been away for longer than a certificate lasts: preau boxes --state lapsed")
	}
	return out
}
