package lesson

import (
	"context"
	"errors"
	"math"
	"mime"
	"net/http"
	"strings"
	"time"

	"preau/cache/profile"
)

const (
	// lookBytes is what may come over the line for a look at an item.
	lookBytes = 128 << 10
	// mostHops bounds redirects.
	mostHops = 5
	// clearBytes is how much must have come for its speed to mean something.
	clearBytes = 128 << 10
)

// outcome is what came of an item.
type outcome struct {
	light            Light
	reason           Reason
	again            bool // the rest is to be brought
	bytes, have      int64
	title, kind, url string
	video            bool
	pins             []Pin
}

// errLater is a look that has seen enough.
var errLater = errors.New("the rest is brought later")

// cause is why an item can't be had, or not now.
type cause struct {
	reason Reason
	light  Light
}

func (c *cause) Error() string { return string(c.reason) }

func cannot(r Reason) error { return &cause{r, Cannot} }
func later(r Reason) error  { return &cause{r, Waiting} }

// job is the work at one link.
type job struct {
	p    *Preparer
	it   Item
	mode mode
	left int64 // that a look may still take from the line
	done int64 // bytes of what is here whole
	all  int64 // bytes of all, as far as is known
	rest bool  // something is to be brought later
	out  outcome
	last time.Time // when something came last that no pace held back
}

// link looks at a link or brings it.
func (p *Preparer) link(ctx context.Context, it Item, m mode) outcome {
	j := &job{p: p, it: it, mode: m, left: lookBytes, out: outcome{light: Ready, bytes: -1}}
	err := j.run(ctx)
	out := j.out
	out.have = j.done
	c, isCause := errors.AsType[*cause](err)
	switch {
	case isCause:
		out.light, out.reason = c.light, c.reason
		if c.light == Cannot {
			out.pins = nil
		}
	case errors.Is(err, errTooBig):
		out.light, out.reason, out.pins = Cannot, ReasonSpace, nil
	case errors.Is(err, errEndless):
		out.light, out.reason, out.pins = Cannot, ReasonLive, nil
	case errors.Is(err, errLater), err == nil && j.rest:
		out.again = true
	case err != nil:
		if ctx.Err() == nil {
			p.log.DebugContext(ctx, "a link of a lesson could not be brought", "err", err)
		}
		out.light, out.reason = Waiting, ReasonTrouble
	}
	if out.bytes < 0 && out.light == Ready && !out.again {
		out.bytes = j.done
	}
	if out.bytes >= 0 {
		out.bytes = max(out.bytes, j.done)
	}
	return out
}

func (j *job) run(ctx context.Context) error {
	place, err := j.p.parts.Sites.Find(j.it.URL)
	if err != nil {
		return cannot(refused(err))
	}
	j.out.url = place.URL()
	switch {
	case place.plan.Live:
		return cannot(ReasonLive)
	case place.Profile == "peertube":
		if id := watchID(place.path); id != "" {
			return j.video(ctx, place, id)
		}
	case place.Profile == "nextcloud":
		if token := sharePage(place.path); token != "" {
			place = j.p.parts.Sites.at(place, place.path[:strings.Index(place.path, "/s/")]+"/s/"+token+"/download", "")
			j.out.url = place.URL()
		}
	}
	if strings.HasSuffix(place.path, ".m3u8") {
		return j.playlist(ctx, place, -1)
	}
	if err := j.probe(ctx, place); err != nil {
		return err
	}
	a, err := j.need(ctx, place, true)
	if err != nil {
		return err
	}
	j.out.kind = a.header.Get("Content-Type")
	if kind, _, err := mime.ParseMediaType(j.out.kind); err == nil && (kind == "text/html" || kind == "application/xhtml+xml") {
		return j.page(ctx, place, a.document)
	}
	return nil
}

// sharePage is the token of a public link's page.
func sharePage(path string) string {
	rest, ok := strings.CutPrefix(strings.TrimPrefix(path, "/index.php"), "/s/")
	if token := strings.TrimSuffix(rest, "/"); ok && token != "" && !strings.Contains(token, "/") {
		return token
	}
	return ""
}

