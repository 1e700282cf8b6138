//go:build !linux

package wiretest

import (
	"errors"
	"os/exec"
	"time"
)

// Line is one direction of a path: see the Linux one.
type Line struct {
	Rate  int64
	Delay time.Duration
	Loss  float64
	Queue int
}

// Counts are the packets of one direction.
type Counts struct{ Bytes, Packets, Lost, Dropped int64 }

// Path is two places with a line each way.
type Path struct{ Near, Far *Place }

// Place is a network namespace with one address.
type Place struct{ Address string }

// Open fails: network namespaces are Linux's.
func Open(Line, Line) (*Path, error) { return nil, errors.New("network namespaces need Linux") }

// Cut does nothing here.
func (*Path) Cut(bool) {}

// BlockUDP does nothing here.
func (*Path) BlockUDP(bool) {}

// Counts are none.
func (*Path) Counts() (up, down Counts) { return up, down }

// Close has nothing to do.
func (*Path) Close() error { return nil }

// Start fails.
func (*Place) Start(*exec.Cmd) error { return errors.New("network namespaces need Linux") }
