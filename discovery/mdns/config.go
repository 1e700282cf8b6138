package mdns

import (
	"errors"
	"fmt"
	"regexp"
	"strings"
	"time"
	"unicode/utf8"

	"preau/discovery/mdns/links"
)

const (
	maxText   = 900 // bytes of all of Text: with the rest it has to fit into one packet
	minBrowse = time.Second
)

// Config says what to announce. The zero value is not usable; start from
// DefaultConfig.
type Config struct {
	Instance string   // unique name: the box's id, at most 63 bytes
	Port     int      // where neighbours connect, announced as Service
	HTTPPort int      // where devices connect, announced as _http._tcp; 0: not announced
	Title    string   // of the _http._tcp service, for people; should be unique on the LAN
	Text     []string // what is said with Service, "key=value"; no secrets
	Shared   string   // one-label name that all boxes answer for; "": none
	Own      string   // one-label name of this box alone; "": none
	// Interfaces are names, or patterns such as "eth*". Empty: all that can
	// multicast, but for loopback, point-to-point, and those of containers and
	// virtual machines.
	Interfaces []string
	// BrowseEvery is how often is browsed, by one of the boxes for all of them, or
	// up to a third less often.
	BrowseEvery time.Duration
}

// DefaultConfig answers for "preau" and browses every 45 to 60 seconds. Instance
// and Port are to be filled in.
func DefaultConfig() Config { return Config{Shared: "preau", BrowseEvery: 45 * time.Second} }

var label = regexp.MustCompile(`^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$`)

// Validate reports all mistakes at once.
func (c Config) Validate() error {
	var errs []error
	wrong := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
	instance := func(what, s string) {
		// Control characters would come back from the library in another form.
		if s == "" || len(s) > 63 || !utf8.ValidString(s) || strings.ContainsFunc(s, func(r rune) bool { return r < ' ' || r == 0x7f }) {
			wrong("%s %q must have 1 to 63 bytes and no control characters", what, s)
		} else if strings.Trim(s, ".") != s {
			wrong("%s %q must not begin or end with a dot", what, s)
		}
	}
	instance("instance", c.Instance)
	if c.Port < 1 || c.Port > 65535 {
		wrong("port %d is none", c.Port)
	}
	if c.HTTPPort < 0 || c.HTTPPort > 65535 {
		wrong("http port %d is none", c.HTTPPort)
	} else if c.HTTPPort > 0 {
		instance("title", c.Title)
	}
	total := 0
	for _, t := range c.Text {
		key, _, ok := strings.Cut(t, "=")
		// RFC 6763 §6.4
		if !ok || key == "" || strings.ContainsFunc(key, func(r rune) bool { return r < ' ' || r > '~' }) {
			wrong("text %q is not of the form key=value", t)
		}
		if len(t) > 255 {
			wrong("text %.20q… has more than 255 bytes", t)
		}
		total += len(t) + 1
	}
	if total > maxText {
		wrong("text has %d bytes, more than %d", total, maxText)
	}
	for _, n := range []struct{ what, name string }{{"shared", c.Shared}, {"own", c.Own}} {
		if n.name != "" && !label.MatchString(n.name) {
			wrong("%s name %q must be one label of a to z, 0 to 9 and hyphens within", n.what, n.name)
		}
	}
	if c.Own != "" && c.Own == c.Shared {
		wrong("own name %q is the one that all boxes share", c.Own)
	}
	if err := links.Check(c.Interfaces); err != nil {
		errs = append(errs, err)
	}
	if c.BrowseEvery < minBrowse {
		wrong("browse_every %s is less than %s", c.BrowseEvery, minBrowse)
	}
	return errors.Join(errs...)
}
