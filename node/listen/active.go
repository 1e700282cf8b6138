package listen

import (
	"net/http"
	"sync"
	"time"
)

// active counts the handlers that run. http.Server forgets connections that
// were hijacked and does not wait for the handlers of those that it cuts, yet
// what handlers use is closed once Run has returned.
type active struct {
	next http.Handler

	mu      sync.Mutex
	running int
	idle    chan struct{} // made by finish; closed when nothing runs
}

func (a *active) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if !a.enter() {
		w.Header().Set("Connection", "close")
		w.WriteHeader(http.StatusServiceUnavailable)
		return
	}
	defer a.leave()
	a.next.ServeHTTP(w, r)
}

func (a *active) enter() bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.idle != nil {
		return false
	}
	a.running++
	return true
}

func (a *active) leave() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.running--
	if a.running == 0 && a.idle != nil {
		close(a.idle)
	}
}

// finish lets no handler begin and waits for those that run; it returns how
// many still do when patience is over.
func (a *active) finish(patience time.Duration) int {
	a.mu.Lock()
	a.idle = make(chan struct{})
	if a.running == 0 {
		close(a.idle)
	}
	a.mu.Unlock()

	over := time.NewTimer(patience)
	defer over.Stop()
	select {
	case <-a.idle:
		return 0
	case <-over.C:
		a.mu.Lock()
		defer a.mu.Unlock()
		return a.running
	}
}
