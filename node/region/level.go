package region

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"time"

	"preau/node/obs"
	"preau/replication/catalogue"
)

// raiseLevel is the leader's part of an upgrade: once every server reads a newer
// version of the catalogue's encoding, the region writes in it, and servers that
// can't read it are refused. Until then any of them can be put back.
func (g *Region) raiseLevel(ctx context.Context) {
	from := g.state.Level()
	if from >= catalogue.MaxVersion || !g.node.IsLeader() {
		return // this server itself reads no more
	}
	to, err := g.readByAll()
	if err == nil && to > from {
		// The leader's own doing: if it leads no more, the next one does it.
		err = g.writeIn(ctx, to)
	}
	switch {
	case err != nil && ctx.Err() == nil:
		g.log.WarnContext(ctx, "the version that the region writes in could not be raised, and will be tried again", "err", err)
	case err == nil && to > from:
		g.log.InfoContext(ctx, "every server reads a newer version, which the region writes in from now on", "from", from, "to", to)
	}
}

// writeIn has the region write in a version of the encoding from now on. Any
// entry in it will do; this one says nothing new.
func (g *Region) writeIn(ctx context.Context, version uint8) error {
	rec, ok, err := get[catalogue.Server](g, catalogue.KindServer, g.name)
	if err != nil || !ok {
		return err
	}
	op, err := catalogue.NewPut(rec)
	if err != nil {
		return err
	}
	data, err := catalogue.EncodeAs(version, catalogue.NewCommand("server/"+g.name, time.Now(), op))
	if err != nil {
		return err
	}
	_, err = g.applyHere(ctx, data)
	return err
}

// readByAll is the highest version that every member of the region reads. Of one
// that has not said so yet, nothing is known but that it reads the first.
func (g *Region) readByAll() (uint8, error) {
	view, err := g.state.View()
	if err != nil {
		return 0, err
	}
	lowest, err := view.ReadByAll()
	for _, s := range g.node.Servers() {
		if err != nil {
			break
		}
		if _, err = view.Get(catalogue.KindServer, string(s.ID)); errors.Is(err, catalogue.ErrNotFound) {
			lowest, err = 1, nil
		}
	}
	return lowest, errors.Join(err, view.Close())
}

// readsOf is what a server that joins reads: the first version if it is too old
// to say.
func readsOf(r *http.Request) uint8 {
	v, err := strconv.ParseUint(r.URL.Query().Get("reads"), 10, 8)
	if err != nil {
		return 1
	}
	return max(uint8(v), 1)
}

// tooOld refuses a server that could not read what the region writes.
func tooOld(name string, reads, level uint8) error {
	return failure{http.StatusConflict, "version", fmt.Errorf(
		"the region has been upgraded: it writes version %d of its catalogue, and server %s reads up to %d; "+
			"install preau %s or later on %s and start it again", level, name, reads, obs.ReadBuild().Version, name)}
}
