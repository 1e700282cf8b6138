package control

import (
	"cmp"
	"time"

	"preau/replication/wire"
)

// Centre is how it stands with the ministry's gateway, as the region's leader
// sees it, or the server that answers if there is none.
type Centre struct {
	Follows   bool      `json:"follows"` // false: the region has no centre, and the rest is empty
	Address   string    `json:"address,omitempty"`
	Server    string    `json:"server,omitempty"` // that says so
	Connected bool      `json:"connected"`        // it answered the last question
	Since     time.Time `json:"since,omitzero"`   // it is connected, or is not; zero: it was not asked yet
	Asked     time.Time `json:"asked,omitzero"`   // last
	Reason    string    `json:"reason,omitempty"` // why it is not connected, or what it objected to
	Synced    time.Time `json:"synced,omitzero"`  // the region had all that it had; zero: not yet
	Behind    uint64    `json:"behind"`           // changes that it has and the region has not
	Buckets   []Bucket  `json:"buckets"`          // that are followed
}

// Bucket is how far one of the centre's buckets is followed.
type Bucket struct {
	Name   string    `json:"name"`
	Behind uint64    `json:"behind"`
	Synced time.Time `json:"synced,omitzero"`
}

// Waiting is what the schools have added and the centre does not keep yet.
type Waiting struct {
	Count  int       `json:"count"`
	Bytes  int64     `json:"bytes"`
	Oldest time.Time `json:"oldest,omitzero"`  // when it was added
	Reason string    `json:"reason,omitempty"` // why the oldest waits, if that is known
}

// Path is how one server reaches another node.
type Path struct {
	To        string    `json:"to"` // a server's name, or central
	Address   string    `json:"address"`
	Transport string    `json:"transport,omitempty"` // of the last answer: quic, tcp, proxy; empty: there was none
	Chosen    string    `json:"chosen,omitempty"`    // how: race, memory, probe, proxy, config
	RTT       float64   `json:"rtt_seconds"`         // 0: no connection is open
	Loss      float64   `json:"loss_ratio"`          // of what this server sent
	Goodput   float64   `json:"goodput_bytes_per_second"`
	Lanes     string    `json:"lanes,omitempty"` // of bulk
	Used      time.Time `json:"used,omitzero"`
	Failed    time.Time `json:"failed,omitzero"`
	Reason    string    `json:"reason,omitempty"` // of the last failure, if nothing was answered since
}

// PathOf tells of a path as the wire knows it.
func PathOf(s wire.PathState) Path {
	p := Path{
		To: cmp.Or(string(s.Target.Name), string(s.Target.Role), s.Target.Address), Address: s.Target.Address,
		Transport: string(s.Way), Chosen: string(s.Chosen), RTT: s.RTT.Seconds(), Loss: s.Loss, Goodput: s.Goodput, Lanes: s.Lanes,
		Used: s.Used.UTC(), Failed: s.Failed.UTC(),
	}
	if s.Failed.After(s.Used) {
		p.Reason = Why(s.Err)
	}
	return p
}
