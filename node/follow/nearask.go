package follow

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptrace"
	"net/textproto"
	"net/url"
	"sync"
	"time"

	"preau/cache/block"
	"preau/replication/hold"
)

const (
	// leastPatience and mostPatience bound how long a box may take to its first
	// word; within them it is as long as it takes as a rule.
	leastPatience, mostPatience = 250 * time.Millisecond, time.Second
	// betweenWords is how long it may be silent after that: it says every wordEvery
	// that it works on it.
	betweenWords = 2 * time.Second
	// mostAsk is how long a box may work on a block that people wait for, mostAhead
	// on others: words alone are no answer.
	mostAsk, mostAhead = time.Minute, 10 * time.Minute
	// restAfter is how long a box that failed is not asked, and strikes how often in
	// a row it may be silent until it counts as lost. One that was silent is not asked
	// for a part of restAfter, which doubles with each strike, or until it speaks: it
	// may have been busy for a moment, and what it is not asked for crosses the line.
	restAfter = 5 * time.Second
	strikes   = 3
	// mostMoods bounds the boxes that are remembered.
	mostMoods = 64
)

// What a request says for whom it is.
const (
	onlyCached = "only-if-cached" // RFC 9111 §5.2.1.7
	background = "u=7"            // RFC 9218 §4.1: nobody waits for it
)

var errWorks = errors.New("it works on the block for too long")

// mood is how a box did lately.
type mood struct {
	mu            sync.Mutex
	first, spread time.Duration // of the time to the first word, as of round trips in RFC 6298 §2
	rests, quiet  time.Time     // until then it is not asked: it failed, or was silent
	muted         time.Time     // until then it is not asked whether it has something
	silent        int           // times in a row
}

func (s *supply) mood(name string) *mood {
	s.mu.Lock()
	defer s.mu.Unlock()
	m := s.moods[name]
	if m == nil {
		if len(s.moods) >= mostMoods {
			clear(s.moods)
		}
		m = &mood{}
		s.moods[name] = m
	}
	return m
}

func (m *mood) resting() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	now := time.Now()
	return now.Before(m.rests) || now.Before(m.quiet)
}

func (m *mood) mute() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return time.Now().Before(m.muted)
}

// patience is how long to wait for the first word.
func (m *mood) patience() time.Duration {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.first == 0 {
		return mostPatience // the connection has to be made, most likely
	}
	return min(max(m.first+4*m.spread, leastPatience), mostPatience)
}

// spoke notes how long the first word took.
func (m *mood) spoke(took time.Duration) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.silent, m.quiet = 0, time.Time{}
	if took = max(took, 1); m.first == 0 {
		m.first, m.spread = took, took/2
		return
	}
	m.spread = (3*m.spread + (m.first - took).Abs()) / 4
	m.first = (7*m.first + took) / 8
}

// fell notes that a box is silent, and reports whether that was once too often.
func (m *mood) fell() (lost bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.silent++
	m.quiet = time.Now().Add(restAfter >> max(0, strikes-m.silent))
	return m.silent%strikes == 0
}

func (m *mood) failed() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.rests = time.Now().Add(restAfter)
}

func (m *mood) late() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.muted = time.Now().Add(restAfter)
}

// ask asks a box for a block, and checks it. cached: only if it has it. Silent is
// called at most once, when the box has not said a word for too long; the request
// goes on all the same.
func (s *supply) ask(ctx context.Context, box NearBox, a ask, cached bool, silent func()) (b []byte, err error) {
	limit := mostAsk
	if a.slow != nil {
		limit = mostAhead
	}
	ctx, cancel := context.WithTimeoutCause(ctx, limit, errWorks)
	defer cancel()
	m := s.mood(box.Name)
	e := listen(m, func() {
		s.met.asked.WithLabelValues("silent").Inc()
		if m.fell() {
			s.near.Lost(box.Name)
		}
		silent()
	})
	defer e.stop()
	for round := 1; ; round++ {
		t := &nearTrip{box: box, ear: e, cached: cached, ahead: a.slow != nil}
		b, err = hold.Fetch(e.trace(ctx), t, "https://"+url.PathEscape(box.Name), a.digest, a.of)
		busy, isBusy := errors.AsType[*hold.BusyError](err)
		if !isBusy || round == busyRounds || cached || ctx.Err() != nil {
			s.judge(ctx, box, m, t, err)
			return b, err
		}
		wait := min(max(busy.After, leastBusy), betweenWords/2)
		timer := time.NewTimer(wait)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return nil, context.Cause(ctx)
		}
	}
}

