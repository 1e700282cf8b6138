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
