package popular

// Load decodes what lies behind the checksum, for the fuzzer.
func (c *Counter) Load(b []byte) error { return c.load(b) }
