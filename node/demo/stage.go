package demo

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"preau/node/class"
	"preau/node/demo/library"
	"preau/node/wanline"
)

const (
	every   = 500 * time.Millisecond // how often the page is told
	history = 120                    // how many seconds the chart shows
	devices = 35
)

// Sample is what crossed in one second.
type Sample struct {
	At  int64 `json:"at"` // Unix seconds
	LAN int64 `json:"lan"`
	WAN int64 `json:"wan"`
}

// State is all that the page shows, as it is sent.
type State struct {
	Box     Snapshot  `json:"box"`
	WAN     int64     `json:"wan"` // bytes that crossed the line, as the line counts them
	Line    LineState `json:"line"`
	Class   *Lesson   `json:"class"`
	Emptied int64     `json:"emptied"` // how often
	Samples []Sample  `json:"samples"`
	Beyond  *Network  `json:"beyond"` // nil: the box is on its own
}

// LineState is the simulated line's.
type LineState struct {
	Mode  string `json:"mode"` // "up", "silent", "refuse"
	Rate  int64  `json:"rate"`
	Delay int64  `json:"delay_ms"`
}

// Lesson is a class that downloads, or has.
type Lesson struct {
	N       int           `json:"n"`
	Path    string        `json:"path"`
	Running bool          `json:"running"`
	Devices []Pupil       `json:"devices"`
	Report  *class.Report `json:"report"`
	Without float64       `json:"without"` // seconds it would have taken, computed: every byte for every device over the line
	Rate    int64         `json:"rate"`    // of the line when the class began
	Error   string        `json:"error"`
}

// Pupil is what the page shows of a device.
type Pupil struct {
	N       int           `json:"n"`
	Outcome class.Outcome `json:"outcome"`
	Seconds float64       `json:"s"`
	Have    int64         `json:"have"`
	Length  int64         `json:"length"`
}

// What a person may ask for in vain.
var (
	errBusy    = errors.New("a class is downloading")
	errNoClass = errors.New("there is no such file")
)

// stage has the actors: the line, the box and the class. It tells those who
// watch how things are, twice a second.
type stage struct {
	cfg  Config
	line *wanline.Line
	keep *keeper
	tell *teller
	ask  chan string // paths for the class to download
	now  func() time.Time

	// gate is held for reading by a class, and wholly while the box is another one.
	gate sync.RWMutex

	mu       sync.Mutex
	network  *network // nil: the box is on its own
	lesson   *Lesson
	emptied  int64
	samples  []Sample
	watchers map[chan State]struct{}
}

func newStage(cfg Config, line *wanline.Line, keep *keeper, tell *teller) *stage {
	s := &stage{
		cfg: cfg, line: line, keep: keep, tell: tell, now: time.Now,
		ask: make(chan string, 1), watchers: map[chan State]struct{}{},
	}
	if cfg.Beyond != nil {
		s.network = newNetwork()
	}
	return s
}

// run samples the figures and holds the classes until ctx ends.
func (s *stage) run(ctx context.Context) error {
	var classes sync.WaitGroup
	defer classes.Wait()
	tick := time.NewTicker(every)
	defer tick.Stop()
	var last Sample
	for {
		select {
		case <-ctx.Done():
			return nil
		case path := <-s.ask:
			classes.Go(func() { s.hold(ctx, path) })
		case <-tick.C:
			last = s.sample(last)
			s.publish()
		}
	}
}

