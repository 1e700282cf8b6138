//go:build system && linux

package lab_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"preau/images/hosttest"
	"preau/node/whole/ministry"
	"preau/node/whole/netns"
	"preau/replication/central/cephtest"
)

const (
	// packagesEnv names the folder with the packages of both versions.
	packagesEnv = "PREAU_TEST_PACKAGES"
	gatewayAddr = "10.251.0.12"
	// cephPort is where the gateway's host finds Ceph, on the ministry's machine.
	cephPort = 7480
	// reached are the hosts that Ansible reaches once the boxes are in their schools.
	reached = "region:central"
	vault   = "the Vault of the lab"
)

// hosts are Debians with systemd that really boot. Ansible deploys them from nothing,
// typed on the ministry's machine: the region and its gateway where they stay, boxes on
// a bench in the region's network, from where they are carried to their schools.
type hosts struct {
	packages string
	key      string // for ssh
	signer   signer // of what boxes run
	books    *hosttest.Playbooks
}

func (*hosts) String() string {
	return "Every box, server and gateway is a host that boots (Debian with systemd), deployed by Ansible."
}

// today: hosts have no time zone.
func (*hosts) today() string { return time.Now().UTC().Format(time.DateOnly) }

func packageOf(folder, version string) string {
	return filepath.Join(folder, "preau_"+version+"_"+runtime.GOARCH+".deb")
}

// place plugs the box in on the bench.
func (*hosts) place(t *testing.T, c *country, s *school, h *netns.Host, n int) {
	t.Helper()
	at := netns.Host{NS: h.NS, Addr: s.bench(n)}
	plug(t, c.core, "region", &at, fmt.Sprintf("bench%d%d", s.net, n), 24, "10.250.0.1")
}

// up boots the hosts, has Ansible deploy them, and carries the boxes to their schools.
func (o *hosts) up(t *testing.T, c *country) *ministry.Ministry {
	t.Helper()
	o.key, o.signer = hosttest.NewKey(t), newSigner(t, c.dir)
	ceph := make(chan error, 1)
	var cluster *cephtest.Cluster
	go func() { // meanwhile hosts boot
		ctx, cancel := context.WithTimeout(t.Context(), 4*time.Minute)
		defer cancel()
		var err error
		cluster, err = cephtest.Up(ctx, filepath.Join(c.dir, "ceph"), 1)
		ceph <- err
	}()
	c.gateway = netns.New(t, prefix+"gw", gatewayAddr)
	plug(t, c.core, "centre", c.gateway, "gw", 24, "10.251.0.1")
	all := map[string]*machine{"central": o.boot(t, "central", "preau-central", centreAdmin, c.gateway, c.core, "gw")}
	for i, h := range c.servers {
		name := "s" + strconv.Itoa(i+1)
		all[name] = o.boot(t, name, "preau-region", serverAdmin, h, c.core, "r"+strconv.Itoa(i+1))
	}
	var names []string
	for i := range schools * each {
		name := "box-" + strconv.Itoa(i+1)
		names = append(names, name)
		s := c.schools[i/each] // where its port will be
		all[name] = o.boot(t, name, "preau-box", boxAdmin, s.hosts[i%each], s.router, "b"+strconv.Itoa(i%each+1))
	}
	for _, m := range all {
		m.host.Await(t)
	}
	if err := <-ceph; err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := cluster.Close(); err != nil {
			t.Error(err)
		}
	})
	o.reachCeph(t, cluster)
	o.deploy(t, c, cluster, len(all))
	d := ministry.Deployed{
		Ceph: cluster, Central: &ministry.Process{Name: "central", Machine: all["central"]},
		Operator: filepath.Join(c.dir, "operator"), Binary: os.Getenv(binaryEnv), Bucket: lessons,
	}
	for i := range c.servers {
		name := "s" + strconv.Itoa(i+1)
		d.Servers = append(d.Servers, &ministry.Process{Name: name, Machine: all[name]})
	}
	if err := os.CopyFS(d.Operator, os.DirFS(all["s1"].host.Disk("var/lib/preau-region/operator"))); err != nil {
		t.Fatal(err)
	}
	for i, name := range names {
		s := c.schools[i/each]
		h := s.hosts[i%each]
		d.Boxes = append(d.Boxes, ministry.NewBox(&ministry.Process{Name: name, Machine: all[name]},
			"http://"+h.Addr.String(), s.code, all[name].host.Disk("var/lib/preau")))
	}
	o.carry(t, c, d.Boxes)
	ctx, cancel := context.WithTimeout(t.Context(), 4*time.Minute)
	defer cancel()
	m, err := ministry.Of(ctx, d)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// boot switches a bare Debian on. It is, or will be, plugged into that port.
