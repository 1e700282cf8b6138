package control

import (
	"context"
	"slices"
	"time"

	"preau/replication/enrol"
	"preau/replication/identity"
	"preau/replication/wire"
)

// Enrolment is a machine or a person that wants an identity.
type Enrolment struct {
	Token   string
	Dir     string // where the identity goes
	Role    string // box or operator
	Name    string
	Servers []string // to be asked before those that the token names
	Replace bool     // give up an identity that is in Dir
}

// Enrolled is what became of it.
type Enrolled struct {
	Region  string    `json:"region"`
	Role    string    `json:"role"`
	Name    string    `json:"name"`
	School  string    `json:"school,omitempty"`
	Dir     string    `json:"dir"`
	Servers []string  `json:"servers"`
	Until   time.Time `json:"until"`
}

// maxServers is how many addresses a token can hold.
const maxServers = 3

// Enrol redeems a token. What it can't do is told by Explain.
func Enrol(ctx context.Context, q Enrolment) (Enrolled, error) {
	token, err := enrol.ParseToken(q.Token)
	if err != nil {
		return Enrolled{}, Explain(err)
	}
	role, err := identity.ParseRole(q.Role)
	if err != nil {
		return Enrolled{}, err
	}
	name, err := identity.ParseName(q.Name)
	if err != nil {
		return Enrolled{}, err
	}
	var servers []string
	for _, s := range append(slices.Clone(q.Servers), token.Servers...) {
		if !slices.Contains(servers, s) && len(servers) < maxServers {
			servers = append(servers, s)
		}
	}
	token.Servers = servers
	me, err := enrol.Enrol(ctx, token, q.Dir, enrol.Ask{Role: role, Name: name, Replace: q.Replace}, wire.DefaultDialConfig())
	if err != nil {
		return Enrolled{}, Explain(err)
	}
	id := me.Identity()
	out := Enrolled{
		Region: string(id.Region), Role: string(id.Role), Name: string(id.Name), School: string(id.School),
		Dir: q.Dir, Until: me.Certificate().NotAfter,
	}
	for _, t := range me.Servers() {
		out.Servers = append(out.Servers, t.Address)
	}
	return out, nil
}

// RegionOf is the region that a token invites to.
func RegionOf(token string) (string, error) {
	t, err := enrol.ParseToken(token)
	if err != nil {
		return "", Explain(err)
	}
	return string(t.Region), nil
}
