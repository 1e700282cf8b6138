// Command preau is Préau, the cache that lets a school class download once.
//
// It reads flags, turns signals into a context and errors into exit codes; all
// else is in the packages below node. Exit codes: 0 for success, 1 when
// something went wrong while it ran, 2 when the command line or the
// configuration is wrong and nothing was started.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"github.com/alecthomas/kong"

	"preau/node/config"
)

// Exit codes.
const (
	exitOK     = 0
	exitFailed = 1
	exitUsage  = 2
)

func main() {
	// net/http's client tells the standard logger what it finds odd, with a
	// piece of the body. Nothing of ours uses that logger.
	log.SetOutput(io.Discard)
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	// The first signal asks politely; after it signals do what they always
	// did, so that a second Ctrl-C ends a program that hangs.
	context.AfterFunc(ctx, stop)
	code := run(ctx, os.Args[1:], os.Stdout, os.Stderr)
	stop()
	os.Exit(code)
}

// streams is what commands write to.
type streams struct{ out, err io.Writer }

// usageError is a mistake on the command line or in the configuration.
type usageError struct{ error }

func (e usageError) Unwrap() error { return e.error }

// run is the program without the process around it.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	var commands cli
	helped := false
	parser, err := kong.New(&commands,
		kong.Name("preau"),
		kong.Description("Préau: a cache for schools. A class downloads once."),
		kong.Writers(stdout, stderr),
		kong.Exit(func(int) { helped = true }), // kong exits for --help only
		kong.ConfigureHelp(kong.HelpOptions{Compact: true, FlagsLast: true, WrapUpperBound: 90}),
		kong.Bind(streams{stdout, stderr}),
		kong.BindTo(ctx, (*context.Context)(nil)),
	)
	if err != nil {
		fmt.Fprintf(stderr, "preau: %v\n", err)
		return exitFailed
	}
	if len(args) == 0 {
		args = []string{"--help"}
	}
	parsed, err := parser.Parse(args)
	if helped {
		return exitOK
	}
	if err != nil {
		fmt.Fprintf(stderr, "preau: %v\n%s\n", err, helpHint(err))
		return exitUsage
	}
	if err := parsed.Run(); err != nil {
		return report(stderr, parsed.Selected().Name, err)
	}
	return exitOK
}

// helpHint names the help of the command that was being read.
func helpHint(err error) string {
	if parse, ok := errors.AsType[*kong.ParseError](err); ok && parse.Context != nil {
		if selected := parse.Context.Selected(); selected != nil {
			return "Try: preau " + selected.Name + " --help"
		}
	}
	return "Try: preau --help"
}

// report writes err, one mistake a line, and chooses the exit code.
func report(stderr io.Writer, command string, err error) int {
	code := exitFailed
	if usage, ok := errors.AsType[usageError](err); ok {
		code, err = exitUsage, usage.error
	}
	for _, one := range config.List(err) {
		// Packages say their own name where it helps; once is enough.
		fmt.Fprintf(stderr, "preau %s: %s\n", command, strings.TrimPrefix(one.Error(), command+": "))
	}
	if code == exitUsage {
		fmt.Fprintf(stderr, "Try: preau %s --help\n", command)
	}
	return code
}
