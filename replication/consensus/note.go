package consensus

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"sync"

	"preau/replication/consensus/internal/storage"
)

// noteFormat is the version of the note beside the log.
const noteFormat = 1

// note says whose folder this is.
type note struct {
	Format  int      `json:"format"`
	Cluster string   `json:"cluster"`
	Server  ServerID `json:"server"`
	// Past names how the region began, and each recovery of it: two servers whose
	// pasts differ hold logs that only look alike. Empty until the server was
	// bootstrapped or has met its region.
	Past string `json:"past,omitempty"`
	// Joined says that the past was learnt from others.
	Joined bool `json:"joined,omitempty"`
	// Last is the log's last index after a clean stop, 0 while it runs.
	Last uint64 `json:"last,omitempty"`
}

// notebook keeps the note on the disk and in memory alike.
type notebook struct {
	mu    sync.Mutex
	disk  *storage.Stores
	value note
}

// openNote reads the note and refuses another server's folder.
func openNote(disk *storage.Stores, cfg Config, empty bool) (*notebook, error) {
	b := &notebook{disk: disk}
	raw, err := disk.ReadNote()
	if err != nil {
		return nil, fmt.Errorf("read whose folder it is: %w", err)
	}
	if raw == nil {
		if !empty {
			return nil, fmt.Errorf("%w: there is a log, but nothing says whose it is: %s", ErrDamaged, rejoin)
		}
		b.value = note{Format: noteFormat, Cluster: cfg.ClusterID, Server: cfg.ID}
		return b, b.write(b.value)
	}
	if err := json.Unmarshal(raw, &b.value); err != nil {
		return nil, fmt.Errorf("%w: what says whose folder it is: %w: %s", ErrDamaged, err, rejoin)
	}
	switch v := b.value; {
	case v.Format != noteFormat:
		return nil, fmt.Errorf("folder is of format %d, this program knows %d: use the program that wrote it", v.Format, noteFormat)
	case v.Cluster != cfg.ClusterID:
		return nil, fmt.Errorf("folder of region %q, not %q: %w: point dir at another folder, or correct cluster_id", v.Cluster, cfg.ClusterID, ErrWrongCluster)
	case v.Server != cfg.ID:
		return nil, fmt.Errorf("folder of server %q, not %q: %w: point dir at another folder, or correct id", v.Server, cfg.ID, ErrWrongServer)
	}
	return b, nil
}

func (b *notebook) get() note {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.value
}

// change writes what f makes of the note, unless f says no.
func (b *notebook) change(f func(*note) error) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	next := b.value
	if err := f(&next); err != nil {
		return err
	}
	if next == b.value {
		return nil
	}
	return b.write(next)
}

func (b *notebook) write(v note) error {
	raw, err := json.Marshal(v)
	if err != nil {
		return err
	}
	if err := b.disk.WriteNote(raw); err != nil {
		return fmt.Errorf("write whose folder it is: %w", err)
	}
	b.value = v
	return nil
}

// past names a beginning, or a recovery of what began as before: the same for
// all servers that were told the same.
func past(cluster, before string, servers []Server) string {
	h := sha256.New()
	parts := []string{"preau region past 1", cluster, before}
	sorted := slices.Clone(servers)
	slices.SortFunc(sorted, func(a, b Server) int { return strings.Compare(string(a.ID), string(b.ID)) })
	for _, s := range sorted {
		parts = append(parts, string(s.ID), s.Address, fmt.Sprint(s.Voter))
	}
	for _, p := range parts {
		// Length first, so that no two lists write the same bytes.
		fmt.Fprintf(h, "%d:%s", len(p), p)
	}
	return hex.EncodeToString(h.Sum(nil)[:16])
}
