package consensus

import (
	"errors"
	"fmt"
	"time"

	"github.com/hashicorp/raft"

	"preau/replication/consensus/internal/storage"
)

// The kinds of log that a server can keep.
const (
	StoreWAL  = storage.WAL
	StoreBolt = storage.Bolt
)

const (
	// maxEntry bounds one entry: the log carries decisions, never bulk, and what
	// takes long to send delays heartbeats.
	maxEntry = 512 << 10
	// maxServers bounds the list of servers: a region has 1, 3 or 5.
	maxServers = 16
	// maxAppend is how many entries are synced and sent at once.
	maxAppend = 512
	// queued is how many entries wait to be taken up before callers wait.
	queued = 4096
	// caughtUp is how many entries a server may lack and count as caught up.
	caughtUp = 64
)

// Config says who a server is and how patient it is. The zero value is not
// usable; start from DefaultConfig.
type Config struct {
	ID        ServerID `toml:"id"`
	ClusterID string   `toml:"cluster_id"`
	// Address is where the other servers reach this one.
	Address string `toml:"address"`
	// Dir is where the log, the vote and the snapshots lie.
	Dir string `toml:"dir"`
	// Store is how the log is written: "wal" or "bolt".
	Store string `toml:"store"`

	// HeartbeatTimeout is how long a server waits for its leader before it looks
	// for another one, ElectionTimeout how long for an election's end, and
	// LeaderLease how long a leader leads without hearing from a majority.
	HeartbeatTimeout time.Duration `toml:"heartbeat_timeout"`
	ElectionTimeout  time.Duration `toml:"election_timeout"`
	LeaderLease      time.Duration `toml:"leader_lease"`
	// CommitTimeout is how long an idle leader waits before it tells the others
	// what has been committed.
	CommitTimeout time.Duration `toml:"commit_timeout"`
	// Patience multiplies the four: 1 for servers in one place, 5 for servers in
	// different cities.
	Patience int `toml:"patience"`
	// RPCTimeout is how long one exchange with another server may take.
	RPCTimeout time.Duration `toml:"rpc_timeout"`

	// SnapshotThreshold is after how many entries a snapshot is taken, looked at
	// every SnapshotInterval; TrailingLogs how many entries are kept before it, so
	// that a server that was away for a while needs no snapshot.
	SnapshotThreshold uint64        `toml:"snapshot_threshold"`
	SnapshotInterval  time.Duration `toml:"snapshot_interval"`
	TrailingLogs      uint64        `toml:"trailing_logs"`

	// Disk is where the state lies instead of in Dir. Tests give one that is in
	// memory and can crash (consensustest.Disk); nil otherwise.
	Disk storage.Disk `toml:"-"`
}

// DefaultConfig is for servers in one place.
func DefaultConfig() Config {
	return Config{
		Store:             StoreWAL,
		HeartbeatTimeout:  time.Second,
		ElectionTimeout:   time.Second,
		LeaderLease:       500 * time.Millisecond,
		CommitTimeout:     100 * time.Millisecond,
		Patience:          1,
		RPCTimeout:        10 * time.Second,
		SnapshotThreshold: 65_536,
		SnapshotInterval:  5 * time.Minute,
		TrailingLogs:      250_000,
	}
}

// Validate says everything that is wrong.
func (c Config) Validate() error {
	var errs []error
	bad := func(wrong bool, key, msg string) {
		if wrong {
			errs = append(errs, fmt.Errorf("%s: %s", key, msg))
		}
	}
	bad(c.ID == "" || len(c.ID) > maxName, "id", "between 1 and 200 bytes")
	bad(c.ClusterID == "" || len(c.ClusterID) > maxName, "cluster_id", "between 1 and 200 bytes")
	bad(c.Address == "" || len(c.Address) > maxName, "address", "between 1 and 200 bytes")
	bad(c.Dir == "" && c.Disk == nil, "dir", "is missing")
	bad(c.Store != StoreWAL && c.Store != StoreBolt, "store", `"wal" or "bolt"`)
	bad(c.HeartbeatTimeout < 50*time.Millisecond, "heartbeat_timeout", "at least 50ms")
	bad(c.ElectionTimeout < c.HeartbeatTimeout, "election_timeout", "at least heartbeat_timeout")
	bad(c.LeaderLease < 10*time.Millisecond || c.LeaderLease > c.HeartbeatTimeout, "leader_lease", "at least 10ms and at most heartbeat_timeout")
	bad(c.CommitTimeout < time.Millisecond, "commit_timeout", "at least 1ms")
	bad(c.Patience < 1 || c.Patience > 20, "patience", "between 1 and 20")
	bad(c.RPCTimeout < 100*time.Millisecond, "rpc_timeout", "at least 100ms")
	bad(c.SnapshotThreshold < 1, "snapshot_threshold", "at least 1")
	bad(c.SnapshotInterval < 10*time.Millisecond, "snapshot_interval", "at least 10ms")
	return errors.Join(errs...)
}

func (c Config) heartbeat() time.Duration { return c.HeartbeatTimeout * time.Duration(c.Patience) }
func (c Config) election() time.Duration  { return c.ElectionTimeout * time.Duration(c.Patience) }

func (c Config) disk() storage.Disk {
	if c.Disk != nil {
		return c.Disk
	}
	return storage.Files{Dir: c.Dir, Kind: c.Store}
}

// raft puts it into the library's terms. Pre-vote is on unless it is disabled
// and the transport lacks it; ours has it.
func (c Config) raft() *raft.Config {
	r := raft.DefaultConfig()
	r.LocalID = raft.ServerID(c.ID)
	r.HeartbeatTimeout = c.heartbeat()
	r.ElectionTimeout = c.election()
	r.LeaderLeaseTimeout = c.LeaderLease * time.Duration(c.Patience)
	r.CommitTimeout = c.CommitTimeout * time.Duration(c.Patience)
	r.MaxAppendEntries = maxAppend
	r.BatchApplyCh = true
	r.SnapshotThreshold = c.SnapshotThreshold
	r.SnapshotInterval = c.SnapshotInterval
	r.TrailingLogs = c.TrailingLogs
	r.ShutdownOnRemove = false
	r.NoLegacyTelemetry = true
	// The machine is durable: restoring at each start would only cost time. Open
	// restores where there is a gap.
	r.NoSnapshotRestoreOnStart = true
	return r
}
