//go:build linux

package ministry

import (
	"context"
	"errors"

	"preau/replication/central/cephtest"
)

// Deployed says what somebody else has brought up: on machines of their own, which
// this package may end and start again. All of it must be said.
type Deployed struct {
	Ceph     *cephtest.Cluster
	Central  *Process
	Servers  []*Process
	Boxes    []*Box
	Operator string // the folder of who may do everything
	Binary   string // the command preau, as operators have it
	Bucket   string // that is watched
}

// NewBox is a box that its school's devices reach at url. Its data are seen here in
// that folder.
func NewBox(p *Process, url, school, data string) *Box { return &Box{p, url, school, data} }

// Of is a ministry that runs already, once it works. ctx bounds only the wait. After
// an error nothing is left running.
func Of(ctx context.Context, d Deployed) (*Ministry, error) {
	m := &Ministry{
		Ceph: d.Ceph, Central: d.Central, Servers: d.Servers, Boxes: d.Boxes, Operator: d.Operator,
		cfg: Config{Binary: d.Binary, Bucket: d.Bucket}, lines: newLines(), all: append([]*Process{d.Central}, d.Servers...),
	}
	for _, b := range d.Boxes {
		m.all = append(m.all, b.Process)
	}
	if err := m.Well(ctx); err != nil {
		return nil, errors.Join(err, m.Close())
	}
	return m, nil
}
