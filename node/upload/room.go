package upload

import "fmt"

// decide reports why there is no room for one more upload of that length, if so:
// left is what is free on the disk, and room what the outbox would take. What
// others may still send is theirs, and the largest is there twice while the outbox
// takes it. s.mu is held.
func (s *Server) decide(owner string, length, left, room int64) error {
	all, coming, longest, n, own := length, length, length, 0, 0
	for _, u := range s.uploads {
		if u.rec.Stage == stageKept {
			continue
		}
		n++
		if u.rec.Owner == owner {
			own++
		}
		all += u.rec.Length
		coming += u.rec.Length - u.rec.Offset
		longest = max(longest, u.rec.Length)
	}
	switch {
	case n >= s.cfg.Most || own >= s.cfg.MostEach:
		return fmt.Errorf("%w: %d uploads are under way, %d of them this one's", errCount, n, own)
	case s.cfg.Budget > 0 && all > s.cfg.Budget:
		return fmt.Errorf("%w: uploads may take %d MiB", errBudget, s.cfg.Budget>>20)
	case room >= 0 && all > room:
		return fmt.Errorf("%w: %d MiB are left for files that are added here", errBudget, room>>20)
	case left-s.cfg.Reserve < coming+longest:
		return fmt.Errorf("%w: %d MiB are free, of which %d are kept so", errDisk, left>>20, s.cfg.Reserve>>20)
	}
	return nil
}
