package control

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"preau/replication/catalogue"
)

// Policies lists what IT has set: everybody's has no school.
func (c *Client) Policies(ctx context.Context) ([]Policy, error) {
	var out []Policy
	for r, err := range c.Records(ctx, "policies") {
		if err != nil {
			return nil, err
		}
		text, err := json.Marshal(r.Value)
		if err != nil {
			return nil, fmt.Errorf("policy %s: %w", r.ID, err)
		}
		var p catalogue.Policy
		if err := json.Unmarshal(text, &p); err != nil {
			return nil, fmt.Errorf("policy %s: %w", r.ID, err)
		}
		out = append(out, policyOf(p))
	}
	return out, nil
}

func policyOf(p catalogue.Policy) Policy {
	out := Policy{
		School: string(p.School), PrefetchRate: p.PrefetchRate, Lease: time.Duration(p.LeaseSeconds) * time.Second,
		KAnonymity: p.KAnonymity, AllowLapsed: p.AllowLapsed, PrefetchPopular: p.PrefetchPopular,
	}
	for _, h := range p.PrefetchHours {
		out.PrefetchHours = append(out.PrefetchHours, Hours{From: h.From, To: h.To})
	}
	return out
}
