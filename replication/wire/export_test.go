package wire

// For tests of what is read from a client's handshake.
var (
	RegionOf = regionOf
	NameOf   = nameOf
)

// MoveQUIC gives each QUIC connection of t a new socket, as a change of the
// network does.
func MoveQUIC(t *Transport) (moved int, err error) {
	for _, q := range t.quic {
		if err = q.move(); err != nil {
			return moved, err
		}
		moved++
	}
	return moved, nil
}
