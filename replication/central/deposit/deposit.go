// Package deposit takes the files of schools at the ministry's gateway and puts
// them into the object store: each under
//
//	SCHOOL/FIRST-32-DIGITS-OF-ITS-SHA-256/NAME
//
// of one bucket, so that two files of one name, or of two schools, never touch
// one another, and one file that comes twice is stored once.
//
// What has been started is kept in the store too, in the system bucket under
// deposits/REGION/ID, so that any gateway goes on with what another began. A
// file of one part becomes visible with it, a longer one when it is complete.
// It is acknowledged once it is certain that the store has what the school's box
// made the SHA-256 of: the gateway compares the bytes as they come, and the store
// has taken them under their MD5s. Where one gateway has not seen all of them the
// file is read back. The package lists nothing to schools and deletes nothing
// that was acknowledged.
//
// # Metrics
//
//	preau_central_deposits_total{result}   deposits that were settled: kept, known, wrong
//	preau_central_deposit_parts_total      parts that were taken
//	preau_central_deposit_bytes_total      their bytes
package deposit

import (
	"errors"
	"fmt"
	"log/slog"

	"github.com/prometheus/client_golang/prometheus"

	"preau/replication/central"
	"preau/replication/central/store"
)

// Config says where deposits go.
type Config struct {
	Bucket string `toml:"bucket"` // of the files
	System string `toml:"system"` // of what is under way
}

// Validate reports every mistake at once.
func (c Config) Validate() error {
	var errs []error
	if c.Bucket == "" {
		errs = append(errs, errors.New("deposits: no bucket is named"))
	}
	if c.System == "" || c.System == c.Bucket {
		errs = append(errs, errors.New("deposits: the system bucket must be named, and be another one"))
	}
	return errors.Join(errs...)
}

// Depository implements central.Depository. It owns no goroutine.
type Depository struct {
	cfg     Config
	store   store.Store
	log     *slog.Logger
	settled *prometheus.CounterVec
	parts   prometheus.Counter
	taken   prometheus.Counter
	tallies tallies
}

var _ central.Depository = (*Depository)(nil)

// New checks cfg and registers metrics. The buckets must be there.
func New(cfg Config, s store.Store, log *slog.Logger, reg prometheus.Registerer) (*Depository, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	d := &Depository{
		cfg: cfg, store: s, log: log.With("part", "deposit"),
		settled: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "preau_central_deposits_total", Help: "Deposits that were settled."}, []string{"result"}),
		parts:   prometheus.NewCounter(prometheus.CounterOpts{Name: "preau_central_deposit_parts_total", Help: "Parts of deposits that were taken."}),
		taken:   prometheus.NewCounter(prometheus.CounterOpts{Name: "preau_central_deposit_bytes_total", Help: "Bytes of these parts."}),
	}
	for _, c := range []prometheus.Collector{d.settled, d.parts, d.taken} {
		if err := reg.Register(c); err != nil {
			return nil, fmt.Errorf("register metrics of deposits: %w", err)
		}
	}
	return d, nil
}
