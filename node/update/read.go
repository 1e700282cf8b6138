package update

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
)

// SettingsIn is what a signed plan sets for a box, for those who have the plan and
// no updater: nothing, if it sets nothing for it. It is an error if the plan is not
// signed by the key, or is for another region.
func SettingsIn(ctx context.Context, verify func(context.Context, []byte) ([]byte, error), signed []byte, w Who) (string, error) {
	p, err := readPlan(ctx, verify, signed)
	if err != nil {
		return "", err
	}
	if err := p.stranger(w); err != nil {
		return "", err
	}
	return p.settings(w), nil
}

// readPlan believes a plan only if it is signed.
func readPlan(ctx context.Context, verify func(context.Context, []byte) ([]byte, error), signed []byte) (Plan, error) {
	if len(signed) > mostPlan {
		return Plan{}, fmt.Errorf("the plan has more than %d bytes", mostPlan)
	}
	text, err := verify(ctx, signed)
	if err != nil {
		return Plan{}, fmt.Errorf("the plan is not believed: %w", err)
	}
	p, err := ParsePlan(text)
	if err != nil {
		return Plan{}, fmt.Errorf("the plan can't be used: %w", err)
	}
	return p, nil
}

// plan fetches the plan, and believes it only if it is signed and not an old one. It
// gives it as it was signed too. Another region's is not remembered.
func (u *Updater) plan(ctx context.Context, w Who) (Plan, []byte, error) {
	var signed bytes.Buffer
	if err := u.parts.Box.Fetch(ctx, PlanID, &signed, mostPlan); err != nil {
		return Plan{}, nil, err
	}
	p, err := readPlan(ctx, u.parts.Verify, signed.Bytes())
	switch {
	case err != nil:
		return Plan{}, nil, err
	case p.stranger(w) != nil:
		return p, nil, nil
	case p.Serial < u.s.Serial:
		return Plan{}, nil, fmt.Errorf("the plan is an old one (serial %d, and %d was seen here): publish the latest again", p.Serial, u.s.Serial)
	case p.Serial > u.s.Serial:
		u.s.Serial = p.Serial
		if err := u.save(); err != nil {
			return Plan{}, nil, err
		}
	}
	return p, signed.Bytes(), nil
}

// stranger returns an error if the plan is for the boxes of another region.
func (p Plan) stranger(w Who) error {
	if p.Region != "" && p.Region != w.Region {
		return fmt.Errorf("the plan is for region %s, and this box is of region %s", p.Region, cmp.Or(w.Region, "none"))
	}
	return nil
}
