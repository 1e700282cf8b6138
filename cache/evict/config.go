package evict

import (
	"errors"
	"fmt"
)

const (
	minBudget = 1 << 20
	// What DefaultConfig takes for the mean size of an object, and the bounds
	// it keeps its estimate within: the upper one costs 18 MB of memory.
	meanObject    = 256 << 10
	fewestObjects = 1 << 12
	mostObjects   = 1_500_000
	// limitObjects is where Objects is surely a mistake (800 MB of tables).
	limitObjects = 1 << 26
)

// Config says how much disk the policy shares out. The zero value is not
// usable; start from DefaultConfig.
type Config struct {
	// BudgetBytes is what all rings may hold together. It is also how long the
	// ghost remembers: an object evicted from Probation is remembered until
	// this many bytes have been evicted from there after it.
	BudgetBytes int64 `toml:"budget_bytes"`
	// ProbationShare is the part of the budget for objects seen once.
	ProbationShare float64 `toml:"probation_share"`
	// DocumentShare is the part reserved for documents. 0 turns the class off:
	// documents are then treated as everything else.
	DocumentShare float64 `toml:"document_share"`
	// DocumentMax is the size in bytes up to which an object is a document.
	DocumentMax int64 `toml:"document_max_bytes"`
	// Objects is how many objects the rings are expected to hold. It sizes the
	// tables, at 12 bytes each, and nothing else: with more objects than that
	// the policy forgets a little sooner. 0 derives it from the budget.
	Objects int `toml:"objects"`
}

// DefaultConfig returns the settings that DESIGN.md gives the figures for.
func DefaultConfig(budget int64) Config {
	return Config{
		BudgetBytes:    budget,
		ProbationShare: 0.10,
		DocumentShare:  0.10,
		DocumentMax:    1 << 20,
	}
}

// Validate reports every mistake at once, each under its key in the file.
func (c Config) Validate() error {
	var errs []error
	bad := func(format string, a ...any) { errs = append(errs, fmt.Errorf(format, a...)) }
	if c.BudgetBytes < minBudget {
		bad("budget_bytes: %d is less than %d", c.BudgetBytes, minBudget)
	}
	// Written so that NaN fails too.
	if !(c.ProbationShare >= 0.01 && c.ProbationShare <= 0.9) {
		bad("probation_share: %v is not within 0.01 and 0.9", c.ProbationShare)
	}
	if !(c.DocumentShare >= 0 && c.DocumentShare <= 0.9) {
		bad("document_share: %v is not within 0 and 0.9", c.DocumentShare)
	}
	if c.ProbationShare+c.DocumentShare >= 0.99 {
		bad("document_share: with probation_share %v it leaves nothing for the rest", c.ProbationShare)
	}
	if c.DocumentMax < 0 {
		bad("document_max_bytes: %d is negative", c.DocumentMax)
	}
	if c.Objects < 0 || c.Objects > limitObjects {
		bad("objects: %d is not within 0 and %d", c.Objects, limitObjects)
	}
	return errors.Join(errs...)
}

// objects is the number the tables are made for.
func (c Config) objects() int {
	if c.Objects > 0 {
		return c.Objects
	}
	return int(min(max(c.BudgetBytes/meanObject, fewestObjects), mostObjects))
}
