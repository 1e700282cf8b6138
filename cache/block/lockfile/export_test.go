package lockfile

// Descriptor is the file that has the lock.
func (l *Lock) Descriptor() int { return int(l.f.Fd()) }
