package region

import (
	"preau/replication/catalogue"
	"preau/replication/enrol"
	"preau/replication/identity"
	"preau/replication/wire"
)

// keys is what this server needs in order to enrol others.
func (g *Region) keys() enrol.Keys {
	return enrol.Keys{
		Authority: g.openAuthority,
		Secret:    func() (enrol.Secret, error) { return g.me.Secret(), nil },
		Servers:   g.targets,
	}
}

// openAuthority unseals the region's signing key: as the catalogue has it, once
// that has come, and before that as it lies in the folder of the founder.
func (g *Region) openAuthority() (*enrol.Authority, error) {
	if a := g.authority.Load(); a != nil {
		return a, nil
	}
	rec, ok, err := get[catalogue.Authority](g, catalogue.KindAuthority, catalogue.Authority{}.RecordID())
	if err != nil {
		return nil, err
	}
	var sealed []byte
	if ok {
		sealed = rec.Sealed
		if err := g.me.KeepSealed(sealed); err != nil {
			return nil, err
		}
	}
	a, err := g.me.OpenAuthority(sealed)
	if err != nil {
		return nil, err
	}
	g.authority.Store(a)
	return a, nil
}

// targets are the region's servers, for those who dial.
func (g *Region) targets() []wire.Target {
	var out []wire.Target
	for _, s := range g.servers() {
		out = append(out, wire.Target{Name: identity.Name(s.Name), Address: s.Address})
	}
	if len(out) == 0 {
		return g.founders
	}
	return out
}
