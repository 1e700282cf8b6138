package lesson

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"
)

const (
	// askEvery is how often other boxes are asked for their lessons.
	askEvery = 30 * time.Second
	// askWithin bounds one question.
	askWithin = 20 * time.Second
	// mostAsked and mostTold bound a question and an answer. What does not fit into
	// one answer comes with the next.
	mostAsked, mostTold = 1 << 20, 4 << 20
)

// Others are the school's other boxes. Whoever implements it listens only to boxes
// of this school that were not revoked: a box may bring lessons in anybody's name,
// and change all but whose they are.
type Others interface {
	// Boxes names those that can be reached now.
	Boxes() []string
	// Lessons asks one for what it has that is newer than have.
	Lessons(ctx context.Context, box string, have []Stamp) ([]Lesson, error)
}

// Exchange fetches what other boxes know of the school's lessons until ctx ends.
// The others do the same, so that in the end all know all.
func (s *Store) Exchange(ctx context.Context, others Others) error {
	tick := time.NewTicker(askEvery)
	defer tick.Stop()
	for {
		for _, box := range others.Boxes() {
			if err := s.askOne(ctx, others, box); err != nil && ctx.Err() == nil {
				s.log.DebugContext(ctx, "a box did not tell its lessons", "box", box, "err", err)
			}
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

func (s *Store) askOne(ctx context.Context, others Others, box string) error {
	ctx, cancel := context.WithTimeout(ctx, askWithin)
	defer cancel()
	lessons, err := others.Lessons(ctx, box, s.Stamps())
	if err != nil {
		return err
	}
	_, err = s.Take(lessons)
	return err
}

// Stamps say what this box has.
func (s *Store) Stamps() []Stamp {
	all := s.All()
	out := make([]Stamp, len(all))
	for i, l := range all {
		out[i] = Stamp{l.ID, l.Version}
	}
	return out
}

// Near answers other boxes of the school: POST with their stamps. Who may ask is
// for whoever stands before it to say.
func (s *Store) Near() http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodPost {
			w.Header().Set("Allow", http.MethodPost)
			http.Error(w, "Send what you have.", http.StatusMethodNotAllowed)
			return
		}
		raw, err := io.ReadAll(http.MaxBytesReader(w, r.Body, mostAsked))
		if err != nil {
			http.Error(w, "That is too much.", http.StatusRequestEntityTooLarge)
			return
		}
		have, err := decodeStamps(raw)
		if err != nil {
			http.Error(w, "That can't be read.", http.StatusBadRequest)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		w.Header().Set("Cache-Control", "no-store")
		_, _ = w.Write(encodeLessons(Newer(s.All(), have))) // nobody to tell
	})
}

func decodeStamps(raw []byte) (have []Stamp, err error) {
	if err := json.Unmarshal(raw, &have); err != nil {
		return nil, err
	}
	if len(have) > 2*Most {
		return nil, errors.New("too many")
	}
	return have, nil
}

// encodeLessons writes as many as fit.
func encodeLessons(lessons []Lesson) []byte {
	out := []byte("[")
	for _, l := range lessons {
		raw, err := json.Marshal(l)
		if err != nil || len(out)+len(raw) > mostTold-2 {
			continue
		}
		if len(out) > 1 {
			out = append(out, ',')
		}
		out = append(out, raw...)
	}
	return append(out, ']')
}

// decodeLessons reads another box's answer. Whether they are lessons is looked at
// by Take.
func decodeLessons(raw []byte) (lessons []Lesson, err error) {
	if err := json.Unmarshal(raw, &lessons); err != nil {
		return nil, err
	}
	if len(lessons) > 2*Most {
		return nil, errors.New("too many")
	}
	return lessons, nil
}

// Ask asks another box's Near at url, for who implements Others.
func Ask(ctx context.Context, way http.RoundTripper, url string, have []Stamp) ([]Lesson, error) {
	raw, err := json.Marshal(have)
	if err != nil {
		return nil, fmt.Errorf("ask for lessons: %w", err)
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, url, bytes.NewReader(raw))
	if err != nil {
		return nil, fmt.Errorf("ask for lessons: %w", err)
	}
	req.Header.Set("Content-Type", "application/json")
	resp, err := way.RoundTrip(req)
	if err != nil {
		return nil, fmt.Errorf("ask for lessons: %w", err)
	}
	defer func() { _ = resp.Body.Close() }() // read to its end, or of no use
	if resp.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("ask for lessons: status %d", resp.StatusCode)
	}
	if raw, err = io.ReadAll(io.LimitReader(resp.Body, mostTold+1)); err != nil {
		return nil, fmt.Errorf("ask for lessons: %w", err)
	}
	if len(raw) > mostTold {
		return nil, errors.New("ask for lessons: the answer is too long")
	}
	lessons, err := decodeLessons(raw)
	if err != nil {
		return nil, fmt.Errorf("ask for lessons: %w", err)
	}
	return lessons, nil
}
