// Package upload takes large files in, piece by piece, so that a page that was
// loaded again, a dead battery or a box that was killed costs a moment and not the
// whole file: the server's side of tus 1.0.0 with its extensions creation,
// expiration, checksum and termination.
//
// An offset that was told to a client is on the disk: the bytes before it are
// synced, and then the record that says how many there are. Bytes beyond it are
// nobody's and are written over. A file that is whole is handed to the outbox, once
// even if the box is killed in between, and its bytes are removed here. The record
// stays for a while: a client that did not hear the last answer asks again, and is
// not to send the file a second time.
//
// Room is looked at before the first byte: an upload that could not end is refused
// at once. One that was abandoned is removed after so many days on which the box
// ran. The time of day plays no part in that, since a box may not know it.
//
// The package decides nothing about who may upload and shows nothing to people.
//
// Metrics: preau_upload_files{stage} is how many uploads there are, where stage is
// coming, whole or kept; preau_upload_bytes the room that their bytes take;
// preau_upload_received_bytes_total what came in; preau_upload_ended_total{result}
// what became of them: kept, abandoned, removed.
package upload

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sys/unix"

	"preau/node/keep"
	"preau/node/watch"
)

// Config says where uploads lie and how much they may take. Start from
// DefaultConfig.
type Config struct {
	Dir string
	// Prefix opens the paths of uploads: /teach/files/up/
	Prefix  string
	MaxSize int64 // of one file
	// Budget bounds the bytes of all uploads together; 0: only the disk does.
	Budget int64
	// Reserve is left free on the disk.
	Reserve int64
	// Expiry is how long the box runs without a byte of an upload before that is
	// removed, and how long it is known what became of one that is kept.
	Expiry time.Duration
	// Stall is how long a client may send nothing before its request is ended.
	Stall time.Duration
	// Checkpoint is after how many bytes they are synced and counted: what a
	// kill -9 may cost.
	Checkpoint int64
	// Most is how many uploads there may be, and MostEach of one owner.
	Most, MostEach int
}

// DefaultConfig returns what suits a school's box.
func DefaultConfig(dir, prefix string) Config {
	return Config{
		Dir: dir, Prefix: prefix, MaxSize: 8 << 30, Reserve: 1 << 30, Expiry: 7 * 24 * time.Hour,
		Stall: time.Minute, Checkpoint: 8 << 20, Most: 200, MostEach: 50,
	}
}

// Validate reports every mistake at once.
func (c Config) Validate() error {
	var errs []error
	if c.Dir == "" {
		errs = append(errs, errors.New("dir: must be given"))
	}
	if !strings.HasPrefix(c.Prefix, "/") || !strings.HasSuffix(c.Prefix, "/") {
		errs = append(errs, fmt.Errorf("prefix: %q does not begin and end with a slash", c.Prefix))
	}
	if c.MaxSize <= 0 || c.Checkpoint <= 0 || c.Most < 1 || c.MostEach < 1 {
		errs = append(errs, errors.New("max_size, checkpoint, most, most_each: must be more than 0"))
	}
	if c.Budget < 0 || c.Reserve < 0 {
		errs = append(errs, errors.New("budget, reserve: can't be negative"))
	}
	if c.Expiry < hour || c.Stall <= 0 {
		errs = append(errs, errors.New("expiry, stall: must be an hour at least, and more than 0"))
	}
	return errors.Join(errs...)
}

// Errors of an Outbox that the package acts on.
var (
	// ErrNoRoom is an outbox that has no room for a file now.
	ErrNoRoom = errors.New("the outbox has no room for the file")
	// ErrRefused is an outbox that will never take a file as it is.
	ErrRefused = errors.New("the outbox refuses the file")
)

// Kept is a file that an Outbox has.
type Kept struct {
	ID     string
	SHA256 [32]byte
}

// Outbox is where whole files go. Its methods may be called concurrently.
type Outbox interface {
	// Add reads a file to its end, which is length bytes away, and returns its id
	// once it is on the disk for good. After an error nothing is to be seen of it.
	// Errors may match ErrNoRoom or ErrRefused.
	Add(ctx context.Context, m Meta, length int64, r io.Reader) (id string, err error)
	// Like returns all that it has of that name and length: how a file is found
	// again that was added when the box was killed.
	Like(ctx context.Context, filename string, length int64) ([]Kept, error)
	// Room is how many bytes it would take now; below 0 if it can't tell.
	Room(ctx context.Context) int64
}

// Server takes uploads. Its methods may be called concurrently.
type Server struct {
	cfg  Config
	box  Outbox
	log  *slog.Logger
	recs *keep.Folder
	met  *metrics
	poke chan struct{}
	free func(dir string) (int64, error)
	at   func(step string) error // for tests: kills the server before a step

	mu      sync.Mutex
	uploads map[string]*upload
	bell    watch.Bell
}

// upload is one file that comes in.
type upload struct {
	turn chan struct{} // held by whoever writes its bytes or hands it on

	// guarded by Server.mu
	rec    record
	cut    func() // ends the request that is sending bytes; nil for none
	gone   bool
	reason Reason        // why a whole one is not in the outbox yet
	next   time.Time     // when it is offered to the outbox again
	wait   time.Duration // how long that was after the time before
}

const hour = time.Hour

