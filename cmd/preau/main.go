// Command preau is Préau, the cache that lets a school class download once.
//
// It reads flags, turns signals into a context and errors into exit codes; all
// else is in the packages below node. Exit codes: 0 for success, 1 when
// something went wrong while it ran, 2 when the command line or the
// configuration is wrong and nothing was started, 3 when the region could not
// decide or no server of it answers, 4 when it said no or has no such thing.
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

	"preau/node/control"
	"preau/node/region"
)

// Exit codes.
const (
	exitOK        = 0
	exitFailed    = 1
	exitUsage     = 2
	exitUndecided = 3
	exitRefused   = 4
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

// usageError is a mistake on the command line or in the configuration.
type usageError struct{ error }

func (e usageError) Unwrap() error { return e.error }

// usage makes a usageError.
func usage(format string, args ...any) error { return usageError{fmt.Errorf(format, args...)} }

// run is the program without the process around it.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	var commands cli
	helped := false
	parser, err := kong.New(&commands,
		kong.Name("preau"),
		kong.Description("Préau: a cache for schools. A class downloads once."),
		kong.Writers(stdout, stderr),
		kong.Exit(func(int) { helped = true }), // kong exits for --help only
		kong.ConfigureHelp(kong.HelpOptions{Compact: true, FlagsLast: true, WrapUpperBound: 90, NoExpandSubcommands: true}),
		kong.Bind(streams{in: os.Stdin, out: stdout, err: stderr}),
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
		return report(stderr, path(parsed.Selected()), err)
	}
	return exitOK
}

// path is a command as it is typed, such as "region init".
func path(n *kong.Node) string {
	var words []string
	for ; n != nil && n.Parent != nil; n = n.Parent {
		if n.Type == kong.CommandNode {
			words = append([]string{n.Name}, words...)
		}
	}
	return strings.Join(words, " ")
}

// helpHint names the help of the command that was being read.
func helpHint(err error) string {
	if parse, ok := errors.AsType[*kong.ParseError](err); ok && parse.Context != nil {
		if command := path(reached(parse.Context)); command != "" {
			return "Try: preau " + command + " --help"
		}
	}
	return "Try: preau --help"
}

// reached is the last command that was read, be it one that can run or not.
func reached(c *kong.Context) *kong.Node {
	var last *kong.Node
	for _, p := range c.Path {
		if p.Command != nil {
			last = p.Command
		}
	}
	return last
}

// report writes err, one mistake a line, and chooses the exit code.
func report(stderr io.Writer, command string, err error) int {
	code := codeOf(err)
	if usage, ok := errors.AsType[usageError](err); ok {
		err = usage.error
	}
	for _, one := range apart(err) {
		// Packages say their own name where it helps; once is enough.
		text := strings.TrimPrefix(one.Error(), command+": ")
		fmt.Fprintf(stderr, "preau %s: %s\n", command, strings.ReplaceAll(text, "\n", "; "))
	}
	if code == exitUsage {
		fmt.Fprintf(stderr, "Try: preau %s --help\n", command)
	}
	return code
}

// apart lists what errors.Join has joined. Other errors that wrap several have
// words of their own, and stay as they are.
func apart(err error) []error {
	joined, ok := err.(interface{ Unwrap() []error })
	if !ok {
		return []error{err}
	}
	var list []error
	var texts []string
	for _, inner := range joined.Unwrap() {
		list = append(list, apart(inner)...)
		texts = append(texts, inner.Error())
	}
	if strings.Join(texts, "\n") != err.Error() {
		return []error{err}
	}
	return list
}

func codeOf(err error) int {
	usage := usageError{}
	said, _ := errors.AsType[*control.Error](err)
	switch {
	case errors.As(err, &usage):
		return exitUsage
	case control.Undecided(err):
		return exitUndecided
	case said != nil && said.Code == control.CodeToken:
		return exitUsage
	case control.Refused(err), errors.Is(err, region.ErrFounded):
		return exitRefused
	}
	return exitFailed
}