func (o *hosts) boot(t *testing.T, name, unit, admin string, at, plugged *netns.Host, port string) *machine {
	t.Helper()
	return &machine{host: hosttest.BootIn(t, name, at.NS, o.key), unit: unit, admin: admin, at: at, plug: [2]string{plugged.NS, "p-" + port}}
}

// reachCeph leads to Ceph, which is on loopback, who asks for it from beside the
// ministry's machine.
func (*hosts) reachCeph(t *testing.T, ceph *cephtest.Cluster) {
	t.Helper()
	centre := netns.Host{NS: centreNS}
	centre.Sh(t, "echo 1 > /proc/sys/net/ipv4/conf/eth0/route_localnet")
	centre.Filter(t, fmt.Sprintf("chain ceph { type nat hook prerouting priority -100; iifname eth0 tcp dport %d dnat ip to %s; }",
		cephPort, strings.TrimPrefix(ceph.Endpoint, "http://")))
}

// deploy types what the README of the playbooks says.
func (o *hosts) deploy(t *testing.T, c *country, ceph *cephtest.Cluster, size int) {
	t.Helper()
	o.books = hosttest.NewPlaybooks(t, vault)
	o.books.Write(t, map[string]string{
		"my-country/hosts.yml":                o.inventory(t, c),
		"my-country/group_vars/all/main.yml":  fmt.Sprintf("package_version: %s\npackage_file: %q\n", first, packageOf(o.packages, "{{ package_version }}")),
		"my-country/group_vars/all/vault.yml": fmt.Sprintf("vault_s3_access_key: %q\nvault_s3_secret_key: %q\n", ceph.AccessKey, ceph.SecretKey),
	})
	o.types(t, "ansible-vault encrypt my-country/group_vars/all/vault.yml")
	began := time.Now()
	o.types(t, "ansible-playbook -i my-country site.yml")
	took := time.Since(began)
	began = time.Now()
	looked, changed := hosttest.Recap(o.types(t, "ansible-playbook -i my-country site.yml"))
	if len(looked) != size || len(changed) > 0 {
		t.Errorf("a second run has looked at %q and changed %q", looked, changed)
	}
	c.did(t, "deployed by Ansible from nothing", "%d hosts, %.1f s (%.1f s a host); second run changed=%d, %.1f s",
		size, took.Seconds(), took.Seconds()/float64(size), len(changed), time.Since(began).Seconds())
}

// types types a line, which must succeed.
func (o *hosts) types(t *testing.T, line string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 15*time.Minute)
	defer cancel()
	out, err := o.books.Run(ctx, line)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// inventory is the officer's own, with everything where it is when it is deployed.
