package provision

import "net/http"

// Page is what people see while the box waits.
func (p *Provision) Page() http.Handler { return p.door() }

// State is what programs are told.
func (p *Provision) State() State { return *p.state.Load() }
