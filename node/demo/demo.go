package demo

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"sync"
	"syscall"
	"time"

	"preau/node/demo/library"
	"preau/node/wanline"
)

// Config says where the demonstration's parts are. Start from DefaultConfig.
type Config struct {
	Page   string // the page's address
	Box    string // the box's address, where devices connect
	Origin string // the library's address, behind the line
	Rate   int64  // of the line, in bits per second
	Delay  time.Duration
	// Data is a folder for the box's data; it is kept. None means a temporary
	// one that is removed at the end.
	Data   string
	NewBox NewBox
	// Beyond is where the region and the centre are that the box belongs to, each
	// elsewhere if that port is taken. None means a box of its own.
	Beyond *Beyond
	// Program is how this program is called in the lines that are shown to copy.
	Program string
	// Lang is "fr" or "en" for what is written to the terminal.
	Lang string
	Log  *slog.Logger
}

// Beyond is where the parts beyond the line listen.
type Beyond struct {
	Region, Centre string
	Admin          string // where the centre takes files
}

// DefaultBeyond is the usual addresses of the region and the centre.
func DefaultBeyond() *Beyond {
	return &Beyond{Region: "127.0.0.1:4433", Centre: "127.0.0.1:4434", Admin: centreAdmin}
}

// DefaultConfig is the line of many schools and the addresses that the documents name.
func DefaultConfig() Config {
	return Config{
		Page: "127.0.0.1:8080", Box: "127.0.0.1:8081", Origin: "127.0.0.1:0",
		Rate: 20_000_000, Delay: 20 * time.Millisecond,
		Lang: Lang(os.Getenv), Program: "preau",
		Log: slog.New(slog.DiscardHandler),
	}
}

// Lang is the terminal's language after the environment (LC_ALL, LC_MESSAGES,
// LANG, in this order): French where it says so, else English.
func Lang(getenv func(string) string) string {
	for _, name := range []string{"LC_ALL", "LC_MESSAGES", "LANG"} {
		if v := getenv(name); v != "" {
			if len(v) >= 2 && v[:2] == "fr" {
				return "fr"
			}
			return "en"
		}
	}
	return "en"
}

func (cfg Config) check() error {
	addresses := map[string]string{"page": cfg.Page, "box": cfg.Box, "origin": cfg.Origin}
	if b := cfg.Beyond; b != nil {
		addresses["region"], addresses["centre"], addresses["centre admin"] = b.Region, b.Centre, b.Admin
	}
	for name, addr := range addresses {
		host, _, err := net.SplitHostPort(addr)
		if err != nil {
			return fmt.Errorf("demo: %s address: %w", name, err)
		}
		if ip := net.ParseIP(host); host != "localhost" && (ip == nil || !ip.IsLoopback()) {
			return fmt.Errorf("demo: %s address %s: only addresses of this machine (127.0.0.1) are allowed", name, addr)
		}
	}
	switch {
	case cfg.Rate < 0:
		return fmt.Errorf("demo: a line of %d bit/s", cfg.Rate)
	case cfg.NewBox == nil:
		return errors.New("demo: no box was given")
	case cfg.Lang != "fr" && cfg.Lang != "en":
		return fmt.Errorf("demo: language %q; there are fr and en", cfg.Lang)
	}
	return nil
}

