package edge

// Waiting counts those who wait for an answer of the sites, or have not yet
// taken what it brought.
func (h *Handler) Waiting() (n int) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, f := range h.flights {
		f.mu.Lock()
		n += f.waiters
		f.mu.Unlock()
	}
	return n
}

// Forget forgets what is remembered in memory of links and folders, as time
// does.
func (h *Handler) Forget() {
	h.gone.Clear()
	h.alive.Clear()
	h.probed.Clear()
	h.listings.Clear()
	h.unshared.Clear()
}

// WithNotice is withNotice.
var WithNotice = withNotice
