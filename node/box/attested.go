package box

import (
	"errors"
	"fmt"
	"sync"
	"time"

	"preau/cache/vouch"
	"preau/node/attest"
)

// errNotYet is said before anything is known of the region.
var errNotYet = errors.New("nothing is known of the region yet")

// attested checks what the region's servers have signed, once the region can be
// followed.
type attested struct {
	region *membership

	mu      sync.Mutex
	checker *attest.Checker
}

// Check implements vouch.Checker.
func (a *attested) Check(statement, signature []byte, at time.Time) error {
	c := a.of()
	if c == nil {
		return fmt.Errorf("%w: %w", vouch.ErrOther, errNotYet)
	}
	return c.Check(statement, signature, at)
}

func (a *attested) of() *attest.Checker {
	a.mu.Lock()
	defer a.mu.Unlock()
	f := a.region.follower.Load()
	if a.checker == nil && f != nil {
		a.checker = attest.NewChecker(f.Identity().Region, f.Credentials().Roots, f.ServerRevoked)
	}
	return a.checker
}