// Run shows the school until ctx ends, and tells out what happens.
func Run(ctx context.Context, cfg Config, out io.Writer) (err error) {
	if err := cfg.check(); err != nil {
		return err
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	data := cfg.Data
	if data == "" {
		if data, err = os.MkdirTemp("", "preau-demo-"); err != nil {
			return fmt.Errorf("demo: %w", err)
		}
		defer func() { err = errors.Join(err, os.RemoveAll(data)) }()
	} else if err := os.MkdirAll(data, 0o750); err != nil {
		return fmt.Errorf("demo: %w", err)
	}
	tell := &teller{out: out, lang: cfg.Lang}

	lib, err := library.New(time.Now)
	if err != nil {
		return err
	}
	origin, _, err := listen(cfg.Origin)
	if err != nil {
		return err
	}
	defer origin.Close() // its server closes it first, once there is one
	page, moved, err := listen(cfg.Page)
	if err != nil {
		return err
	}
	defer page.Close()
	if moved {
		tell.say("port-page", cfg.Page, page.Addr())
	}
	line, err := wanline.New(wanline.Config{
		Listen: "127.0.0.1:0", Target: origin.Addr().String(), BitsPerSecond: cfg.Rate, Delay: cfg.Delay, Log: cfg.Log,
	})
	if err != nil {
		return err
	}
	// From here on everything runs in one group and stops together.
	ctx, stop := context.WithCancel(ctx)
	var parts sync.WaitGroup
	var mu sync.Mutex
	var failed error
	start := func(name string, run func(context.Context) error) {
		parts.Go(func() {
			if err := run(ctx); err != nil && ctx.Err() == nil {
				mu.Lock()
				failed = errors.Join(failed, fmt.Errorf("demo: %s: %w", name, err))
				mu.Unlock()
			}
			stop()
		})
	}
	defer func() {
		stop()
		parts.Wait()
		err = errors.Join(err, failed)
	}()
	start("line", line.Run)
	start("library", func(ctx context.Context) error { return serve(ctx, origin, lib, cfg.Log) })

	boxAddr, moved, err := free(cfg.Box)
	if err != nil {
		return err
	}
	keep, err := newKeeper(ctx, cfg, boxAddr, "http://"+line.Addr(), data)
	if err != nil {
		return err
	}
	if moved {
		tell.say("port-box", cfg.Box, keep.now().Addr())
	}
	start("box", keep.run)
	show := newStage(cfg, line, keep, tell)
	start("stage", show.run)
	start("page", func(ctx context.Context) error { return serve(ctx, page, newFace(show), cfg.Log) })

	tell.write("welcome", page.Addr(), keep.now().Addr(), cfg.Program, keep.now().Addr())
	// Last: the page is there first, whatever these take.
	if cfg.Beyond != nil {
		start("region and centre", func(ctx context.Context) error { return show.runBeyond(ctx, data) })
	}
	<-ctx.Done()
	parts.Wait()
	if failed == nil {
		tell.write("goodbye")
	}
	return nil
}

// listen opens addr, or a free port where that one is taken.
func listen(addr string) (ln net.Listener, moved bool, err error) {
	ln, err = net.Listen("tcp", addr) //nolint:noctx // listening does not wait
	if errors.Is(err, syscall.EADDRINUSE) {
		ln, err = net.Listen("tcp", "127.0.0.1:0") //nolint:noctx // listening does not wait
		moved = true
	}
	if err != nil {
		return nil, false, fmt.Errorf("demo: %w", err)
	}
	return ln, moved, nil
}

// free finds an address that can be listened on, for a part that opens it itself.
func free(addr string) (string, bool, error) {
	ln, moved, err := listen(addr)
	if err != nil {
		return "", false, err
	}
	defer ln.Close()
	return ln.Addr().String(), moved, nil
}

// serve answers on ln until ctx ends; long answers end with it.
func serve(ctx context.Context, ln net.Listener, h http.Handler, log *slog.Logger) error {
	srv := &http.Server{
		Handler: h, ReadHeaderTimeout: 10 * time.Second, IdleTimeout: 2 * time.Minute,
		BaseContext: func(net.Listener) context.Context { return ctx },
		ErrorLog:    slog.NewLogLogger(log.Handler(), slog.LevelDebug),
	}
	ended := make(chan error, 1)
	go func() { ended <- srv.Serve(ln) }()
	select {
	case err := <-ended:
		return err
	case <-ctx.Done():
	}
	grace, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
	defer cancel()
	if err := srv.Shutdown(grace); err != nil {
		srv.Close() // those who do not read are not waited for
	}
	<-ended //nolint:errcheck // that it was shut down
	return nil
}

// teller writes to the terminal in its language, a whole piece at a time.
type teller struct {
	mu   sync.Mutex
	out  io.Writer
	lang string
}

// say writes one line with the time of day.
func (t *teller) say(key string, a ...any) {
	t.put(time.Now().Format("15:04:05") + "  " + fmt.Sprintf(texts(t.lang)[key], a...) + "\n")
}

func (t *teller) write(key string, a ...any) { t.put(fmt.Sprintf(texts(t.lang)[key], a...) + "\n") }

func (t *teller) put(v string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	io.WriteString(t.out, v) //nolint:errcheck // a terminal that is gone is no reason to stop
}
