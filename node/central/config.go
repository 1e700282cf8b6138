package central

import (
	"fmt"
	"io"
	"net"
	"net/url"
	"path/filepath"
	"strings"
	"time"

	"preau/node/config"
	"preau/node/locate"
	"preau/node/obs"
)

// Config is all that a gateway can be told. Start from DefaultConfig.
type Config struct {
	Data      string          `toml:"data" doc:"The gateway's folder: its identity in each region that it serves, and the key that signs what it publishes. Gateways behind one name share that key: copy signing.key from the first."`
	Listen    string          `toml:"listen" doc:"Address and port for the regions' servers, over TCP and UDP."`
	Buckets   []string        `toml:"buckets" doc:"The buckets whose objects are published to the regions. May be empty."`
	Deposits  string          `toml:"deposits" doc:"The bucket that schools' deposits go to, under SCHOOL/DIGEST/NAME. Empty: none are taken."`
	System    string          `toml:"system" doc:"The gateways' own bucket. It must have no versioning, and no rule that removes objects."`
	Every     config.Duration `toml:"every" doc:"How often each bucket is compared with what was published, give or take a tenth. Notifications make news quicker, and are not needed."`
	MakeThem  bool            `toml:"make_buckets" doc:"Make the buckets that are not there."`
	Locate    locate.Config   `toml:"locate" doc:"Sending devices to the box of their school, whatever the region: under the boxes' own public names, which lie below each region's domain and so below this one."`
	Log       obs.Log         `toml:"log" doc:"The log goes to standard error, which is the journal when systemd runs the gateway."`
	Admin     Admin           `toml:"admin" doc:"The face for this machine's operator: /healthz, /readyz, /metrics, /held for what is not published and why, and /hints for bucket notifications."`
	Directory string          `toml:"directory" doc:"Keep the buckets in this folder instead of Ceph: for demonstrations and small set-ups with one gateway. Buckets are folders of their own there, filled with preau central put."`
	S3        S3              `toml:"s3" doc:"The object store: Ceph's radosgw, or any other that speaks S3."`
}

// S3 is where the object store is.
type S3 struct {
	Endpoint string `toml:"endpoint" doc:"Its URL, such as https://ceph.example:8443. Empty: there is none, and directory is used."`
	Region   string `toml:"region" doc:"What requests are signed for. Ceph says default."`
	KeyFile  string `toml:"key_file" doc:"A file with the access key on its first line and the secret key on its second. It is read again when it changes, so keys can be rotated while the gateway runs."`
	CAFile   string `toml:"ca_file" doc:"Certificates (PEM) that vouch for the endpoint's. Empty: the system's."`
}

// Admin is where this machine's operator looks.
type Admin struct {
	Listen  string `toml:"listen" doc:"Address and port. It asks nobody for a password, so keep it on 127.0.0.1 unless something in front of it does."`
	MayMove bool   `toml:"-"`
}

// DefaultConfig has no folder and no store: those must be said.
func DefaultConfig() Config {
	return Config{
		Listen: ":4434", System: "preau-central", Deposits: "preau-deposits", Every: config.Duration(10 * time.Minute),
		Log: obs.DefaultLog(), Admin: Admin{Listen: "127.0.0.1:9192"}, S3: S3{Region: "default"},
		Locate: locate.DefaultConfig(),
	}
}

// LoadConfig reads and checks the file at path.
func LoadConfig(path string) (Config, error) {
	cfg := DefaultConfig()
	if err := config.Load(path, &cfg, func() error { return cfg.Validate() }); err != nil {
		return Config{}, err
	}
	return cfg, nil
}

// Validate finds every mistake at once, each under its key in the file.
func (c Config) Validate() error {
	var p config.Problems
	if c.Data == "" {
		p.Addf("data", `is missing: write the gateway's folder, like data = "/var/lib/preau-central"`)
	}
	if _, _, err := net.SplitHostPort(c.Listen); err != nil {
		p.Addf("listen", `%q is not an address with a port: write it like ":4434"`, c.Listen)
	}
	if _, _, err := net.SplitHostPort(c.Admin.Listen); err != nil {
		p.Addf("admin.listen", `%q is not an address with a port: write it like "127.0.0.1:9192"`, c.Admin.Listen)
	}
	switch {
	case c.Directory == "" && c.S3.Endpoint == "":
		p.Addf("s3.endpoint", `is missing: write where the object store is, like endpoint = "https://ceph.example:8443", or name a directory instead`)
	case c.Directory != "" && c.S3.Endpoint != "":
		p.Addf("directory", "and s3.endpoint are both set: the buckets are in one or the other")
	case c.S3.Endpoint != "":
		u, err := url.Parse(c.S3.Endpoint)
		if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" {
			p.Addf("s3.endpoint", "%q is no URL of a server: write it like https://ceph.example:8443", c.S3.Endpoint)
		}
		if c.S3.KeyFile == "" {
			p.Addf("s3.key_file", "is missing: name a file with the access key on its first line and the secret key on its second")
		}
	}
	c.Locate.Check(&p, "locate", nil)
	used := map[string]string{}
	for key, bucket := range map[string]string{"system": c.System, "deposits": c.Deposits} {
		if bucket == "" && key == "deposits" {
			continue
		}
		checkBucket(&p, key, bucket)
		if other := used[bucket]; other != "" {
			p.Addf(key, "%q is also the bucket of %s: each needs its own", bucket, other)
		}
		used[bucket] = key
	}
	for i, bucket := range c.Buckets {
		key := fmt.Sprintf("buckets[%d]", i)
		checkBucket(&p, key, bucket)
		if other := used[bucket]; other == "system" || strings.HasPrefix(other, "buckets") {
			p.Addf(key, "%q is there as %s already", bucket, other)
		}
		used[bucket] = key
	}
	if c.Every.Std() < time.Second {
		p.Addf("every", "%v is too often: write at least 1s", c.Every)
	}
	if _, err := obs.NewLogger(io.Discard, c.Log); err != nil {
		p.Addf("log", "%v", err)
	}
	return p.Err()
}

func checkBucket(p *config.Problems, key, bucket string) {
	if len(bucket) < 3 || len(bucket) > 63 || strings.Trim(bucket, "abcdefghijklmnopqrstuvwxyz0123456789.-") != "" {
		p.Addf(key, "%q is no name of a bucket: 3 to 63 of a-z, 0-9, . and -", bucket)
	}
}

func (c Config) regionsDir() string { return filepath.Join(c.Data, "regions") }
func (c Config) keyFile() string    { return filepath.Join(c.Data, "signing.key") }

// RegionDir is where the identity in a region lies below a gateway's folder.
func RegionDir(data, region string) string { return filepath.Join(data, "regions", region) }
