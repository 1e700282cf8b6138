package control

import (
	"encoding/json"
	"io"
	"time"
)

// Deposit is what a box tells of a file whose blocks it has brought. The school
// and the box are those of its certificate.
type Deposit struct {
	ID          string    `json:"id"`
	Filename    string    `json:"filename"`
	ContentType string    `json:"content_type"`
	Title       string    `json:"title,omitempty"`
	Description string    `json:"description,omitempty"`
	Collection  string    `json:"collection,omitempty"`
	At          time.Time `json:"at"`
	Length      int64     `json:"length"`
	SHA256      string    `json:"sha256"`
	List        string    `json:"list,omitempty"` // digest of the list of its blocks
}

// WriteFailure writes f as the body of an answer.
func WriteFailure(w io.Writer, f Failure) error { return json.NewEncoder(w).Encode(f) }
