package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"

	"preau/node/central"
	"preau/node/config"
	"preau/node/control"
	"preau/node/locate"
	"preau/node/obs"
)

// centralCmd holds the commands of the ministry's gateway.
type centralCmd struct {
	Run    centralRunCmd    `cmd:"" help:"Run the gateway."`
	Enrol  centralEnrolCmd  `cmd:"" help:"Enrol the gateway in a region, once for each that it serves."`
	Put    centralPutCmd    `cmd:"" help:"Put a file into a bucket of a gateway that keeps its buckets in a folder."`
	Held   centralHeldCmd   `cmd:"" help:"List the files in watched buckets that are not published, and why."`
	Config centralConfigCmd `cmd:"" help:"Print a commented configuration file of a gateway with every setting."`
}

// Help shows the way from a region and a bucket to a published file.
func (centralCmd) Help() string {
	return `The gateway stands beside the ministry's object store (Ceph, or any other that speaks S3). What any S3 tool puts into a watched bucket is published to the regions; what teachers deposit in their schools ends up in a bucket.

    preau region token --central    an invitation, made in each region
    preau central enrol --token TOKEN --data ./central
    preau central config > central.toml
    preau central run --config central.toml

Without an object store, for a try:

    preau central run --data ./central --directory ./buckets --bucket lessons
    preau central put film.mp4 --bucket lessons --title "Les fractions"

The region's servers are told where it is: address in [central] of their settings.`
}

type centralRunCmd struct {
	Data      string        `placeholder:"DIR" help:"The gateway's folder."`
	Listen    string        `placeholder:"ADDR" help:"Where the regions' servers connect (default: :4434)."`
	Admin     string        `placeholder:"ADDR" help:"Where this machine's operator looks (default: 127.0.0.1:9192, or another port if that is taken)."`
	Directory string        `placeholder:"DIR" help:"Keep the buckets in this folder instead of an object store."`
	Endpoint  string        `placeholder:"URL" help:"The object store's URL, such as https://ceph.example:8443."`
	KeyFile   string        `placeholder:"FILE" help:"The object store's access key and, on the next line, secret key."`
	Bucket    []string      `placeholder:"NAME" help:"A bucket to publish; may be said several times."`
	Deposits  string        `placeholder:"NAME" help:"The bucket that deposits go to (default: preau-deposits)."`
	Every     time.Duration `placeholder:"TIME" help:"How often buckets are compared with what was published (default: 10m)."`

	Config   string `placeholder:"FILE" help:"Read everything from a file instead: see preau central config."`
	Check    bool   `help:"Say whether the configuration is right, and stop."`
	LogLevel string `placeholder:"LEVEL" enum:",debug,info,warn,error" default:"" help:"debug, info, warn or error (default: what the file says, or info)."`
}

func (centralRunCmd) Help() string {
	return `    preau central run --config central.toml --check
    preau central run --data ./central --endpoint http://127.0.0.1:7480 --key-file keys --bucket lessons
    curl http://127.0.0.1:9192/readyz
                                    does the object store answer, and if not why

Several gateways can stand behind one name. They share one signing key: copy signing.key from the first one's folder.`
}

// centralFlags are what the keys of the settings are called on the command line.
var centralFlags = map[string]string{
	"data": "--data", "listen": "--listen", "admin.listen": "--admin", "directory": "--directory", "s3.endpoint": "--endpoint",
	"s3.key_file": "--key-file", "buckets[0]": "--bucket", "deposits": "--deposits", "every": "--every",
}