// New opens what there is of earlier uploads and starts nothing. Run has whole
// files handed on.
func New(cfg Config, box Outbox, log *slog.Logger, reg prometheus.Registerer) (*Server, error) {
	if err := cfg.Validate(); err != nil {
		return nil, fmt.Errorf("upload config: %w", err)
	}
	s := &Server{
		cfg: cfg, box: box, log: log.With("part", "upload"), poke: make(chan struct{}, 1), free: freeBytes, at: func(string) error { return nil },
		uploads: map[string]*upload{},
	}
	var err error
	if s.recs, err = keep.Open(filepath.Join(cfg.Dir, "records"), s.log); err != nil {
		return nil, err
	}
	if err := os.MkdirAll(s.data(), 0o700); err != nil {
		return nil, fmt.Errorf("make folder of uploads: %w", err)
	}
	if err := keep.SyncDir(cfg.Dir); err != nil {
		return nil, fmt.Errorf("sync folder of uploads: %w", err)
	}
	if err := s.load(); err != nil {
		return nil, err
	}
	if s.met, err = newMetrics(reg, s); err != nil {
		return nil, err
	}
	return s, nil
}

// Run hands whole files to the outbox and removes what was abandoned, until ctx
// ends.
func (s *Server) Run(ctx context.Context) error {
	hours := time.NewTicker(hour)
	defer hours.Stop()
	again := time.NewTicker(tryAgain)
	defer again.Stop()
	for {
		s.handOn(ctx)
		select {
		case <-ctx.Done():
			return nil
		case <-s.poke:
		case <-again.C:
		case <-hours.C:
			s.age(ctx)
		}
	}
}

// age counts an hour for all uploads, and removes those that nobody came back to.
func (s *Server) age(ctx context.Context) {
	for _, id := range s.ids(func(*upload) bool { return true }) {
		u := s.get(id)
		if u == nil || !u.try() {
			continue // its bytes come in now
		}
		if err := s.older(ctx, u); err != nil {
			s.log.WarnContext(ctx, "an upload can't be counted or removed", "err", err)
		}
		u.leave()
	}
}

func (s *Server) older(ctx context.Context, u *upload) error {
	rec := s.record(u)
	switch rec.Idle += hour; {
	case rec.Idle < s.cfg.Expiry, rec.Stage == stageWhole, rec.Stage == stageHanding:
		// What is whole was promised to be kept.
		return s.save(u, rec)
	}
	if rec.Stage == stageComing {
		s.met.ended.WithLabelValues("abandoned").Inc()
		s.log.InfoContext(ctx, "an upload that nobody came back to is removed", "bytes", rec.Offset)
	}
	return s.remove(u)
}

// Status is how far an upload has come.
type Status struct {
	ID       string `json:"id"`
	Filename string `json:"filename"`
	Title    string `json:"title"`
	Length   int64  `json:"length"`
	Offset   int64  `json:"offset"`
	// Whole: all of it is on the box, for good.
	Whole bool `json:"whole"`
	// Sending: bytes of it come in now.
	Sending bool `json:"sending"`
	// Deposit is its id in the outbox, once it is there.
	Deposit string `json:"deposit,omitzero"`
	// Reason is why it is whole and not in the outbox.
	Reason Reason `json:"reason,omitzero"`

	made time.Time
}

// List returns an owner's uploads, latest first.
func (s *Server) List(owner string) []Status {
	s.mu.Lock()
	defer s.mu.Unlock()
	var out []Status
	for _, u := range s.uploads {
		if u.rec.Owner == owner && !u.gone {
			out = append(out, u.status())
		}
	}
	slices.SortFunc(out, func(a, b Status) int {
		if c := b.made.Compare(a.made); c != 0 {
			return c
		}
		return strings.Compare(a.ID, b.ID)
	})
	return out
}

// status is to be called with Server.mu held.
func (u *upload) status() Status {
	return Status{
		ID: u.rec.ID, Filename: u.rec.Meta.Filename, Title: u.rec.Meta.Title, Length: u.rec.Length, Offset: u.rec.Offset,
		Whole: u.rec.Stage != stageComing, Sending: u.cut != nil, Deposit: u.rec.Deposit, Reason: u.reason, made: u.rec.Made,
	}
}

// Watch returns a channel that has something to receive whenever an upload has
// come further, until stop is called.
func (s *Server) Watch() (changed <-chan struct{}, stop func()) { return s.bell.Watch() }

func (s *Server) get(id string) *upload {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.uploads[id]
}

func (s *Server) record(u *upload) record {
	s.mu.Lock()
	defer s.mu.Unlock()
	return u.rec
}

// ids lists uploads, those that were made first in front.
func (s *Server) ids(want func(*upload) bool) []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	var all []*upload
	for _, u := range s.uploads {
		if want(u) {
			all = append(all, u)
		}
	}
	slices.SortFunc(all, func(a, b *upload) int {
		if c := a.rec.Made.Compare(b.rec.Made); c != 0 {
			return c
		}
		return strings.Compare(a.rec.ID, b.rec.ID)
	})
	out := make([]string, len(all))
	for i, u := range all {
		out[i] = u.rec.ID
	}
	return out
}

func freeBytes(dir string) (int64, error) {
	var st unix.Statfs_t
	if err := unix.Statfs(dir, &st); err != nil {
		return 0, fmt.Errorf("ask for the free room of %s: %w", dir, err)
	}
	return int64(st.Bavail) * int64(st.Bsize), nil
}
