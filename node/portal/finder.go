package portal

// Find returns what matches a query best, at most n things of the library.
func (p *Portal) Find(query string, n int) []Entry {
	hits, _ := p.library.index.Search(query, n)
	out := make([]Entry, 0, len(hits))
	for _, h := range hits {
		if e, ok := p.library.get(Kind(h.Kind), h.ID); ok {
			out = append(out, *e)
		}
	}
	return out
}

// Thing is one thing of the library.
func (p *Portal) Thing(kind Kind, id string) (Entry, bool) {
	e, ok := p.library.get(kind, id)
	if !ok {
		return Entry{}, false
	}
	return *e, true
}
