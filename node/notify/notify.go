// Package notify tells the service manager that started this program how it is:
// ready, alive, stopping, and in a few words what it does (sd_notify(3)).
//
// It decides nothing about health: whoever uses it says what to ask. Without a
// service manager, on a terminal or in a container, all of it does nothing.
package notify

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"strconv"
	"strings"
	"time"
)

// longest is how much of a status is told; systemctl shows a line of it.
const longest = 300

// patience is how long a datagram may wait for a service manager that is busy.
const patience = 2 * time.Second

// Manager is whoever started this program and wants to hear from it. The zero
// value, and nil, is nobody.
type Manager struct {
	socket   string
	watchdog time.Duration // 0: it wants no sign of life
}

// FromEnvironment finds the service manager as it says it is found: by
// NOTIFY_SOCKET, WATCHDOG_USEC and WATCHDOG_PID. A value that makes no sense is
// an error that names it.
func FromEnvironment(getenv func(string) string, pid int) (*Manager, error) {
	m := &Manager{socket: getenv("NOTIFY_SOCKET")}
	if m.socket == "" {
		return m, nil
	}
	if m.socket[0] != '/' && m.socket[0] != '@' {
		return nil, fmt.Errorf("NOTIFY_SOCKET %q is neither a path nor an abstract socket", m.socket)
	}
	text := getenv("WATCHDOG_USEC")
	if for_ := getenv("WATCHDOG_PID"); text == "" || for_ != "" && for_ != strconv.Itoa(pid) {
		return m, nil // it watches nobody, or somebody else
	}
	usec, err := strconv.ParseInt(text, 10, 64)
	if err != nil || usec <= 0 || usec > int64(24*time.Hour/time.Microsecond) {
		return nil, fmt.Errorf("WATCHDOG_USEC %q is no number of microseconds up to a day", text)
	}
	m.watchdog = time.Duration(usec) * time.Microsecond
	return m, nil
}

// Listens reports whether there is anybody to tell.
func (m *Manager) Listens() bool { return m != nil && m.socket != "" }

// Watchdog is within what time a sign of life is wanted; 0 if none is.
func (m *Manager) Watchdog() time.Duration {
	if m == nil {
		return 0
	}
	return m.watchdog
}

// Ready says that the program does its work from now on.
func (m *Manager) Ready(ctx context.Context) error { return m.send(ctx, "READY=1") }

// Stopping says that it has begun to stop.
func (m *Manager) Stopping(ctx context.Context) error { return m.send(ctx, "STOPPING=1") }

// Alive is a sign of life.
func (m *Manager) Alive(ctx context.Context) error { return m.send(ctx, "WATCHDOG=1") }

// Status says in a line what the program does. Line breaks become blanks: each
// line of a message is an assignment of its own.
func (m *Manager) Status(ctx context.Context, text string) error {
	text = strings.Join(strings.Fields(text), " ")
	if len(text) > longest {
		text = strings.ToValidUTF8(text[:longest], "") + "…"
	}
	return m.send(ctx, "STATUS="+text)
}

func (m *Manager) send(ctx context.Context, message string) error {
	if !m.Listens() {
		return nil
	}
	var d net.Dialer
	// Go turns a leading @ into the zero byte of an abstract socket.
	conn, err := d.DialContext(ctx, "unixgram", m.socket)
	if err != nil {
		return fmt.Errorf("tell the service manager %q: %w", message, err)
	}
	defer conn.Close() // a datagram socket has nothing left to lose
	if err := conn.SetWriteDeadline(time.Now().Add(patience)); err != nil {
		return fmt.Errorf("tell the service manager %q: %w", message, err)
	}
	if _, err := conn.Write([]byte(message)); err != nil {
		return fmt.Errorf("tell the service manager %q: %w", message, err)
	}
	return nil
}

// Program is what is reported of.
type Program struct {
	// Run is the program. It is ready when it is called: its ports are open.
	Run func(ctx context.Context) error
	// Alive is nil, or why the program can't do its work and should be killed and
	// started again. It is asked thrice in the watchdog's time, for a third of it.
	Alive func(ctx context.Context) error
	// State is the program's state in a line, for people. It may be nil.
	State func(ctx context.Context) string
}

// stateEvery is how often the state is told where no watchdog sets the pace.
const stateEvery = 20 * time.Second

// Run runs p until it returns, and tells m of it meanwhile. Its error is p's. A
// service manager that can't be told is warned about, and p runs on.
func Run(ctx context.Context, m *Manager, log *slog.Logger, p Program) error {
	if !m.Listens() {
		return p.Run(ctx)
	}
	log = log.With("part", "notify")
	warn := func(err error) {
		if err != nil {
			log.WarnContext(ctx, "the service manager can't be told how this program is", "err", err)
		}
	}
	// It is told of the end after ctx ended.
	telling := context.WithoutCancel(ctx)
	warn(m.Ready(telling))
	beating, stop := context.WithCancel(ctx)
	done := make(chan struct{})
	go func() {
		defer close(done)
		beat(beating, m, log, p, warn)
		if ctx.Err() != nil {
			warn(m.Stopping(telling))
		}
	}()
	err := p.Run(ctx)
	stop()
	<-done
	return err
}

// beat gives signs of life for as long as there is life, until ctx ends.
func beat(ctx context.Context, m *Manager, log *slog.Logger, p Program, warn func(error)) {
	every := stateEvery
	if m.Watchdog() > 0 {
		every = m.Watchdog() / 3
	}
	tick := time.NewTicker(every)
	defer tick.Stop()
	told := ""
	for {
		asking, cancel := context.WithTimeoutCause(ctx, every, errors.New("it does not answer"))
		err := p.Alive(asking)
		state := ""
		if err == nil && p.State != nil {
			state = p.State(asking)
		}
		cancel()
		switch {
		case ctx.Err() != nil:
			return
		case err != nil:
			log.ErrorContext(ctx, "this program does not do its work, and is killed and started again if that lasts", "err", err)
			warn(m.Status(ctx, "not alive: "+err.Error()))
			told = ""
		default:
			if m.Watchdog() > 0 {
				warn(m.Alive(ctx))
			}
			if state != told {
				warn(m.Status(ctx, state))
				told = state
			}
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// Here is the service manager of this process.
func Here() (*Manager, error) { return FromEnvironment(os.Getenv, os.Getpid()) }
