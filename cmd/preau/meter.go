package main

import (
	"fmt"
	"io"
	"time"
)

// meter shows how far something is, in one line of a terminal that is written
// over again and again. Elsewhere it shows nothing.
type meter struct {
	w     io.Writer
	live  bool
	shown time.Time
}

func newMeter(w io.Writer) *meter { return &meter{w: w, live: isTerminal(w)} }

// meterEvery is how often the line changes at most.
const meterEvery = 100 * time.Millisecond

// show writes the line anew, unless it has just been written.
func (m *meter) show(format string, args ...any) {
	if !m.live || time.Since(m.shown) < meterEvery {
		return
	}
	m.shown = time.Now()
	fmt.Fprintf(m.w, "\r%s\x1b[K", fmt.Sprintf(format, args...))
}

// clear takes the line away.
func (m *meter) clear() {
	if m.live && !m.shown.IsZero() {
		fmt.Fprint(m.w, "\r\x1b[K")
		m.shown = time.Time{}
	}
}
