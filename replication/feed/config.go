package feed

import (
	"errors"
	"fmt"
	"time"

	"preau/replication/identity"
)

// Config says how a server serves the feed. Start from DefaultConfig.
type Config struct {
	Region identity.Region `toml:"-"`
	Name   identity.Name   `toml:"-"` // of the server
	// Coalesce is how long changes wait for others, so that a burst costs each
	// box one message.
	Coalesce time.Duration `toml:"coalesce"`
	// Heartbeat is how long a stream is silent, give or take a tenth.
	Heartbeat time.Duration `toml:"heartbeat"`
	// WriteTimeout is how long a box may take for one message.
	WriteTimeout time.Duration `toml:"write_timeout"`
	// BehindGrace is how long a box that is ahead of the server waits for it
	// before it is sent elsewhere.
	BehindGrace time.Duration `toml:"behind_grace"`
	// CatchUps is how many boxes catch up at a time; others wait their turn.
	CatchUps int `toml:"catch_ups"`
	// RecentBytes and CacheBytes bound the memory for recent changes, and for
	// parts of the catalogue that several boxes catch up on. The latter are let go
	// of once nobody has wanted them for ten minutes.
	RecentBytes int64 `toml:"recent_bytes"`
	CacheBytes  int64 `toml:"cache_bytes"`
	// MaxStreams is how many boxes may follow at a time.
	MaxStreams int `toml:"max_streams"`
}

// DefaultConfig serves three thousand boxes within a few hundred MiB.
func DefaultConfig() Config {
	return Config{
		Coalesce: 500 * time.Millisecond, Heartbeat: 34 * time.Second,
		WriteTimeout: 30 * time.Second, BehindGrace: 15 * time.Second,
		CatchUps: 128, RecentBytes: 16 << 20, CacheBytes: 64 << 20, MaxStreams: 6000,
	}
}

// Validate says everything that is wrong with c.
func (c Config) Validate() error {
	var errs []error
	bad := func(wrong bool, format string, args ...any) {
		if wrong {
			errs = append(errs, fmt.Errorf(format, args...))
		}
	}
	_, err := identity.ParseRegion(string(c.Region))
	bad(err != nil, "region: %w", err)
	_, err = identity.ParseName(string(c.Name))
	bad(err != nil, "name: %w", err)
	bad(c.Coalesce <= 0 || c.Coalesce > time.Minute, "coalesce: %s is not above 0 and at most 1m", c.Coalesce)
	bad(c.Heartbeat < time.Second || c.Heartbeat > 5*time.Minute, "heartbeat: %s is not within 1s and 5m", c.Heartbeat)
	bad(c.WriteTimeout < time.Second, "write_timeout: %s is less than 1s", c.WriteTimeout)
	bad(c.BehindGrace < time.Second, "behind_grace: %s is less than 1s", c.BehindGrace)
	bad(c.CatchUps < 1, "catch_ups: %d is less than 1", c.CatchUps)
	bad(c.RecentBytes < 1<<16, "recent_bytes: %d is less than 64 KiB", c.RecentBytes)
	bad(c.CacheBytes < 1<<16, "cache_bytes: %d is less than 64 KiB", c.CacheBytes)
	bad(c.MaxStreams < 1, "max_streams: %d is less than 1", c.MaxStreams)
	return errors.Join(errs...)
}
