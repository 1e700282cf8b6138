//go:build linux

package ministry

import (
	"cmp"
	"context"
)

// Place is where a process runs, and what else it is told.
type Place struct {
	Enter  []string // what runs a command there, to be put before it
	Listen string   // HOST:PORT, as others reach it; HOST alone for a box with Settings on port 80
	Admin  string   // HOST:PORT of the face for operators
	Budget string   // of a server or a box
	School string   // of a box
	// Settings, of a box, are its listeners and all else of its file that comes
	// after data, budget and admin.
	Settings string
}

// place is where a process runs, with all that was left open.
func (m *Ministry) place(ctx context.Context, name string) (at Place, err error) {
	at = m.cfg.Place(name)
	if at.Listen == "" {
		at.Listen, err = freeAddress(ctx)
	}
	at.Admin = cmp.Or(at.Admin, "127.0.0.1:0")
	return at, err
}
