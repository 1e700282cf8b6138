package box

import (
	"io"
	"os"
	"path/filepath"
	"strings"
)

// Machine is what an appliance's system says of the machine below the box. The
// box itself does nothing about it: it tells people.
type Machine struct {
	// WithoutDisk is why the box runs from memory: tpm or disk. What is added then is
	// gone when the machine is switched off.
	WithoutDisk string `json:"without_disk,omitempty"`
	// GivenUp are versions that did not come back well, so that an older one runs.
	GivenUp []string `json:"given_up,omitempty"`
}

// maxNote bounds what is read of one note.
const maxNote = 4 << 10

// machine reads the notes that lie in a folder now; nil: nothing is amiss.
func machine(dir string) *Machine {
	if dir == "" {
		return nil
	}
	m := &Machine{GivenUp: strings.Fields(note(dir, "given-up"))}
	if first := strings.Fields(note(dir, "without-disk")); len(first) > 0 {
		m.WithoutDisk = first[0]
	}
	if m.WithoutDisk == "" && len(m.GivenUp) == 0 {
		return nil
	}
	return m
}

// note is a file's text. One that can't be read says nothing.
func note(dir, name string) string {
	f, err := os.Open(filepath.Join(dir, name))
	if err != nil {
		return ""
	}
	defer f.Close() //nolint:errcheck // it is only read
	text, err := io.ReadAll(io.LimitReader(f, maxNote))
	if err != nil {
		return ""
	}
	return string(text)
}
