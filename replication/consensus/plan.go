package consensus

import "slices"

// promotions says which of the servers that are ready begin to vote, given how
// many vote already: as many as leave their number odd. So one that joins a lone
// server waits for a second one, and both begin together.
func promotions(voters int, ready []ServerID) []ServerID {
	ready = slices.Clone(ready)
	slices.Sort(ready)
	n := len(ready)
	if n > 0 && (voters+n)%2 == 0 {
		n--
	}
	return ready[:n]
}
