//go:build linux

package cephtest

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// format writes the configuration and the keys, makes the monitor and the OSDs,
// and leaves the monitor running.
func (c *Cluster) format(ctx context.Context) error {
	for _, name := range []string{"log", "run", "crash", "mon.a", "rgw.a"} {
		if err := os.MkdirAll(filepath.Join(c.dir, name), 0o700); err != nil {
			return err
		}
	}
	fsid := uuid()
	monPort, err := freePort(ctx)
	if err != nil {
		return err
	}
	s3Port, err := freePort(ctx, monPort)
	if err != nil {
		return err
	}
	c.Endpoint = "http://127.0.0.1:" + strconv.Itoa(s3Port)
	keyring, monmap := filepath.Join(c.dir, "keyring"), filepath.Join(c.dir, "monmap")
	for path, text := range map[string]string{c.conf(): c.settings(fsid, monPort, s3Port), keyring: c.keyring()} {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			return err
		}
	}
	_, err = c.tool(ctx, nil, "monmaptool", "--create", "--fsid", fsid, "--set-min-mon-release", "pacific",
		"--addv", "a", fmt.Sprintf("[v2:127.0.0.1:%d/0]", monPort), monmap)
	if err != nil {
		return err
	}
	// All keys come in at once, which spares a round trip for each.
	if _, err := c.tool(ctx, nil, "ceph-mon", "--mkfs", "-i", "a", "--monmap", monmap, "--keyring", keyring); err != nil {
		return err
	}
	if err := c.StartMon(); err != nil {
		return err
	}
	return c.formatOSDs(ctx)
}

// formatOSDs makes the OSDs' files while the monitor hears of them.
func (c *Cluster) formatOSDs(ctx context.Context) error {
	var commands strings.Builder
	errs := make(chan error, c.osds+1)
	for n := range c.osds {
		if err := os.Mkdir(filepath.Join(c.dir, "osd."+strconv.Itoa(n)), 0o700); err != nil {
			return err
		}
	}
	for n := range c.osds {
		id := uuid()
		fmt.Fprintf(&commands, "osd create %s %d\n", id, n)
		go func() {
			_, err := c.tool(ctx, nil, "ceph-osd", "--mkfs", "-i", strconv.Itoa(n), "--osd-uuid", id)
			errs <- err
		}()
	}
	go func() {
		_, err := c.tool(ctx, []byte(commands.String()), "ceph", "--connect-timeout", "60")
		errs <- err
	}()
	var all []error
	for range c.osds + 1 {
		all = append(all, <-errs)
	}
	return errors.Join(all...)
}

// settings is ceph.conf. Of an option that is said twice the last counts.
func (c *Cluster) settings(fsid string, monPort, s3Port int) string {
	copies, enough := min(c.osds, 3), 1
	if c.osds >= 3 {
		enough = 2
	}
	return strings.NewReplacer(
		"DIR", c.dir, "FSID", fsid, "MONPORT", strconv.Itoa(monPort), "S3PORT", strconv.Itoa(s3Port),
		"COPIES", strconv.Itoa(copies), "ENOUGH", strconv.Itoa(enough),
	).Replace(`[global]
fsid = FSID
mon_initial_members = a
mon_host = v2:127.0.0.1:MONPORT/0
public_addr = 127.0.0.1
public_network = 127.0.0.0/8
cluster_network = 127.0.0.0/8
ms_bind_msgr1 = false
auth_allow_insecure_global_id_reclaim = false

# Everything in one folder.
keyring = DIR/keyring
run_dir = DIR/run
admin_socket = DIR/run/$name.asok
log_file = DIR/log/$name.log
mon_cluster_log_file = DIR/log/cluster.log
log_to_stderr = false
err_to_stderr = true
crash_dir = DIR/crash
mon_data = DIR/mon.$id
osd_data = DIR/osd.$id
rgw_data = DIR/rgw.$id

# All copies on one machine, and few placement groups.
osd_pool_default_size = COPIES
osd_pool_default_min_size = ENOUGH
osd_pool_default_pg_num = 4
osd_pool_default_pgp_num = 4
osd_pool_default_pg_autoscale_mode = off
osd_crush_chooseleaf_type = 0
mon_allow_pool_size_one = true
mon_max_pg_per_osd = 2000
mon_warn_on_pool_no_redundancy = false
# The machine's disk may be nearly full; that is not what is tested.
mon_data_avail_warn = 2
mon_data_avail_crit = 1

# Agree soon, and notice soon that an OSD is dead.
paxos_propose_interval = 0.05
paxos_min_wait = 0.02
mon_osd_min_down_reporters = 1
mon_osd_down_out_interval = 86400
osd_heartbeat_interval = 1
osd_heartbeat_grace = 5

# Small. The aio poll interval is waited for whenever an OSD's file is closed.
bluestore_block_size = 17179869184
bluestore_cache_autotune = false
bluestore_cache_size = 67108864
bluestore_fsck_on_mkfs = false
bdev_aio_poll_ms = 10
osd_op_num_shards = 2
osd_op_num_threads_per_shard = 1

# Without tcp_nodelay each small answer waits 40 ms for an ACK.
rgw_frontends = beast endpoint=127.0.0.1:S3PORT tcp_nodelay=1
rgw_thread_pool_size = 64
rgw_rados_pool_pg_num_min = 4
rgw_num_control_oids = 2
rgw_gc_max_objs = 4
rgw_lc_max_objs = 4
# A quota is to be heeded at once.
rgw_bucket_quota_ttl = 1
rgw_user_quota_bucket_sync_interval = 1
rgw_user_quota_sync_interval = 1
`)
}

// keyring gives every daemon its key and what it may do.
func (c *Cluster) keyring() string {
	var b strings.Builder
	entry := func(name string, caps ...string) {
		fmt.Fprintf(&b, "[%s]\n\tkey = %s\n", name, key())
		for _, allowed := range caps {
			service, what, _ := strings.Cut(allowed, " ")
			fmt.Fprintf(&b, "\tcaps %s = %q\n", service, what)
		}
	}
	entry("mon.", "mon allow *")
	entry("client.admin", "mon allow *", "osd allow *", "mgr allow *")
	entry("client.rgw.a", "mon allow rw", "osd allow rwx")
	for n := range c.osds {
		entry("osd."+strconv.Itoa(n), "mon allow profile osd", "osd allow *")
	}
	return b.String()
}

// key is a cephx secret: its type (1, AES), when it was made, its length and its
// 16 bytes, little endian.
func key() string {
	raw := binary.LittleEndian.AppendUint16(nil, 1)
	raw = binary.LittleEndian.AppendUint32(raw, uint32(time.Now().Unix()))
	raw = binary.LittleEndian.AppendUint32(raw, 0)
	raw = binary.LittleEndian.AppendUint16(raw, 16)
	secret := make([]byte, 16)
	// Read of crypto/rand never fails.
	_, _ = rand.Read(secret)
	return base64.StdEncoding.EncodeToString(append(raw, secret...))
}

// uuid is a random one (RFC 9562 §5.4).
func uuid() string {
	var p [16]byte
	// Read of crypto/rand never fails.
	_, _ = rand.Read(p[:])
	p[6] = p[6]&0x0f | 0x40
	p[8] = p[8]&0x3f | 0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", p[:4], p[4:6], p[6:8], p[8:10], p[10:])
}