// sample adds a second to the chart when it is over; last has the totals of the second before.
func (s *stage) sample(last Sample) Sample {
	now := Sample{At: s.now().Unix(), LAN: s.keep.snapshot().LANBytes, WAN: s.crossed()}
	if last.At == 0 {
		return now
	}
	if now.At == last.At {
		return last
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.samples = append(s.samples, Sample{At: now.At, LAN: max(0, now.LAN-last.LAN), WAN: now.WAN - last.WAN})
	if extra := len(s.samples) - history; extra > 0 {
		s.samples = slices.Delete(s.samples, 0, extra)
	}
	return now
}

// state is how things are at this moment.
func (s *stage) state() State {
	st := State{
		Box: s.keep.snapshot(), WAN: s.crossed(),
		Line: LineState{Mode: s.line.State().String(), Rate: s.line.Rate(), Delay: s.cfg.Delay.Milliseconds()},
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.network != nil {
		st.Beyond = s.network.shown()
	}
	st.Emptied, st.Samples = s.emptied, slices.Clone(s.samples)
	if s.lesson != nil {
		l := *s.lesson
		l.Devices = slices.Clone(l.Devices)
		st.Class = &l
	}
	return st
}

// watch gives a channel that always holds the newest state.
func (s *stage) watch() (<-chan State, func()) {
	c := make(chan State, 1)
	c <- s.state()
	s.mu.Lock()
	s.watchers[c] = struct{}{}
	s.mu.Unlock()
	return c, func() {
		s.mu.Lock()
		delete(s.watchers, c)
		s.mu.Unlock()
	}
}

func (s *stage) publish() {
	st := s.state()
	s.mu.Lock()
	defer s.mu.Unlock()
	for c := range s.watchers {
		select { // who is late gets the newest only
		case <-c:
		default:
		}
		c <- st // there is room: only publish sends, and it holds the lock
	}
}

// begin lets the class download path; one class at a time.
func (s *stage) begin(path string) error {
	if !slices.ContainsFunc(library.Items(), func(i library.Item) bool { return i.Class && i.Path == path }) {
		return fmt.Errorf("%q: %w", path, errNoClass)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	n := 1
	if s.lesson != nil {
		if s.lesson.Running {
			return errBusy
		}
		n = s.lesson.N + 1
	}
	s.lesson = &Lesson{N: n, Path: path, Running: true, Rate: s.line.Rate()}
	s.ask <- path // there is room: the one before was taken when its class began
	return nil
}

// hold runs one class to its end.
func (s *stage) hold(ctx context.Context, path string) {
	s.gate.RLock()
	defer s.gate.RUnlock()
	url := "http://" + s.keep.now().Addr() + path
	s.tell.say("class-begins", devices, url)
	rep, err := class.Run(ctx, class.Config{
		URL: url, Devices: devices, Resume: true, WANBytes: s.line.Received, Timeout: 5 * time.Minute,
		Watch: func(all []class.Device) {
			s.mu.Lock()
			defer s.mu.Unlock()
			s.lesson.Devices = pupils(all)
		},
	}, nil)
	s.mu.Lock()
	rep.Devices = nil // the page has them already, and shorter
	s.lesson.Running, s.lesson.Report = false, &rep
	if err != nil {
		s.lesson.Error = err.Error()
	}
	if s.lesson.Rate > 0 {
		s.lesson.Without = float64(devices) * float64(rep.Size) * 8 / float64(s.lesson.Rate)
	}
	without := s.lesson.Without
	s.mu.Unlock()
	if ctx.Err() != nil {
		return
	}
	var wan int64
	if rep.WANBytes != nil {
		wan = *rep.WANBytes
	}
	s.tell.say("class-ended", rep.OKCount, devices, rep.Seconds.Max, class.Bytes(rep.LANBytes), class.Bytes(wan), without)
	s.publish()
}

func pupils(all []class.Device) []Pupil {
	out := make([]Pupil, len(all))
	for i, d := range all {
		out[i] = Pupil{N: d.N, Outcome: d.Outcome, Seconds: d.Seconds, Have: d.Have, Length: d.Length}
	}
	return out
}

// ways are the school's line as it is built here: to the library, and to the
// region once there is one. They are cut together.
func (s *stage) ways() []*wanline.Line {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.network == nil || s.network.way == nil {
		return []*wanline.Line{s.line}
	}
	return []*wanline.Line{s.line, s.network.way}
}

// crossed counts the bytes that came to the school.
func (s *stage) crossed() (n int64) {
	for _, w := range s.ways() {
		n += w.Received()
	}
	return n
}

func (s *stage) cut(mode wanline.Mode) {
	for _, w := range s.ways() {
		w.Cut(mode)
	}
	s.tell.say("line-cut-" + mode.String())
	s.publish()
}

func (s *stage) heal() error {
	for _, w := range s.ways() {
		if err := w.Heal(); err != nil {
			return err
		}
	}
	s.tell.say("line-healed")
	s.publish()
	return nil
}

func (s *stage) rate(bps int64) {
	for _, w := range s.ways() {
		w.SetRate(bps)
	}
	s.tell.say("line-rate", float64(bps)/1e6)
	s.publish()
}

func (s *stage) empty(ctx context.Context) error {
	s.mu.Lock()
	busy := s.lesson != nil && s.lesson.Running
	s.mu.Unlock()
	if busy || !s.gate.TryLock() {
		return errBusy
	}
	defer s.gate.Unlock()
	if err := s.keep.clear(ctx); err != nil {
		return err
	}
	s.mu.Lock()
	s.emptied++
	if s.network != nil {
		s.network.emptied()
	}
	s.mu.Unlock()
	s.tell.say("box-emptied")
	s.publish()
	return nil
}