// judge notes what became of a request.
func (s *supply) judge(ctx context.Context, box NearBox, m *mood, t *nearTrip, err error) {
	result := "failed"
	switch {
	case err == nil:
		result = "got"
	case errors.Is(err, errWorks):
		m.failed()
	case ctx.Err() != nil:
		result = "given_up"
	case errors.Is(err, block.ErrNotFound):
		result = "absent"
	case errors.Is(err, hold.ErrWrongBytes):
		result = "altered"
		m.failed()
		s.log.WarnContext(ctx, "another box gave a wrong block", "box", box.Name)
		s.near.Report(box.Name, "a block that it gave is not what its digest names")
	case t.status == 0:
		result = "lost"
		m.failed()
		s.near.Lost(box.Name)
	case t.status == http.StatusServiceUnavailable:
		result = "busy"
	case t.status == http.StatusOK: // it broke off
		m.failed()
	}
	s.met.asked.WithLabelValues(result).Inc()
}

// has reports whether a box says that it has a block.
func (s *supply) has(ctx context.Context, box NearBox, a ask) bool {
	target := "https://" + url.PathEscape(box.Name) + "/blocks/" + a.digest.String()
	if a.of != "" {
		target += "?" + url.Values{"of": {a.of}}.Encode()
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodHead, target, http.NoBody)
	if err != nil {
		return false
	}
	req.Header.Set("Cache-Control", onlyCached)
	resp, err := box.RoundTripper.RoundTrip(req)
	if err != nil {
		switch {
		case errors.Is(ctx.Err(), context.DeadlineExceeded):
			s.mood(box.Name).late()
		case ctx.Err() == nil:
			s.mood(box.Name).late()
			s.near.Lost(box.Name)
		}
		return false
	}
	_ = resp.Body.Close() // it has none
	return resp.StatusCode == http.StatusOK
}

// nearTrip is one request to a box.
type nearTrip struct {
	box           NearBox
	ear           *ear
	cached, ahead bool
	status        int // of the answer; 0: there is none
}

// RoundTrip implements http.RoundTripper.
func (t *nearTrip) RoundTrip(r *http.Request) (*http.Response, error) {
	r = r.Clone(r.Context())
	if t.cached {
		r.Header.Set("Cache-Control", onlyCached)
	}
	if t.ahead {
		r.Header.Set("Priority", background)
	}
	resp, err := t.box.RoundTripper.RoundTrip(r)
	if err != nil {
		return nil, err
	}
	t.status = resp.StatusCode
	t.ear.word()
	resp.Body = heard{resp.Body, t.ear}
	return resp, nil
}

// heard takes what is read for words.
type heard struct {
	io.ReadCloser
	ear *ear
}

func (h heard) Read(p []byte) (int, error) {
	n, err := h.ReadCloser.Read(p)
	if n > 0 {
		h.ear.word()
	}
	return n, err
}

// ear notices when a box is silent for too long.
type ear struct {
	mood  *mood
	began time.Time

	mu           sync.Mutex
	timer        *time.Timer
	heard, ended bool
}

func listen(m *mood, silent func()) *ear {
	e := &ear{mood: m, began: time.Now()}
	e.mu.Lock()
	defer e.mu.Unlock()
	e.timer = time.AfterFunc(m.patience(), func() {
		e.mu.Lock()
		ended := e.ended
		e.ended = true
		e.mu.Unlock()
		if !ended {
			silent()
		}
	})
	return e
}

// word notes a sign of life.
func (e *ear) word() {
	e.mu.Lock()
	defer e.mu.Unlock()
	if !e.heard {
		e.heard = true
		e.mood.spoke(time.Since(e.began))
	}
	if !e.ended {
		e.timer.Reset(betweenWords)
	}
}

func (e *ear) stop() {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.ended = true
	e.timer.Stop()
}

// trace makes words of the interim responses to a request (RFC 9110 §15.2).
func (e *ear) trace(ctx context.Context) context.Context {
	return httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{
		Got1xxResponse: func(int, textproto.MIMEHeader) error {
			e.word()
			return nil
		},
	})
}
