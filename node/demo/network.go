package demo

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"preau/node/control"
	"preau/node/demo/beyond"
	"preau/node/follow"
	"preau/node/obs"
	"preau/node/wanline"
)

// Where the region and the centre are.
const (
	phaseStarting = "starting"
	phaseJoining  = "joining" // they run, and the box is becoming one of the region's
	phaseReady    = "ready"
	phaseFailed   = "failed"
)

// centreAdmin is where preau central put looks if nothing is said.
const centreAdmin = "127.0.0.1:9192"

// listed is how many documents and deposits the page is told of.
const listed = 20

// Network is the region and the centre as the page shows them.
type Network struct {
	Phase     string     `json:"phase"`
	Problem   string     `json:"problem"`
	Linked    bool       `json:"linked"`     // the box follows the region
	PutLine   string     `json:"put_line"`   // for a terminal: puts a file into the centre
	AddLine   string     `json:"add_line"`   // adds one at the box
	ClaimLine string     `json:"claim_line"` // shows the code with which a teacher signs in
	Documents []Document `json:"documents"`
	Deposits  []Deposit  `json:"deposits"`
}

// Document is a document of the centre, on its way to the box.
type Document struct {
	Key    string `json:"key"`
	Title  string `json:"title"`
	Bytes  int64  `json:"bytes"`
	Region bool   `json:"region"` // the region knows it
	Path   string `json:"path"`   // on the box, once that knows it
	Held   int64  `json:"held"`   // bytes of it on the box
	State  string `json:"state"`  // absent, partial, complete: on the box
}

// Deposit is a file that was added at the box, on its way to the centre.
type Deposit struct {
	ID     string `json:"id"`
	Title  string `json:"title"`
	Name   string `json:"filename"`
	Bytes  int64  `json:"length"`
	Sent   int64  `json:"sent"`  // bytes of it in the region
	State  string `json:"state"` // box, region, central
	Path   string `json:"path"`
	Bucket string `json:"bucket"`
	Key    string `json:"key"`
}

// network is what the stage has of them; the stage's lock guards it.
type network struct {
	show   Network
	way    *wanline.Line  // between the box and the region; nil until there is one
	far    *beyond.Beyond // the same
	sample string         // a file to send from a terminal
	made   map[string]int // documents and deposits that were made here
}

func newNetwork() *network {
	return &network{show: Network{Phase: phaseStarting}, made: map[string]int{}}
}

func (n *network) shown() *Network {
	v := n.show
	v.Documents = v.Documents[max(0, len(v.Documents)-listed):]
	v.Documents, v.Deposits = slices.Clone(v.Documents), slices.Clone(v.Deposits)
	return &v
}

// emptied forgets what was known of documents on the box.
func (n *network) emptied() {
	docs := slices.Clone(n.show.Documents)
	for i := range docs {
		docs[i].Path, docs[i].Held, docs[i].State = "", 0, ""
	}
	n.show.Documents = docs
}

// runBeyond runs the region and the centre, and has the box join, until ctx ends.
// Whatever fails of it is said, and is no error: the school goes on without.
func (s *stage) runBeyond(ctx context.Context, data string) error {
	var parts sync.WaitGroup
	defer parts.Wait()
	trouble := func(err error) {
		if err == nil || ctx.Err() != nil {
			return
		}
		s.mu.Lock()
		s.network.show.Phase, s.network.show.Problem = phaseFailed, err.Error()
		s.mu.Unlock()
		s.cfg.Log.ErrorContext(ctx, "the region and the centre", "err", err)
		s.tell.say("beyond-failed", err)
		s.publish()
	}
	parts.Go(func() { s.observe(ctx) })
	err := s.openBeyond(data)
	if err == nil {
		way, far := s.network.way, s.network.far
		parts.Go(func() { trouble(way.Run(ctx)) })
		parts.Go(func() { trouble(s.join(ctx, far)) })
		err = far.Run(ctx)
	}
	trouble(err)
	<-ctx.Done()
	return nil
}

