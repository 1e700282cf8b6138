package shelf

// What tests count with.
const (
	AtOncePieces = atOncePieces
	AheadPieces  = aheadPieces
)
