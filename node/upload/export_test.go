package upload

// SetFree has the disk say that so much is free.
func (s *Server) SetFree(free func() (int64, error)) {
	s.free = func(string) (int64, error) { return free() }
}

// SetStep has step called before each step of the disk; its error ends it.
func (s *Server) SetStep(step func(name string) error) { s.at = step }

// HandOn offers what is whole to the outbox once.
var HandOn = (*Server).handOn

// What is read from clients.
var (
	ParseMetadata = parseMetadata
	ParseSize     = parseSize
	CheckFilename = checkFilename
)

// ParseChecksum reports whether a checksum can be read.
func ParseChecksum(v string) error {
	_, err := parseChecksum(v)
	return err
}

// File is where the bytes of an upload are.
func (s *Server) File(id string) string { return s.file(id) }

// Offset is how much of an upload counts.
func (s *Server) Offset(id string) int64 { return s.record(s.get(id)).Offset }
