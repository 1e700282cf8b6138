package main

import (
	"fmt"
	"strings"
	"time"

	"preau/node/control"
)

// centreText is how it stands with the ministry's gateway, and what waits for it.
func centreText(s control.Status) string {
	now := middleClock(s.Servers)
	if now.IsZero() {
		now = time.Now()
	}
	c := s.Centre
	text := "Centre: none, this region is on its own"
	if c.Follows {
		text = "Centre: " + c.Address + ", " + linkText(c, now)
		if len(c.Buckets) > 0 {
			text += "; " + behindText(c, now)
		}
	}
	text += "\n"
	if w := s.Waiting; w.Count > 0 {
		text += fmt.Sprintf("Waiting for the centre: %s, %s, the oldest for %s", some(w.Count, "deposit", "deposits"), size(w.Bytes), lasted(w.Oldest, now))
		if w.Reason != "" {
			text += " (" + w.Reason + ")"
		}
		text += "\n"
	}
	return text
}

func linkText(c control.Centre, now time.Time) string {
	text := "not connected for " + lasted(c.Since, now)
	switch {
	case c.Since.IsZero():
		return "not asked yet"
	case c.Connected:
		text = "connected for " + lasted(c.Since, now)
	}
	if c.Reason != "" {
		text += " (" + c.Reason + ")"
	}
	return text
}

func behindText(c control.Centre, now time.Time) string {
	text := "not behind"
	if c.Behind > 0 {
		text = some(c.Behind, "change", "changes") + " behind"
	}
	if c.Synced.IsZero() {
		return text + ", never in step yet"
	}
	return text + ", in step " + when(c.Synced, now)
}

// lasted is how long something has lasted. Clocks may be a little apart.
func lasted(since, now time.Time) string { return span(max(0, now.Sub(since))) }

// choiceText is how a server came to the way it uses, in words.
func choiceText(chosen string) string {
	switch chosen {
	case "race":
		return "answered first"
	case "memory":
		return "TCP answered first before"
	case "probe":
		return "QUIC, tried again"
	case "proxy":
		return "through an HTTP proxy"
	case "config":
		return "TCP alone"
	}
	return chosen
}

// pathHead is the head of a table of paths.
var pathHead = []string{"FROM", "TO", "ADDRESS", "OVER", "RTT", "LOSS", "GOODPUT", "CHOSEN", "FAILS"} //nolint:gochecknoglobals // never written to

// pathRow is a path, but for where it begins.
func pathRow(p control.Path) []string {
	row := []string{p.To, p.Address, p.Transport, "-", "-", "-", choiceText(p.Chosen), p.Reason}
	if p.RTT > 0 { // else no connection is open
		row[3] = milliseconds(p.RTT)
		row[4] = fmt.Sprintf("%.1f %%", p.Loss*100)
	}
	if p.Goodput > 0 {
		row[5] = size(int64(p.Goodput)) + "/s"
		if p.Lanes != "" {
			row[5] += " (" + p.Lanes + ")"
		}
	}
	return row
}

// pathsText is how the servers reach the centre and one another, or nothing.
func pathsText(s control.Status) string {
	rows := [][]string{pathHead}
	for _, v := range s.Servers {
		for _, p := range v.Paths {
			rows = append(rows, append([]string{v.Name}, pathRow(p)...))
		}
	}
	if len(rows) == 1 {
		return ""
	}
	return "\n" + table(rows)
}

func milliseconds(seconds float64) string {
	ms := seconds * 1000
	if ms < 10 {
		return strings.TrimSuffix(fmt.Sprintf("%.1f", ms), ".0") + " ms"
	}
	return fmt.Sprintf("%.0f ms", ms)
}
