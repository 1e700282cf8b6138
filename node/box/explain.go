package box

import (
	"encoding/json"
	"net/http"
	"time"

	"preau/node/control"
	"preau/node/explain"
)

// mostQuestion bounds a question, in bytes.
const mostQuestion = 64 << 10

// explain tells an operator what the box would do with a request. The request
// comes in a body, as its URL may be a secret and those of requests are not.
func (b *Box) explain(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Cache-Control", "no-store")
	var q explain.Question
	if err := json.NewDecoder(http.MaxBytesReader(w, r.Body, mostQuestion)).Decode(&q); err != nil {
		writeJSON(w, r, http.StatusBadRequest, control.Failure{Code: "question", Detail: "that is no question: " + err.Error()})
		return
	}
	a, err := explain.Ask(b.cfg.Site, q)
	if err != nil {
		writeJSON(w, r, http.StatusUnprocessableEntity, control.Failure{Code: "url", Detail: err.Error()})
		return
	}
	if place, err := explain.Find(b.cfg.Site, q); err == nil {
		s := b.front.Handler().Look(place.Site, place.Host, place.Asked)
		a.Stored = &explain.Stored{
			State: s.State, Status: s.Status, Bytes: s.Bytes, Whole: s.Whole, Of: s.Of.Round(time.Second),
			FreshUntil: s.FreshUntil.Round(time.Second), OfflineUntil: s.OfflineUntil.Round(time.Second),
		}
	}
	writeJSON(w, r, http.StatusOK, a)
}