// probe asks what the owner of a capability allows, as the cache itself does: the
// cache acts on it without saying why.
func (j *job) probe(ctx context.Context, place Place) error {
	pr := place.plan.Probe
	if pr == nil {
		return nil
	}
	at := j.p.parts.Sites.at(place, pr.Target.Path, pr.Target.Query)
	a, err := j.ask(ctx, question{place: at, document: true})
	if err != nil && a == nil {
		return err
	}
	if a.broke || a.status >= http.StatusInternalServerError {
		return nil // the cache may well have it: it says so itself
	}
	ruling := place.rules.Probed(place.plan, a.status, a.header, a.document[:min(len(a.document), pr.Limit)])
	switch {
	case ruling.Effect == profile.Gone:
		return cannot(ReasonGone)
	case ruling.Effect != profile.Own:
		return nil
	case strings.HasSuffix(ruling.Name, "-password"):
		return cannot(ReasonPassword)
	case strings.HasSuffix(ruling.Name, "-limit"):
		return cannot(ReasonCounted)
	case strings.HasSuffix(ruling.Name, "-hidden"):
		return cannot(ReasonHidden)
	}
	return cannot(ReasonNever)
}

// need has one response here whole, following redirects. The answer is that of the
// last.
func (j *job) need(ctx context.Context, place Place, document bool) (*answer, error) {
	for range mostHops {
		a, err := j.whole(ctx, place, document)
		if err != nil {
			return a, err
		}
		if a.status < 300 || a.status >= 400 || a.status == http.StatusNotModified {
			if err := j.judge(place, a); err != nil {
				return a, err
			}
			j.done += a.length
			j.out.pins = append(j.out.pins, Pin{place, a.length})
			return a, nil
		}
		to := a.header.Get("Location")
		if low := strings.ToLower(to); strings.Contains(low, "authenticate") || strings.Contains(low, "password") {
			return a, cannot(ReasonPassword)
		} else if strings.Contains(low, "login") || strings.Contains(low, "signin") || strings.Contains(low, "/oauth") {
			return a, cannot(ReasonPrivate)
		}
		next, ok := j.p.parts.Sites.from(place, to)
		if !ok {
			return a, cannot(ReasonNotSite)
		}
		place = next
	}
	return nil, later(ReasonTrouble)
}

// judge says why what was answered is not kept, if it is not.
func (j *job) judge(place Place, a *answer) error {
	up := j.p.parts.Line.Up(place.Site)
	switch {
	case a.held():
		return nil
	case a.status == http.StatusNotFound || a.status == http.StatusGone:
		return cannot(ReasonGone)
	case a.status == http.StatusUnauthorized || a.status == http.StatusForbidden:
		return cannot(ReasonPrivate)
	case !up:
		return later(ReasonLine)
	case a.status == http.StatusTooManyRequests || a.status >= http.StatusInternalServerError:
		return later(ReasonTrouble)
	case a.cacheStatus()["detail"] == "no-storage":
		return later(ReasonStorage)
	}
	control := strings.ToLower(strings.Join(a.header.Values("Cache-Control"), ","))
	rule := place.plan.Name
	switch {
	case strings.HasPrefix(a.header.Get("Content-Type"), "text/event-stream"):
		return cannot(ReasonLive)
	case strings.Contains(control, "private"), len(a.header.Values("Set-Cookie")) > 0,
		place.plan.Do == profile.Pass && (strings.Contains(rule, "private") || strings.Contains(rule, "account") || strings.Contains(rule, "session") || strings.Contains(rule, "api")):
		return cannot(ReasonPrivate)
	}
	return cannot(ReasonNever)
}

// whole reads one response to its end: in a look no more than a little of what is
// not here, else as the line allows.
func (j *job) whole(ctx context.Context, place Place, document bool) (*answer, error) {
	q := question{place: place, document: document}
	var before []byte // of the document, from earlier bursts
	atOnce := false
	for {
		burst, err := j.turn(ctx)
		if err != nil {
			return nil, err
		}
		if q.most = burst; atOnce && j.mode == bring {
			q.most = 0
		}
		a, err := j.ask(ctx, q)
		if a != nil && q.from > 0 && a.status == http.StatusOK {
			q.from, before = 0, nil // another version: from its beginning
		}
		if a != nil && document {
			a.document = append(before, a.document...)
			a.document = a.document[:min(len(a.document), maxDocument)]
		}
		switch {
		case err == nil:
			return a, nil
		case ctx.Err() != nil:
			return nil, ctx.Err()
		case errors.Is(err, errBurst) && j.mode == look:
			j.rest = true
			return a, errLater
		case errors.Is(err, errBurst), errors.Is(err, errYield):
			j.progress(q.from + a.n)
			if a.n > 0 && a.header.Get("Accept-Ranges") == "bytes" && strings.HasPrefix(a.header.Get("Etag"), `"`) {
				q.from, q.tag, before = q.from+a.n, a.header.Get("Etag"), a.document
				continue
			}
			// What has no ranges would come from its beginning each time.
			q.from, before, atOnce = 0, nil, true
		case errors.Is(err, errTooBig), errors.Is(err, errEndless):
			return a, err
		case a != nil && a.status >= http.StatusBadRequest:
			return a, nil
		case !j.p.parts.Line.Up(place.Site):
			return a, later(ReasonLine)
		default:
			return a, later(ReasonTrouble)
		}
	}
}

