package follow

import (
	"context"
	"encoding/json"
	"fmt"

	"preau/node/control"
)

// TellReports tells the region which boxes of the school sent this one what they
// should not have. ErrUnknownThere: its server is too old to be told.
func (f *Follower) TellReports(ctx context.Context, reports []control.BoxReport) error {
	body, err := json.Marshal(reports)
	if err != nil {
		return fmt.Errorf("encode what is reported of other boxes: %w", err)
	}
	if _, err := f.Tell(ctx, control.ReportsPath, body); err != nil {
		return fmt.Errorf("report other boxes to the region: %w", err)
	}
	return nil
}
