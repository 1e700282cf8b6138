package consensus

import (
	"errors"
	"fmt"
	"io"

	"github.com/hashicorp/raft"
)

// check looks at everything on the disk before anything relies on it.
func (n *Node) check() error {
	first, last, err := n.bounds()
	if err != nil {
		return err
	}
	empty, err := n.empty()
	if err != nil {
		return err
	}
	if n.note, err = openNote(n.stores, n.cfg, empty); err != nil {
		return err
	}
	newest, err := n.checkSnapshots(first)
	if err != nil {
		return err
	}
	covered := uint64(0)
	if newest != nil {
		covered = newest.meta.Index
	}
	if first, last, err = n.checkLog(first, last, covered); err != nil {
		return err
	}
	if was := n.note.get().Last; was > max(last, covered) {
		return fmt.Errorf("%w: the log ends at entry %d, it ended at %d when the server stopped: %s", ErrDamaged, max(last, covered), was, rejoin)
	}
	if err := n.checkMachine(first, last, covered); err != nil {
		return err
	}
	reached := uint64(0)
	if newest != nil {
		reached = newest.at.reached
	}
	n.fsm = newFSM(n, n.machine, min(reached, covered))
	if err := n.closeGap(newest); err != nil {
		return err
	}
	n.begun, _ = n.machine.Applied()
	// From here on the log's end may go back and forth.
	return n.note.change(func(v *note) error { v.Last = 0; return nil })
}

func (n *Node) bounds() (first, last uint64, err error) {
	if first, err = n.logs.FirstIndex(); err == nil {
		last, err = n.logs.LastIndex()
	}
	if err != nil {
		return 0, 0, fmt.Errorf("%w: log: %w: %s", ErrDamaged, err, rejoin)
	}
	return first, last, nil
}

func (n *Node) empty() (bool, error) {
	has, err := raft.HasExistingState(n.logs, n.stores.Stable, n.stores.Snapshots)
	if err != nil {
		return false, fmt.Errorf("%w: %w: %s", ErrDamaged, err, rejoin)
	}
	return !has, nil
}

type found struct {
	meta *raft.SnapshotMeta
	at   position
}

// checkSnapshots finds the newest snapshot that is whole. One that is not is
// removed if an older one and the log make up for it.
func (n *Node) checkSnapshots(first uint64) (*found, error) {
	all, err := n.stores.Snapshots.List()
	if err != nil {
		return nil, fmt.Errorf("list snapshots: %w", err)
	}
	var bad []string
	var why error
	for _, meta := range all {
		at, err := n.readSnapshot(meta.ID, nil)
		if errors.Is(err, ErrWrongCluster) {
			return nil, fmt.Errorf("snapshot %s: %w", meta.ID, err)
		}
		if err != nil {
			bad, why = append(bad, meta.ID), errors.Join(why, fmt.Errorf("snapshot %s: %w", meta.ID, err))
			continue
		}
		if first > meta.Index+1 {
			break
		}
		for _, id := range bad {
			n.log.Warn("damaged snapshot removed, an older one and the log make up for it", "snapshot", id, "err", why)
			if err := n.stores.DropSnapshot(id); err != nil {
				return nil, fmt.Errorf("remove damaged snapshot %s: %w", id, err)
			}
		}
		return &found{meta: meta, at: at}, nil
	}
	if first > 1 || len(bad) > 0 {
		if why == nil {
			why = errors.New("no readable snapshot has what came before")
		}
		return nil, fmt.Errorf("%w: the log begins at entry %d: %w: %s", ErrDamaged, first, why, rejoin)
	}
	return nil, nil //nolint:nilnil // a young server has none
}

// readSnapshot reads a snapshot to its end and gives it to use, if there is one.
func (n *Node) readSnapshot(id string, use func(*frameReader) error) (at position, err error) {
	_, in, err := n.stores.Snapshots.Open(id)
	if err != nil {
		return at, err
	}
	defer func() { err = errors.Join(err, in.Close()) }()
	f, err := newFrameReader(in)
	if err != nil {
		return at, err
	}
	if f.cluster != n.cfg.ClusterID {
		return at, fmt.Errorf("of region %q: %w", f.cluster, ErrWrongCluster)
	}
	if use != nil {
		return f.position, use(f)
	}
	_, err = io.Copy(io.Discard, f)
	return f.position, err
}

// checkLog reads the whole log. Damage in what a snapshot covers and the machine
// has costs only a copy for others, anything else is refused.
func (n *Node) checkLog(first, last, covered uint64) (from, to uint64, err error) {
	if last == 0 {
		return 0, 0, nil
	}
	if last < covered {
		// It was to be removed after the snapshot came from the leader.
		if err := n.logs.LogStore.DeleteRange(first, last); err != nil {
			return 0, 0, fmt.Errorf("remove entries that the snapshot has: %w", err)
		}
		return 0, 0, nil
	}
	applied, _ := n.machine.Applied()
	spare := min(covered, applied)
	drop := uint64(0)
	for i := first; i <= last; i++ {
		var e raft.Log
		if err := n.logs.GetLog(i, &e); err == nil {
			continue
		} else if errors.Is(err, raft.ErrLogNotFound) {
			err = fmt.Errorf("%w: log entry %d is missing: %s", ErrDamaged, i, rejoin)
			if i > spare {
				return 0, 0, err
			}
		} else if i > spare {
			return 0, 0, err
		}
		drop = i
	}
	if drop == 0 {
		return first, last, nil
	}
	n.log.Warn("damaged entries removed from the log, the snapshot has them", "from", first, "to", drop)
	if err := n.logs.LogStore.DeleteRange(first, drop); err != nil {
		return 0, 0, fmt.Errorf("remove damaged entries: %w", err)
	}
	return n.bounds()
}

// checkMachine refuses a machine that is not this log's.
func (n *Node) checkMachine(first, last, covered uint64) error {
	index, term := n.machine.Applied()
	if end := max(last, covered); index > end {
		return fmt.Errorf("%w: entry %d was applied, the log ends at %d: %s", ErrLogBehind, index, end, rejoin)
	}
	if index < first || index == 0 || last == 0 {
		return nil
	}
	var e raft.Log
	if err := n.logs.GetLog(index, &e); err != nil {
		return err
	}
	if e.Term != term {
		return fmt.Errorf("%w: entry %d was applied in term %d, the log has one of term %d: %s", ErrLogBehind, index, term, e.Term, rejoin)
	}
	return nil
}

// closeGap restores the newest snapshot if it has what the machine lacks: raft
// will not hand those entries over again.
func (n *Node) closeGap(newest *found) error {
	index, _ := n.machine.Applied()
	if newest == nil || index >= newest.at.index {
		return nil
	}
	n.log.Info("machine lacks entries, restoring a snapshot", "applied", index, "snapshot", newest.meta.ID, "index", newest.at.index)
	if _, err := n.readSnapshot(newest.meta.ID, n.fsm.restore); err != nil {
		return fmt.Errorf("restore snapshot %s: %w", newest.meta.ID, err)
	}
	return nil
}
