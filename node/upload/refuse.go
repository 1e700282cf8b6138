package upload

import (
	"encoding/json"
	"errors"
	"net/http"
)

// Reason is why something is not as it should be, for a page to put into words.
type Reason string

// The reasons there are.
const (
	ReasonSize     Reason = "size"     // one file may not be that large
	ReasonBudget   Reason = "budget"   // what may be added here is used up
	ReasonDisk     Reason = "disk"     // the disk is full
	ReasonCount    Reason = "count"    // too many are under way
	ReasonName     Reason = "name"     // no file can have that name
	ReasonRequest  Reason = "request"  // the client does not speak as it should
	ReasonOffset   Reason = "offset"   // the client is not where the box is
	ReasonChecksum Reason = "checksum" // what came is not what was sent
	ReasonBusy     Reason = "busy"     // another request has not ended yet
	ReasonBroken   Reason = "broken"   // the body broke off
	ReasonUnknown  Reason = "unknown"  // there is no such upload, or no more
	ReasonForbid   Reason = "sign-in"  // nobody is signed in
	ReasonRefused  Reason = "refused"  // the outbox will never take it
	ReasonFailed   Reason = "failed"   // the box has a trouble of its own
)

// Reasons are all of them, for those who have words for each.
func Reasons() []Reason {
	return []Reason{
		ReasonSize, ReasonBudget, ReasonDisk, ReasonCount, ReasonName, ReasonRequest, ReasonOffset, ReasonChecksum, ReasonBusy, ReasonBroken,
		ReasonUnknown, ReasonForbid, ReasonRefused, ReasonFailed,
	}
}

var (
	errTooLarge = errors.New("the file is too large")
	errBudget   = errors.New("no room is left for uploads")
	errCount    = errors.New("too many uploads are under way")
)

// statusChecksum is tus's own (Checksum).
const statusChecksum = 460

// reasonOf is why the outbox did not take a file.
func reasonOf(err error) Reason {
	switch {
	case err == nil:
		return ""
	case errors.Is(err, ErrNoRoom):
		return ReasonBudget
	case errors.Is(err, ErrRefused):
		return ReasonRefused
	case errors.Is(err, errDisk):
		return ReasonDisk
	}
	return ReasonFailed
}

// answers are how errors are told to clients.
var answers = []struct {
	err    error
	status int
	reason Reason
}{
	{errUnknown, http.StatusNotFound, ReasonUnknown},
	{errBusy, http.StatusLocked, ReasonBusy},
	{errCut, http.StatusLocked, ReasonBusy},
	{errMismatch, statusChecksum, ReasonChecksum},
	{errTooLarge, http.StatusRequestEntityTooLarge, ReasonSize},
	{errDisk, http.StatusInsufficientStorage, ReasonDisk},
	{errBudget, http.StatusInsufficientStorage, ReasonBudget},
	{errCount, http.StatusTooManyRequests, ReasonCount},
	{errFilename, http.StatusBadRequest, ReasonName},
	{errMetadata, http.StatusBadRequest, ReasonRequest},
	{errChecksum, http.StatusBadRequest, ReasonRequest},
	{errAlgo, http.StatusBadRequest, ReasonRequest},
	{errStalled, http.StatusRequestTimeout, ReasonBroken},
	{errBroken, http.StatusBadRequest, ReasonBroken},
}

// refuse answers for an error.
func (s *Server) refuse(w http.ResponseWriter, r *http.Request, err error) {
	for _, a := range answers {
		if errors.Is(err, a.err) {
			s.log.DebugContext(r.Context(), "an upload's request is refused", "reason", string(a.reason), "err", err)
			answer(w, a.status, a.reason)
			return
		}
	}
	if r.Context().Err() == nil {
		s.log.ErrorContext(r.Context(), "an upload's request failed", "err", err)
	}
	answer(w, http.StatusInternalServerError, ReasonFailed)
}

// answer says why, for programs.
func answer(w http.ResponseWriter, status int, reason Reason) {
	w.Header().Set("Preau-Reason", string(reason))
	writeJSON(w, status, struct {
		Reason Reason `json:"reason"`
	}{reason})
}

func writeJSON(w http.ResponseWriter, status int, v any) {
	raw, err := json.Marshal(v)
	if err != nil {
		status, raw = http.StatusInternalServerError, []byte("{}")
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_, _ = w.Write(append(raw, '\n')) // nobody to tell
}
