package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"preau/node/control"
	"preau/node/follow"
	"preau/node/near"
	updating "preau/node/update"
)

// lastDays is how long before its end a box's certificate is a problem: it is
// renewed by itself long before.
const lastDays = 14 * 24 * time.Hour

// boxStatus is what a box says of itself.
type boxStatus struct {
	Version  string           `json:"version"`
	Region   *follow.Standing `json:"region"`
	Problem  string           `json:"problem,omitempty"`
	Deposits struct {
		Count  int         `json:"count"`
		Bytes  int64       `json:"bytes"`
		First  []deposited `json:"first"`
		Closed bool        `json:"closed"`
	} `json:"deposits_waiting"`
	School *near.Status `json:"neighbours"`
	Public *publicName  `json:"public,omitempty"`
	// Machine is what an appliance's system says of it.
	Machine *machine `json:"machine,omitempty"`
	// Update is how updates of its program stand.
	Update *updating.Told `json:"update,omitempty"`
}

type machine struct {
	WithoutDisk string   `json:"without_disk,omitempty"`
	GivenUp     []string `json:"given_up,omitempty"`
}

func (m machine) problems() (wrong []string) {
	switch m.WithoutDisk {
	case "":
	case "tpm":
		wrong = append(wrong, "the disk is locked by another main board's TPM, or by one that was cleared: the box runs from memory, and has deleted nothing")
	default:
		wrong = append(wrong, "the disk can't be read: the box runs from memory")
	}
	for _, version := range m.GivenUp {
		wrong = append(wrong, "version "+version+" did not come back well and was given up: an older one runs; publish a better one under a higher number")
	}
	return wrong
}

// publicName is how it stands with a box's public name.
type publicName struct {
	Name      string    `json:"name"`
	Until     time.Time `json:"certificate_until,omitzero"`
	Announced bool      `json:"announced"`
	Why       string    `json:"why,omitempty"`
	Problem   string    `json:"problem,omitempty"`
}

// publicDays is how long before its end the public name's certificate is a
// problem: it is renewed at half of its life.
const publicDays = 21 * 24 * time.Hour

// problems is what somebody has to look at. A certificate of a short life is not
// one as long as it can be renewed.
func (p publicName) problems(now time.Time) (wrong []string) {
	switch left := p.Until.Sub(now); {
	case p.Until.IsZero():
		wrong = append(wrong, "there is no certificate for "+p.Name+": devices are not sent here"+because(p.Problem))
	case left <= 0:
		wrong = append(wrong, "the certificate for "+p.Name+" has run out "+when(p.Until, now)+": devices are not sent here"+because(p.Problem))
	case p.Problem != "" && left < publicDays:
		wrong = append(wrong, "the certificate for "+p.Name+" runs out "+when(p.Until, now)+" and was not renewed"+because(p.Problem))
	}
	return wrong
}

func because(why string) string {
	if why == "" {
		return ""
	}
	return " (" + oneLine(why) + ")"
}

func (p publicName) text(now time.Time) string {
	text := "Public name: " + p.Name
	if !p.Until.IsZero() {
		text += fmt.Sprintf(", certificate for %s more (%s)", some(max(0, int(p.Until.Sub(now)/(24*time.Hour))), "day", "days"), p.Until.Local().Format(time.DateOnly))
	}
	if p.Announced {
		return text + "; devices are sent here\n"
	}
	return text + "; devices are not sent here" + because(p.Why) + "\n"
}

// noBox is that none answers.
type noBox struct{ error }

// ofBox shows how a box stands.
func (c statusCmd) ofBox(ctx context.Context, to streams, address string) error {
	if c.Timeout != nil {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, c.Timeout.Std())
		defer cancel()
	}
	ask, err := boxFlags{Box: address}.open()
	if err != nil {
		return err
	}
	defer ask.CloseIdleConnections()
	req, err := ask.request(ctx, http.MethodGet, "/status", nil)
	if err != nil {
		return err
	}
	var s boxStatus
	if _, err := ask.do(req, &s); err != nil {
		if _, said := errors.AsType[*control.Error](err); !said {
			err = noBox{err}
		}
		return err
	}
	now := time.Now()
	wrong := boxProblems(s, now)
	if c.JSON {
		err = to.json(struct {
			boxStatus
			Healthy  bool     `json:"healthy"`
			Problems []string `json:"problems"`
		}{s, len(wrong) == 0, append([]string{}, wrong...)})
	} else {
		err = to.print(boxText(s, now))
	}
	if err == nil && len(wrong) > 0 {
		err = errors.New(strings.Join(wrong, "; "))
	}
	return err
}

