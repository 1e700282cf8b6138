package box

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"preau/node/config"
	"preau/replication/outbox"
)

// Deposits says what may be added on the box.
type Deposits struct {
	Enabled bool         `toml:"enabled" doc:"false: nothing can be added. What was added before is still brought to the centre."`
	Budget  config.Bytes `toml:"budget" doc:"Room that these files may take on the disk, at least 64MiB. Only what the centre keeps is ever given up for room."`
}

const (
	// depositsAgain is how often a folder of deposits that can't be opened is
	// tried again.
	depositsAgain = 30 * time.Second
	// uploads is how many files come in at once; others wait their turn.
	uploads = 8
	// polls is how many requests wait for news of deposits at once; others are
	// answered at once.
	polls = 64
	// minToken is how long a secret must be that somebody wrote himself.
	minToken = 16
)

var errStopping = errors.New("the box is stopping")

// deposits is what is added on the box, from the folder to the faces. A folder
// that can't be opened does not keep the box from serving: it is tried again.
type deposits struct {
	cfg      Deposits
	wanted   bool // a box on which nothing may be added goes on with what there is
	dir      string
	log      *slog.Logger
	reg      prometheus.Registerer
	why      func() string // what deposits on this box wait for, if it is not the region
	bring    func(ctx context.Context, box *outbox.Outbox)
	others   Neighbours // nil: there are none
	barred   func(box string) bool
	guests   chan struct{} // requests of other boxes
	patience time.Duration // with other boxes, of whoever adds a file
	stall    time.Duration // how long an upload may stand still
	slots    chan struct{}
	polls    chan struct{}
	opened   atomic.Pointer[openedBox]

	freeing sync.RWMutex // held for reading by uploads; see makeRoom

	mu      sync.Mutex
	running sync.WaitGroup
	stopped bool
	life    context.Context // of requests; ends before the outbox closes
	end     context.CancelCauseFunc
}

// openedBox is an outbox and the secret of those who may add to it.
type openedBox struct {
	*outbox.Outbox
	token [sha256.Size]byte
}

func newDeposits(cfg Deposits, data string, log *slog.Logger, reg prometheus.Registerer) *deposits {
	d := &deposits{
		cfg: cfg, dir: filepath.Join(data, "deposits"), log: log.With("part", "deposits"), reg: reg,
		why: func() string { return "" }, bring: func(context.Context, *outbox.Outbox) {},
		barred: func(string) bool { return false }, guests: make(chan struct{}, guestsAtOnce), patience: copyWithin,
		stall: time.Minute, slots: make(chan struct{}, uploads), polls: make(chan struct{}, polls),
	}
	_, err := os.Stat(d.dir)
	d.wanted = cfg.Enabled || err == nil
	d.life, d.end = context.WithCancelCause(context.Background())
	return d
}

// open opens the folder.
func (d *deposits) open() error {
	if err := os.MkdirAll(d.dir, 0o700); err != nil {
		return fmt.Errorf("make folder of deposits: %w", err)
	}
	secret, err := d.secret()
	if err != nil {
		return err
	}
	reg := prometheus.NewRegistry()
	box, err := outbox.Open(outbox.Config{Dir: d.dir, Budget: int64(d.cfg.Budget)}, d.log, reg)
	if err != nil {
		return err
	}
	if err := d.reg.Register(reg); err != nil {
		return errors.Join(err, box.Close())
	}
	d.opened.Store(&openedBox{Outbox: box, token: sha256.Sum256([]byte(secret))})
	return nil
}

// secret reads the word of those who may add, or makes one.
func (d *deposits) secret() (string, error) {
	name := filepath.Join(d.dir, "token")
	raw, err := os.ReadFile(name)
	switch {
	case err == nil:
		secret := strings.TrimSpace(string(raw))
		if len(secret) < minToken {
			return "", fmt.Errorf("%s holds fewer than %d characters: delete it and a new one is made", name, minToken)
		}
		return secret, nil
	case !errors.Is(err, fs.ErrNotExist):
		return "", fmt.Errorf("read who may add deposits: %w", err)
	}
	var b [24]byte
	_, _ = rand.Read(b[:]) // never fails
	secret := base64.RawURLEncoding.EncodeToString(b[:])
	if err := writeSecret(name, secret+"\n"); err != nil {
		return "", fmt.Errorf("write who may add deposits: %w", err)
	}
	d.log.Info("whoever shows the token in this file may add deposits", "file", name)
	return secret, nil
}

// writeSecret writes a file that only the box's user can read, whole or not at all.
func writeSecret(name, text string) (err error) {
	f, err := os.CreateTemp(filepath.Dir(name), "token-*") // 0600
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, os.Remove(f.Name()))
		}
	}()
	_, err = f.WriteString(text)
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return err
	}
	return os.Rename(f.Name(), name)
}

// mayAdd reports whether a request shows the token.
func (o *openedBox) mayAdd(r *http.Request) bool {
	kind, secret, _ := strings.Cut(r.Header.Get("Authorization"), " ")
	sum := sha256.Sum256([]byte(strings.TrimSpace(secret)))
	return strings.EqualFold(kind, "Bearer") && subtle.ConstantTimeCompare(sum[:], o.token[:]) == 1
}

// run opens the folder if that has not been done, hands it to those who bring
// it on, and closes it when ctx has ended and nobody uses it any more.
func (d *deposits) run(ctx context.Context) error {
	tick := time.NewTicker(depositsAgain)
	defer tick.Stop()
	for d.opened.Load() == nil {
		select {
		case <-ctx.Done():
			return d.close()
		case <-tick.C:
			if err := d.open(); err != nil {
				d.log.DebugContext(ctx, "the folder of deposits still can't be opened", "err", err)
			} else {
				d.log.InfoContext(ctx, "the folder of deposits is open")
			}
		}
	}
	box := d.opened.Load().Outbox
	var wg sync.WaitGroup
	if d.others != nil {
		wg.Go(func() {
			if err := box.RunCopies(ctx, copyTakers{d.others, d.barred}); err != nil {
				d.log.ErrorContext(ctx, "no copies of deposits are made any more", "err", err)
			}
		})
	}
	d.bring(ctx, box)
	<-ctx.Done()
	wg.Wait()
	return d.close()
}

// close cuts what requests are doing and closes the folder.
func (d *deposits) close() error {
	d.mu.Lock()
	d.stopped = true
	d.mu.Unlock()
	d.end(errStopping)
	d.running.Wait()
	if box := d.opened.Swap(nil); box != nil {
		return box.Close()
	}
	return nil
}

// enter counts a request, whose context ends with the box. ok is false when
// there is no folder, or no more.
func (d *deposits) enter(r *http.Request) (_ *http.Request, box *openedBox, leave func(), ok bool) {
	ctx, box, leave, ok := d.use(r.Context())
	return r.WithContext(ctx), box, leave, ok
}

func (d *deposits) use(ctx context.Context) (_ context.Context, box *openedBox, leave func(), ok bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	box = d.opened.Load()
	if d.stopped || box == nil {
		return ctx, nil, nil, false
	}
	d.running.Add(1)
	ctx, cancel := context.WithCancelCause(ctx)
	stop := context.AfterFunc(d.life, func() { cancel(errStopping) })
	return ctx, box, func() {
		stop()
		cancel(nil)
		d.running.Done()
	}, true
}