// turn waits until something may come over the line, and says how much; 0 for all.
func (j *job) turn(ctx context.Context) (int64, error) {
	if j.mode == look {
		if j.left <= 0 {
			j.rest = true
			return 0, errLater
		}
		return j.left, nil
	}
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for {
		hold := j.p.holds(time.Now())
		j.p.holding(j.it, hold)
		rate := j.p.parts.Line.Rate()
		if rested := rate <= 0 || j.last.IsZero() || time.Since(j.last) >= j.p.cfg.Apart; hold == "" && rested {
			if rate <= 0 {
				return 0, nil
			}
			// What is not paced comes in bursts: as much as the rate allows until the
			// next may begin.
			return max(j.p.cfg.Burst, int64(float64(rate)*j.p.cfg.Apart.Seconds())), nil
		}
		select {
		case <-ctx.Done():
			return 0, ctx.Err()
		case <-tick.C:
		}
	}
}

// ask asks the box, and yields while people want the line.
func (j *job) ask(ctx context.Context, q question) (*answer, error) {
	q.room = math.MaxInt64
	if j.p.parts.Pins != nil {
		q.room = j.p.parts.Pins.Room() + j.done
	}
	if q.most == 0 && j.mode == look {
		q.most = max(j.left, 1)
	}
	from, came, shown := q.from, int64(0), time.Now()
	q.came = func(n int64) {
		came += n
		if now := time.Now(); now.Sub(shown) > 500*time.Millisecond {
			shown = now
			j.progress(from + came)
		}
	}
	began := time.Now()
	q.pace = j.p.pace(q.place, j.mode)
	q.every, q.before = j.mode == look, q.pace.Taken()
	asked, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	watched := make(chan struct{})
	if j.mode == bring {
		go func() { // ends with this call
			defer close(watched)
			tick := time.NewTicker(time.Second)
			defer tick.Stop()
			for {
				select {
				case <-asked.Done():
					return
				case <-tick.C:
					if j.p.holds(time.Now()) != "" {
						cancel(errYield)
						return
					}
				}
			}
		}()
	} else {
		close(watched)
	}
	a, err := ask(asked, j.p.parts.Box, q)
	cancel(nil)
	<-watched
	if a != nil {
		j.left -= a.line
		j.p.measured(a)
		if a.length >= 0 && j.out.bytes < 0 && a.status < 300 {
			j.p.known(j.it, j.done+a.length)
			j.all = j.done + a.length
		}
		if errors.Is(err, errBurst) && a.length >= 0 && j.out.bytes < j.done+a.length {
			j.out.bytes = j.done + a.length
		}
		if j.mode != bring {
			return a, err
		}
		if err == nil {
			j.p.brought(q.place)
		}
		if more := a.line - (q.pace.Taken() - q.before); more > 0 && ctx.Err() == nil {
			j.last = began
			if waited := j.p.parts.Line.WaitN(ctx, int(more)); waited != nil && err == nil {
				err = waited
			}
		}
	}
	return a, err
}

// progress shows how far the response is that comes now.
func (j *job) progress(n int64) {
	j.p.mu.Lock()
	defer j.p.mu.Unlock()
	if w := j.p.works[j.it]; w != nil && j.mode == bring {
		w.Have = j.done + n
		j.p.bell.Tell()
	}
}

// known shows how much there is in all.
func (p *Preparer) known(it Item, bytes int64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if w := p.works[it]; w != nil && bytes > w.Bytes {
		w.Bytes = bytes
		p.bell.Tell()
	}
}

// holding shows why an item does not come further for the moment.
func (p *Preparer) holding(it Item, why Reason) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.hold != why {
		p.hold = why
		p.bell.Tell()
	}
	w := p.works[it]
	if w == nil || w.Reason == why {
		return
	}
	if w.Light, w.Reason = Arriving, ""; why != "" {
		w.Light, w.Reason = Waiting, why
	}
	p.bell.Tell()
}

// measured learns how fast the line is from what came over it.
func (p *Preparer) measured(a *answer) {
	p.met.fetched.Add(float64(a.line))
	if a.line < clearBytes || a.took <= 0 {
		return
	}
	now := float64(a.line) / a.took.Seconds()
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.speed == 0 {
		p.speed = now
		return
	}
	// What came lately counts by how much it was: one large file says more than
	// ten small ones.
	weight := min(0.5, float64(a.line)/(16<<20))
	p.speed += (now - p.speed) * max(weight, 0.05)
}