// openBeyond chooses where the parts listen.
func (s *stage) openBeyond(data string) error {
	at := *s.cfg.Beyond
	for _, addr := range []*string{&at.Region, &at.Centre, &at.Admin} {
		free, err := beyond.Free(*addr)
		if err != nil {
			return err
		}
		*addr = free
	}
	way, err := s.openWay(data, at.Region)
	if err != nil {
		return err
	}
	far := beyond.New(beyond.Config{Data: data, Region: at.Region, Way: way.Addr(), Centre: at.Centre, Admin: at.Admin, Log: s.cfg.Log})
	sample, err := example(data)
	if err != nil {
		return err
	}
	s.mu.Lock()
	s.network.way, s.network.far, s.network.sample = way, far, sample
	s.mu.Unlock()
	if mode := s.line.State(); mode != 0 {
		way.Cut(mode) // somebody was quick
	}
	return nil
}

// openWay opens the line between the box and the region. In a folder that is kept
// the box has been told where that is, so it is there again.
func (s *stage) openWay(data, region string) (*wanline.Line, error) {
	file, listen := filepath.Join(data, "way"), "127.0.0.1:0"
	switch raw, err := os.ReadFile(file); {
	case err == nil:
		listen = strings.TrimSpace(string(raw))
	case !errors.Is(err, fs.ErrNotExist):
		return nil, fmt.Errorf("where the line to the region was: %w", err)
	}
	way, err := wanline.New(wanline.Config{
		Listen: listen, Target: region, BitsPerSecond: s.cfg.Rate, Delay: s.cfg.Delay, Log: s.cfg.Log,
	})
	if err != nil {
		return nil, err
	}
	if err := os.WriteFile(file, []byte(way.Addr()+"\n"), 0o600); err != nil {
		way.Cut(wanline.Refuse) // closes its port
		return nil, fmt.Errorf("note where the line to the region is: %w", err)
	}
	return way, nil
}

// join makes the box one of the region's, between two classes.
func (s *stage) join(ctx context.Context, far *beyond.Beyond) error {
	select {
	case <-ctx.Done():
		return nil
	case <-far.Ready():
	}
	s.setPhase(phaseJoining)
	s.gate.Lock()
	defer s.gate.Unlock()
	dir := follow.IdentityDir(s.keep.dir())
	if !control.HasIdentity(dir) {
		if err := far.EnrolBox(ctx, dir); err != nil {
			return err
		}
		// A box finds its identity when it starts.
		if err := s.keep.again(ctx); err != nil {
			return err
		}
	}
	s.setPhase(phaseReady)
	s.tell.say("beyond-ready", s.putLine(far), s.boxLine("deposit "+s.network.sample))
	return nil
}

func (s *stage) setPhase(phase string) {
	s.mu.Lock()
	if s.network.show.Phase != phaseFailed {
		s.network.show.Phase = phase
	}
	s.mu.Unlock()
	s.publish()
}

// example is a file to send from a terminal: one that is there if the shell is
// where this program is, or else one of ours.
func example(data string) (string, error) {
	if _, err := os.Stat("README.md"); err == nil {
		return "README.md", nil
	}
	file, err := filepath.Abs(filepath.Join(data, "bonjour.txt"))
	if err == nil {
		err = os.WriteFile(file, []byte("Bonjour, et bienvenue sous le préau !\n"), 0o600)
	}
	if err != nil {
		return "", fmt.Errorf("make a file to send: %w", err)
	}
	return file, nil
}

// putLine is what a terminal needs to put a file into the centre.
func (s *stage) putLine(far *beyond.Beyond) string {
	line := s.cfg.Program + " central put " + s.network.sample + " --bucket " + beyond.Bucket
	if far.Admin() != centreAdmin {
		line += " --admin " + far.Admin()
	}
	return line
}

// boxLine is what it needs to have the box do what words say.
func (s *stage) boxLine(words string) string {
	line := s.cfg.Program + " " + words
	if b, ok := s.keep.now().(interface{ Admin() string }); ok && b.Admin() != obs.DefaultAdminAddress {
		line += " --box http://" + b.Admin()
	}
	return line
}