// boxProblems is what somebody has to look at.
func boxProblems(s boxStatus, now time.Time) (wrong []string) {
	if s.Problem != "" {
		wrong = append(wrong, s.Problem)
	}
	if s.Public != nil {
		wrong = append(wrong, s.Public.problems(now)...)
	}
	if s.Machine != nil {
		wrong = append(wrong, s.Machine.problems()...)
	}
	if s.Update != nil && s.Update.Trouble() != "" {
		wrong = append(wrong, "update: "+s.Update.Trouble())
	}
	if r := s.Region; r != nil {
		if r.Server == "" {
			wrong = append(wrong, "no server of the region is followed: what is here is served, and the rest waits")
		}
		switch left := r.Certificate.Sub(now); {
		case left <= 0:
			wrong = append(wrong, "the certificate has run out "+when(r.Certificate, now)+": have the region readmit the box (preau readmit "+r.Box+")")
		case left < lastDays:
			wrong = append(wrong, "the certificate runs out "+when(r.Certificate, now)+" and was not renewed: the region must be reachable for that")
		}
		if s.School != nil {
			wrong = append(wrong, wrongBoxes(*s.School)...)
		}
		if r.PinsFull {
			wrong = append(wrong, "there is no room to keep all that is pinned: unpin something, or give the cache more disk")
		}
	}
	return wrong
}

// boxText is a box on one screen.
func boxText(s boxStatus, now time.Time) string {
	var b strings.Builder
	switch r := s.Region; {
	case r != nil:
		fmt.Fprintf(&b, "%s of school %s, in region %s\n", r.Box, r.School, r.Region)
	case s.Problem != "":
		b.WriteString("A box that can't take part in its region\n")
	default:
		b.WriteString("A box of no region: preau enrol makes it one of a region\n")
	}
	for _, text := range boxProblems(s, now) {
		fmt.Fprintf(&b, "  ! %s\n", text)
	}
	if r := s.Region; r != nil {
		if r.Server != "" {
			fmt.Fprintf(&b, "Region: %s is followed, for %s\n", r.Server, lasted(r.Since, now))
		}
		fmt.Fprintf(&b, "Certificate: runs out %s\n", when(r.Certificate, now))
		fmt.Fprintf(&b, "Wanted here: %s, %s of them here (%s)\n", some(int(r.Wanted), "file", "files"), count(r.Present), size(int64(r.Bytes)))
	}
	if s.School != nil {
		fmt.Fprintf(&b, "Neighbours: %s\n", besideText(s.School.Neighbours))
	}
	if s.Public != nil {
		b.WriteString(s.Public.text(now))
	}
	if s.Update != nil {
		fmt.Fprintf(&b, "Update: %s (%s)\n", s.Update.Text, when(s.Update.At, now))
	}
	d := s.Deposits
	switch {
	case d.Closed:
		b.WriteString("Deposits: turned off, or their folder can't be opened\n")
	case d.Count == 0:
		b.WriteString("Deposits: none waits\n")
	default:
		fmt.Fprintf(&b, "Deposits: %s, %s\n", some(d.Count, "waits for the centre", "wait for the centre"), size(d.Bytes))
	}
	if s.Region != nil && len(s.Region.Paths) > 0 {
		rows := [][]string{pathHead[1:]}
		for _, p := range s.Region.Paths {
			rows = append(rows, pathRow(p))
		}
		b.WriteString("\n" + table(rows))
	}
	if len(d.First) > 0 {
		b.WriteString("\n" + depositTable(d.First, now))
	}
	if rest := d.Count - len(d.First); len(d.First) > 0 && rest > 0 {
		fmt.Fprintf(&b, "… and %d more: preau deposits\n", rest)
	}
	return b.String()
}
