package main

import (
	"context"

	"preau/node/config"
	updating "preau/node/update"
)

type updateSettingsCmd struct {
	First bool            `help:"A box that has no settings takes them at once, whatever the hour."`
	Wait  config.Duration `default:"0s" placeholder:"TIME" help:"How long a box that never had a plan looks for its first one: it hears of it some seconds after it was enrolled."`
	Copy  string          `placeholder:"FILE" help:"Keep the signed plan there whose settings are in place: a box whose disk does not open has its web sites from it."`
	Hours []string        `placeholder:"HH:MM-HH:MM" help:"When settings may change, by the box's clock, whatever the plan says; may be given again; any: at any time (default: what the plan says, or 01:00-05:00)."`
	Again bool            `help:"Try settings again that were given up."`

	updateFlags
}

func (updateSettingsCmd) Help() string {
	return `A region sets web sites and the title of the portal for its boxes, in the signed plan that it publishes (preau update plan --settings). This takes them and changes no version: on an appliance, which has its version with its image, preau-settings.service does so when the box starts, and every hour.

Nothing is believed but what the key has signed, and no plan that is older than one that was seen. The box's own program checks the settings before they count; if the box is not well with them within --within, those before are put back, and these are not tried again by this version. The box is started anew for them, which cuts what it is sending: so they wait for the hours, or for --first.

No region yet, or no plan, is no failure: it is said, and looked for again.

    preau update settings --key /usr/lib/systemd/import-pubring.gpg --first --wait 5m --copy /efi/preau-box.plan
    preau update                           how it stands`
}

func (c updateSettingsCmd) Run(ctx context.Context, to streams) error {
	if _, err := updating.ParseHours(c.Hours); err != nil {
		return usage("--hours: %w", err)
	}
	if c.Wait.Std() < 0 {
		return usage("--wait: write 0s or more")
	}
	o := updating.Options{First: c.First, Wait: c.Wait.Std(), Copy: c.Copy, Again: c.Again}
	return c.run(to, c.Hours, updating.Parts{}, func(u *updating.Updater) (updating.Told, error) { return u.RunSettings(ctx, o) })
}
