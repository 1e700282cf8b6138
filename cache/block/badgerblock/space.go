package badgerblock

// This file keeps the account of disk space. A segment counts from before its
// first file is made, with all that is allocated for it, until its last file is
// gone and nobody reads from it any more.

// Usage is what a store takes and may take.
type Usage struct {
	Bytes       int64   // disk space in use, with Config.ExtraUsage
	BudgetBytes int64   // what may be used now: the budget, or less if the disk is short
	Rings       []int64 // disk space of each ring
	Segments    int
	Full        bool // nothing more can be kept at the moment
}

// Usage returns what the store takes now.
func (s *Store) Usage() Usage {
	u := Usage{Bytes: s.used(), Rings: s.ringBytes(), Segments: len(s.all()), Full: s.full.Load()}
	u.BudgetBytes = s.cfg.BudgetBytes
	if free, _, err := s.space(s.cfg.Dir); err == nil {
		u.BudgetBytes = s.limit(u.Bytes, free)
	}
	return u
}

// Full reports whether the last block could not be kept for lack of room.
func (s *Store) Full() bool { return s.full.Load() }

func (s *Store) ringBytes() []int64 {
	sum := make([]int64, len(s.rings))
	for _, g := range s.all() {
		sum[g.ring()] += g.disk.Load()
	}
	return sum
}

// used is the disk space that counts against the budget.
func (s *Store) used() int64 {
	n := s.foreign + s.pending.Load()
	for _, g := range s.all() {
		n += g.disk.Load()
	}
	if s.cfg.ExtraUsage != nil {
		n += s.cfg.ExtraUsage()
	}
	return n
}

// headroom is how much more may be used; it is negative if too much is. It
// grows when others give back disk space, or what counts against the budget.
func (s *Store) headroom() int64 {
	free, _, err := s.space(s.cfg.Dir)
	if err != nil {
		free = 0
	}
	return min(s.cfg.BudgetBytes-s.used(), free-s.reserve)
}

// limit is how much may be used with used in use and free left on the disk.
func (s *Store) limit(used, free int64) int64 {
	return max(min(s.cfg.BudgetBytes, used+free-s.reserve), 0)
}

// roomFor reports whether n more segments may be created. One segment's room,
// and what segments may differ by, is kept for what is carried forward when the
// next is retired; moving may use that, and half of the reserve, since more is
// freed by it in the end.
func (s *Store) roomFor(n int64, moving bool) bool {
	free, _, err := s.space(s.cfg.Dir)
	if err != nil {
		s.log.Warn("free space unknown", "err", err)
		return false
	}
	want := n*s.geo.cost + s.claimed.Load()
	used := s.used()
	if moving {
		// A store that is beyond its budget, because that was lowered or by
		// ExtraUsage, could not shrink without one segment more.
		fits := used+want <= s.cfg.BudgetBytes || used > s.cfg.BudgetBytes && want <= s.geo.cost
		return fits && free-want >= s.reserve/2
	}
	return used+want+s.geo.cost+s.geo.cost/16 <= s.limit(used, free)
}

// claim sets room aside for n segments if that much is left. Without it, each
// of several rings would see the same room.
func (s *Store) claim(n int64, moving bool) bool {
	s.claimMu.Lock()
	defer s.claimMu.Unlock()
	if !s.roomFor(n, moving) {
		return false
	}
	s.claimed.Add(n * s.geo.cost)
	return true
}

func (s *Store) unclaim(n int64) { s.claimed.Add(-n * s.geo.cost) }

// useClaim takes one of the segments that a retirement has claimed. Only that
// retirement may call it.
func (s *Store) useClaim() bool {
	if s.toCreate == 0 {
		return false
	}
	s.toCreate--
	return true
}

// short reports whether the disk has less than the reserve left.
func (s *Store) short() bool {
	free, _, err := s.space(s.cfg.Dir)
	return err != nil || free < s.reserve
}