// Run checks, then runs the gateway until ctx ends.
func (c centralRunCmd) Run(ctx context.Context, to streams) error {
	cfg, err := c.configuration()
	if err != nil {
		return usageError{err}
	}
	if c.Check {
		where := cfg.Directory
		if where == "" {
			where = cfg.S3.Endpoint
		}
		return to.printf("The configuration is right: a gateway on %s, for %s, buckets: %s.\n", cfg.Listen, where, strings.Join(cfg.Buckets, ", "))
	}
	log, err := obs.NewLogger(to.err, cfg.Log)
	if err != nil {
		return usageError{err}
	}
	return serve(ctx, log, cfg.Admin.Listen, &cfg.Admin.MayMove, func() (*central.Central, error) { return central.New(ctx, cfg, log) })
}

func (c centralRunCmd) configuration() (central.Config, error) {
	if c.Config != "" {
		if c.Data != "" || c.Listen != "" || c.Admin != "" || c.Directory != "" || c.Endpoint != "" || c.KeyFile != "" || len(c.Bucket) > 0 || c.Deposits != "" || c.Every != 0 {
			return central.Config{}, errors.New("--config says it all: leave out the other flags, or write them into the file")
		}
		cfg, err := central.LoadConfig(c.Config)
		if c.LogLevel != "" {
			cfg.Log.Level = c.LogLevel
		}
		return cfg, err
	}
	cfg := central.DefaultConfig()
	cfg.Data, cfg.Directory, cfg.S3.Endpoint, cfg.S3.KeyFile, cfg.Buckets = c.Data, c.Directory, c.Endpoint, c.KeyFile, c.Bucket
	cfg.MakeThem = c.Directory != "" // nobody else could
	if c.Listen != "" {
		cfg.Listen = c.Listen
	}
	if c.Admin != "" {
		cfg.Admin.Listen = c.Admin
	} else {
		cfg.Admin.MayMove = true
	}
	if c.Deposits != "" {
		cfg.Deposits = c.Deposits
	}
	if c.Every != 0 {
		cfg.Every = config.Duration(c.Every)
	}
	if c.LogLevel != "" {
		cfg.Log.Level = c.LogLevel
	}
	return cfg, inFlags(cfg.Validate(), centralFlags)
}

type centralEnrolCmd struct {
	Token   string          `required:"" placeholder:"TOKEN" help:"The invitation that preau region token --central made; - reads it from standard input."`
	Data    string          `required:"" placeholder:"DIR" help:"The gateway's folder."`
	Name    string          `default:"central" placeholder:"NAME" help:"What the gateway is to be called in the region: a-z, 0-9 and -."`
	Region  []string        `placeholder:"HOST:PORT" help:"Servers to ask before those that the token names."`
	Replace bool            `help:"Give up an identity that is there, for the new one."`
	Timeout config.Duration `default:"2m" help:"Give up after this time."`
	JSON    bool            `name:"json" help:"Write what was made as JSON."`
}

func (centralEnrolCmd) Help() string {
	return `    preau central enrol --token PREAU1-... --data /var/lib/preau-central

Once for each region. A gateway that runs takes the new region at its next start.`
}

// Run enrols the gateway.
func (c centralEnrolCmd) Run(ctx context.Context, to streams) error {
	token, err := readToken(to, c.Token)
	if err != nil {
		return err
	}
	region, err := control.RegionOf(token)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, c.Timeout.Std())
	defer cancel()
	made, err := control.Enrol(ctx, control.Enrolment{
		Token: token, Role: "central", Name: c.Name, Servers: c.Region, Replace: c.Replace, Dir: central.RegionDir(c.Data, region),
	})
	if err != nil {
		return err
	}
	if c.JSON {
		return to.json(made)
	}
	return to.printf("This is gateway %s in region %s. Its identity is in %s; the certificate is good until %s and renews itself.\n\nNext:\n\n    preau central run --data %s ...\n",
		made.Name, made.Region, made.Dir, made.Until.Local().Format("2 January 2006"), c.Data)
}

