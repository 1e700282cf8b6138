package auth

import (
	"crypto/sha256"
	"sync"
	"time"

	"preau/node/auth/provider"
)

const (
	maxAttempts    = 2000
	attemptExpires = 15 * time.Minute
)

// attempt is a sign-in that is under way at the provider.
type attempt struct {
	provider.Attempt
	browser [sha256.Size]byte // of the cookie that only that browser has
	back    string            // where to go afterwards
	prefix  string            // of the language that was chosen
	strong  bool              // a second factor was asked for
	join    string            // the badge that is to be joined to the account; empty: somebody signs in
	until   time.Time
}

// ask is what the provider is to ask for. To be joined for ever takes the password:
// the account that is signed in there already may be somebody else's.
func (a attempt) ask() provider.Ask {
	switch {
	case a.join != "":
		return provider.Anew
	case a.strong:
		return provider.Strong
	}
	return provider.Known
}

// attempts are in memory: a restart in the middle of a sign-in costs a click.
type attempts struct {
	mu      sync.Mutex
	byState map[string]attempt
}

func newAttempts() *attempts { return &attempts{byState: map[string]attempt{}} }

func (t *attempts) add(a attempt, now time.Time) {
	a.until = now.Add(attemptExpires)
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.byState) >= maxAttempts {
		t.room(now)
	}
	t.byState[a.State] = a
}

// room forgets what has expired, or else the oldest.
func (t *attempts) room(now time.Time) {
	oldest, when := "", time.Time{}
	for state, a := range t.byState {
		if !now.Before(a.until) {
			delete(t.byState, state)
		} else if oldest == "" || a.until.Before(when) {
			oldest, when = state, a.until
		}
	}
	if len(t.byState) >= maxAttempts {
		delete(t.byState, oldest)
	}
}

// take gives the attempt that a browser comes back with, once. Another browser
// gets nothing, and uses nothing up.
func (t *attempts) take(state, browser string, now time.Time) (attempt, bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	a, ok := t.byState[state]
	if !ok || a.browser != sha256.Sum256([]byte(browser)) {
		return attempt{}, false
	}
	delete(t.byState, state)
	return a, now.Before(a.until)
}
