package control

import "time"

// NeighboursPath is where a box asks for what it needs to find the other boxes
// of its school.
const NeighboursPath = "/v1/neighbours"

// NeighboursRequest is what a box says of itself.
type NeighboursRequest struct {
	// Addresses are where other boxes of its school may find it on their LAN:
	// host:port of its gossip.
	Addresses []string `json:"addresses"`
}

// NeighboursAnswer is what the region says of a school's boxes.
type NeighboursAnswer struct {
	// Key is the school's, for gossip: 32 bytes. It is another one after a box of
	// the school was revoked.
	Key []byte `json:"key"`
	// Boxes are the school's others, as far as the server has heard of them.
	Boxes []NeighbourBox `json:"boxes"`
}

// NeighbourBox is where another box said that it is.
type NeighbourBox struct {
	Name      string   `json:"name"`
	Addresses []string `json:"addresses"`
}

// MaxNeighbourAddresses is how many addresses a box may have.
const MaxNeighbourAddresses = 16

// ReportsPath is where a box tells of another one of its school that sent it what
// it should not have. Nobody got it, and the box does not ask that one for a while.
const ReportsPath = "/v1/neighbours/reports"

// MaxReports is how many boxes one request may tell of, and MaxWhy bounds what is
// said of each.
const (
	MaxReports = 64
	MaxWhy     = 120
)

// BoxReport is what a box tells of another one.
type BoxReport struct {
	Box string `json:"box"`
	Why string `json:"why"`
	// Times is how often, as far as the box that tells remembers.
	Times int `json:"times"`
	// Ago is how long ago it was last: a box's clock may be wrong.
	Ago time.Duration `json:"ago"` // nanoseconds
}

// Report is what the region remembers of it.
type Report struct {
	By    string    `json:"by"` // a box of the same school
	Why   string    `json:"why"`
	Times int       `json:"times"`
	At    time.Time `json:"at"` // of the latest, by the clock of the server that was told
}