type centralPutCmd struct {
	Files []string `arg:"" name:"file" help:"Files to put."`

	Bucket      string `required:"" placeholder:"NAME" help:"The bucket."`
	Prefix      string `placeholder:"TEXT" help:"What their keys begin with, such as 6e/."`
	Title       string `placeholder:"TEXT" help:"What people call the file."`
	Description string `placeholder:"TEXT" help:"A sentence or two about it."`
	Collection  string `placeholder:"TEXT" help:"The collection that it belongs to (default: the bucket)."`
	Audience    string `placeholder:"CODES" help:"Only these schools may see it: codes, with commas between them."`
	Admin       string `default:"127.0.0.1:9192" placeholder:"ADDR" help:"Where the gateway's operator looks."`
}

func (centralPutCmd) Help() string {
	return `Only for a gateway with --directory: a real object store is filled with any S3 tool.

    preau central put film.mp4 --bucket lessons --title "Les fractions"
    preau central put *.pdf --bucket lessons --prefix 6e/`
}

// Run puts the files.
func (c centralPutCmd) Run(ctx context.Context, to streams) error {
	for _, file := range c.Files {
		if err := c.put(ctx, file); err != nil {
			return fmt.Errorf("%s: %w", file, err)
		}
		if err := to.printf("%s is %s%s in bucket %s.\n", file, c.Prefix, filepath.Base(file), c.Bucket); err != nil {
			return err
		}
	}
	return nil
}

func (c centralPutCmd) put(ctx context.Context, file string) error {
	f, err := os.Open(file)
	if err != nil {
		return err
	}
	defer f.Close() //nolint:errcheck // only read
	info, err := f.Stat()
	if err != nil {
		return err
	}
	u := url.URL{Scheme: "http", Host: c.Admin, Path: "/store/" + c.Bucket + "/" + c.Prefix + filepath.Base(file)}
	req, err := http.NewRequestWithContext(ctx, http.MethodPut, u.String(), f)
	if err != nil {
		return err
	}
	req.ContentLength = info.Size()
	if info.Size() == 0 {
		req.Body = http.NoBody
	}
	for name, text := range map[string]string{"Title": c.Title, "Description": c.Description, "Collection": c.Collection, "Audience": c.Audience} {
		if text != "" {
			req.Header.Set("Preau-Meta-"+name, text)
		}
	}
	// The upload takes as long as it takes, and ctx ends it.
	client := http.Client{Transport: &http.Transport{DialContext: (&net.Dialer{Timeout: 10 * time.Second}).DialContext}}
	defer client.CloseIdleConnections()
	resp, err := client.Do(req)
	if err != nil {
		return fmt.Errorf("no gateway with a folder answers at %s: %w", c.Admin, err)
	}
	defer func() { _ = resp.Body.Close() }() // its status is all that counts
	if resp.StatusCode/100 != 2 {
		return fmt.Errorf("the gateway answers %s: %s", resp.Status, firstLine(resp.Body))
	}
	return nil
}

type centralConfigCmd struct{}

func (centralConfigCmd) Help() string {
	return `    preau central config > central.toml
    preau central run --config central.toml --check`
}

// Run prints the reference file.
func (centralConfigCmd) Run(to streams) error {
	cfg := central.DefaultConfig()
	cfg.Data, cfg.S3.Endpoint, cfg.S3.KeyFile = "/var/lib/preau-central", "https://ceph.example.org:8443", "/etc/preau/s3.keys"
	cfg.Buckets, cfg.Locate = []string{"lessons"}, locate.ExampleConfig()
	text, err := config.Reference(cfg, `The gateway between the ministry's object store and the regions: every key there is, with its default or an example.

A key that is not known here is refused. Check your file with: preau central run --config FILE --check`)
	if err != nil {
		return err
	}
	return to.print(string(text))
}

// firstLine is what somebody complained of, for people.
func firstLine(r io.Reader) string {
	raw, err := io.ReadAll(io.LimitReader(r, 1000))
	line, _, _ := strings.Cut(strings.TrimSpace(string(raw)), "\n")
	if err != nil || line == "" {
		return "no reason was given"
	}
	return line
}
