//go:build !linux

package links

import (
	"context"
	"errors"
)

// Watch cannot hear of changes on this system: look every few seconds.
func Watch(context.Context, func()) error { return errors.ErrUnsupported }

func unready() (map[address]bool, error) { return nil, nil } //nolint:nilnil // a nil map is empty
