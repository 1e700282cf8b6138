package main

import (
	"context"

	"preau/node/region"
)

type regionResetCmd struct {
	folderFlags

	Yes bool `help:"Don't ask."`
}

const resetMeans = `The server in %s forgets what the region has decided, and takes it anew from the others
when it runs: they must have it. It stays who it is, and keeps the published files.
`

func (regionResetCmd) Help() string {
	return `For a server whose memory is damaged, and for those that are left beside one that was recovered. It must not be running.

    preau region reset --data ./r2
    preau region run --data ./r2`
}

func (c regionResetCmd) Run(_ context.Context, to streams) error {
	cfg, err := c.load()
	if err != nil {
		return usageError{err}
	}
	if err := confirm(to, c.Yes, resetMeans, c.Data); err != nil {
		return err
	}
	if err := region.Reset(cfg); err != nil {
		return err
	}
	return to.printf("Done. It takes all from the others when it runs:\n\n    preau region run --data %s\n", c.Data)
}
