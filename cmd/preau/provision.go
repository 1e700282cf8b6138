package main

import (
	"context"
	"fmt"
	"net"
	"os"
	"slices"
	"time"

	"preau/node/box"
	"preau/node/config"
	"preau/node/control"
	"preau/node/lifecycle"
	"preau/node/obs"
	"preau/node/provision"
	updating "preau/node/update"
)

type provisionCmd struct {
	Data    string          `required:"" placeholder:"DIR" help:"The box's folder, where its identity goes to DIR/identity."`
	State   string          `required:"" placeholder:"FILE" help:"Keeps what was read, so that the stick can be pulled out."`
	Media   []string        `required:"" placeholder:"PATTERN" help:"Where to look for the file, such as /run/preau/sticks/*/preau.toml; the first that is there counts."`
	Network string          `placeholder:"FILE" help:"Where to write the box's address for systemd-networkd, if the file has one."`
	Without string          `placeholder:"FILE" help:"A file that says why the box runs without its disk, if it does: tpm or disk."`
	Note    string          `placeholder:"FILE" help:"A file on the boot partition, in which the box writes who it is, without any secret: if its disk does not open one day, it asks its region for its place back."`
	Plan    string          `placeholder:"FILE" help:"The region's signed plan on the boot partition (preau update settings --copy): while the box waits without its disk, the web sites that it names pass through."`
	Key     string          `placeholder:"FILE" help:"The key that has signed it, as gpg --export writes it."`
	Pass    string          `placeholder:"FILE" help:"Where to put what the plan sets, for the box that passes sites through."`
	PassBy  string          `placeholder:"FILE" help:"The settings of that box."`
	Console string          `placeholder:"FILE" help:"The box's screen (default: standard output)."`
	Listen  string          `default:":80" placeholder:"ADDR" help:"Where people see what the box waits for."`
	Admin   string          `default:"127.0.0.1:9190" placeholder:"ADDR" help:"Where operators look meanwhile."`
	Look    config.Duration `default:"3s" help:"How often to look for files."`
}

func (provisionCmd) Help() string {
	return `For appliances, before preau box: it waits for a file preau.toml on the boot partition or a USB stick, enrols the box with the token in it and ends. Of a box that is enrolled it only sets the address. It never asks for anything.

    token = "PREAU1-..."           from: preau region token --school CODE
    name = "library-1"             if you like; else box- and the end of its hardware address

    [network]                      only where the school has no DHCP
    address = "10.20.30.5/24"
    gateway = "10.20.30.1"
    dns = ["10.20.30.1"]

The token is wiped from the file once it was used.

A box whose disk does not open (another main board, a dead disk) runs from memory. If it has left a note of who it is, it tells its region and shows a code; an operator calls the school at the number on file (and never acts on a call that comes in), compares the code and takes the box back from afar: preau boxes, then preau readmit NAME --code CODE. Until then it passes the web sites through that the region's plan names (--plan), if the region's key has signed it.`
}

// Run returns once the box is enrolled.
func (c provisionCmd) Run(ctx context.Context, to streams) error {
	log, err := obs.NewLogger(to.err, obs.DefaultLog())
	if err != nil {
		return err
	}
	name, err := ownName()
	if err != nil {
		return err
	}
	parts := provision.Parts{
		Enrol: control.Enrol, Place: control.PlaceOf, AskBack: control.AskBack, Addresses: ownAddresses, QR: qrCode, Console: to.out,
		Look: c.Look.Std(), Patience: time.Minute, Again: lifecycle.Backoff{Min: 3 * time.Second, Max: time.Minute},
	}
	if c.Pass != "" {
		parts.Sites = func(ctx context.Context, signed []byte, had control.Place) (string, error) {
			return updating.SettingsIn(ctx, updating.GPG{Key: c.Key}.Verify, signed, updating.Who{Region: had.Region, School: had.School, Box: had.Name})
		}
		parts.Open = func(file string) (provision.Passing, error) { return passing(c.PassBy, file) }
	}
	if c.Console != "" {
		screen, err := os.OpenFile(c.Console, os.O_WRONLY, 0)
		if err != nil {
			// A machine without a screen is one all the same.
			log.WarnContext(ctx, "nothing can be shown on the screen", "err", err)
		} else {
			defer screen.Close() //nolint:errcheck // nothing is held back
			parts.Console = screen
		}
	}
	p, err := provision.New(provision.Config{
		Data: c.Data, State: c.State, Media: c.Media, Network: c.Network, Degraded: c.Without, Note: c.Note, Plan: c.Plan, Pass: c.Pass, Listen: c.Listen, Admin: c.Admin, Name: name,
	}, parts, log)
	if err != nil {
		return usageError{err}
	}
	return p.Run(ctx)
}

// passing is the box that passes sites through, as its own settings and those of
// the region say.
func passing(settings, wanted string) (provision.Passing, error) {
	cfg, err := box.LoadWanted(settings, wanted, box.Profiles())
	if err != nil {
		return provision.Passing{}, err
	}
	to := provision.Passing{Address: cfg.Listen[0].Address}
	for _, s := range cfg.Site {
		to.Names, to.Hosts = append(to.Names, s.Name), append(to.Hosts, s.Hosts...)
	}
	return to, nil
}

// ownName is box- and the end of the first network card's address, which is
// written on most machines and stays.
func ownName() (string, error) {
	all, err := net.Interfaces()
	if err != nil {
		return "", fmt.Errorf("look for network cards: %w", err)
	}
	for _, card := range all {
		if n := len(card.HardwareAddr); n >= 6 && card.Flags&net.FlagLoopback == 0 {
			return fmt.Sprintf("box-%x", []byte(card.HardwareAddr[n-3:])), nil
		}
	}
	return "box-new", nil
}

// ownAddresses are those under which the machine can be reached, IPv4 first, as
// they stand in a URL.
func ownAddresses() []string {
	all, err := net.InterfaceAddrs()
	if err != nil {
		return nil
	}
	var four, six []string
	for _, a := range all {
		prefix, ok := a.(*net.IPNet)
		if !ok || !prefix.IP.IsGlobalUnicast() {
			continue
		}
		if ip := prefix.IP.To4(); ip != nil {
			four = append(four, ip.String())
		} else {
			six = append(six, "["+prefix.IP.String()+"]")
		}
	}
	return slices.Concat(four, six)
}