func (o *hosts) inventory(t *testing.T, c *country) string {
	t.Helper()
	var servers, boxes strings.Builder
	for i, h := range c.servers {
		fmt.Fprintf(&servers, "        s%d: {ansible_host: %s}\n", i+1, h.Addr)
	}
	for i := range schools * each {
		s := c.schools[i/each]
		fmt.Fprintf(&boxes, "        box-%d: {ansible_host: %s, box_school: %s}\n", i+1, s.bench(i%each), s.code)
	}
	const text = `---
all:
  vars:
CONNECTION  children:
    region:
      vars:
        region_name: Lyon
        region_settings:
          budget: 1GiB
          central: {address: "GATEWAY"}
      hosts:
SERVERS    central:
      vars:
        central_s3_access_key: "{{ vault_s3_access_key }}"
        central_s3_secret_key: "{{ vault_s3_secret_key }}"
        central_settings:
          buckets: [LESSONS]
          deposits: DEPOSITS
          every: 2s
          make_buckets: true
          s3: {endpoint: "http://CEPH", region: REGION}
      hosts:
        central: {ansible_host: CENTRAL}
    box:
      vars:
        box_update_key: UPDATES
        box_secrets:
          tls.crt: "{{ lookup('file', 'CERTS/cert.pem') }}"
          tls.key: "{{ lookup('file', 'CERTS/key.pem') }}"
        box_settings:
          budget: 2GiB
          portal: {title: TITLE}
          listen:
            - address: ":80"
            - address: ":443"
              certificate:
                - cert: /run/credentials/preau-box.service/preau.tls.crt
                  key: /run/credentials/preau-box.service/preau.tls.key
      hosts:
BOXES`
	return strings.NewReplacer(
		"CONNECTION", hosttest.Connection(o.key, "    "), "SERVERS", servers.String(), "BOXES", boxes.String(),
		"GATEWAY", gatewayAddr+":"+strconv.Itoa(gatewayPort), "LESSONS", lessons, "DEPOSITS", ministry.Deposits,
		"CEPH", centreAddr+":"+strconv.Itoa(cephPort), "REGION", "default", "CENTRAL", gatewayAddr, "CERTS", c.dir, "TITLE", schoolTitle, "UPDATES", o.signer.public,
	).Replace(text)
}

// carry takes the boxes to their schools: each is shut down, plugged in there, and
// switched on. From then on nobody reaches it by ssh.
func (*hosts) carry(t *testing.T, c *country, boxes []*ministry.Box) {
	t.Helper()
	errs := make([]error, len(boxes))
	together := func(do func(b *ministry.Box) error) {
		t.Helper()
		var wg sync.WaitGroup
		for i, b := range boxes {
			wg.Go(func() { errs[i] = do(b) })
		}
		wg.Wait()
		if err := errors.Join(errs...); err != nil {
			t.Fatal(err)
		}
	}
	began := time.Now()
	together(func(b *ministry.Box) error { return b.Stop() })
	for i := range boxes {
		s, n := c.schools[i/each], i%each
		c.core.IP(t, "link", "del", fmt.Sprintf("p-bench%d%d", s.net, n))
		s.plug(t, s.hosts[n], "b"+strconv.Itoa(n+1))
	}
	together(func(b *ministry.Box) error { return b.Start() })
	c.did(t, "the boxes are carried from the bench to their schools", "all %d serve there again %.1f s after they were told to shut down", len(boxes), time.Since(began).Seconds())
}

// ready: the second version's package lies there.
func (*hosts) ready(*testing.T) {}

// change has Ansible upgrade the region and its gateway, or put them back.
func (o *hosts) change(t *testing.T, c *country, version string) {
	t.Helper()
	what, playbook := "the region and its gateway are upgraded by Ansible, server by server, under load", "upgrade.yml"
	if version == first {
		what, playbook = "and put back by Ansible", "rollback.yml"
	}
	line := fmt.Sprintf("ansible-playbook -i my-country %s -e package_version=%s --limit %s", playbook, version, reached)
	began := time.Now()
	looked, changed := hosttest.Recap(o.types(t, line))
	if want := len(c.servers) + 1; len(looked) != want || len(changed) != want {
		t.Errorf("%s has looked at %q and changed %q: want all %d", line, looked, changed, want)
	}
	took := time.Since(began)
	for _, p := range append(slices.Clone(c.Servers), c.Central) {
		if got, err := c.version(t.Context(), p.Name); err != nil || got != "v"+version {
			t.Errorf("%s runs %q, want v%s: %v", p.Name, got, version, err)
		}
	}
	c.did(t, what, "`%s`: %.1f s", line, took.Seconds())
}
