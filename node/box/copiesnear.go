package box

// depositNeighbours are the school's other boxes as deposits need them.
type depositNeighbours struct{ *neighbourhood }

// Order implements Neighbours.
func (n depositNeighbours) Order(key string) []Neighbour {
	others, _ := n.neighbourhood.Order("deposit " + key)
	out := make([]Neighbour, 0, len(others))
	for _, b := range others {
		out = append(out, Neighbour{Name: b.Name, RoundTripper: b.RoundTripper})
	}
	return out
}

// Leaves implements Neighbours.
func (n depositNeighbours) Leaves(name string) bool {
	boxes := n.boxes.Load()
	if boxes == nil {
		return false
	}
	return boxes.Leaves(name)
}

// barred reports boxes that the region has revoked.
func (m *membership) barred(box string) bool {
	f := m.follower.Load()
	return f != nil && f.Revoked(box)
}
