package main

import (
	"context"

	"preau/node/control"
)

type purgeCmd struct {
	URL        string `arg:"" optional:"" help:"A page: a whole web address of a site, or a path with --site."`
	Prefix     string `placeholder:"PATH" help:"All that lies under a path, or under a whole web address."`
	Tag        string `placeholder:"TAG" help:"All that the site has tagged so."`
	All        bool   `help:"All of the site."`
	Resource   string `placeholder:"ID" help:"A published file (see preau list resources)."`
	Collection string `placeholder:"ID" help:"A collection and all files in it."`
	Site       string `placeholder:"NAME" help:"The site, as in the boxes' configuration."`
	Reason     string `placeholder:"TEXT" help:"Why, for those who look later."`

	watchFlags
	operatorFlags
}

func (purgeCmd) Help() string {
	return `Every box forgets what it stored before: connected ones within seconds, the others before they serve it again.

    preau purge https://library.example.org/film.mp4
    preau purge /film.mp4 --site library
    preau purge --prefix /news/ --site library --reason "wrong figures"
    preau purge --tag chapter-3 --site library
    preau purge --all --site library
    preau purge --resource r-3f2a99
    preau purge --collection maths-6e --no-wait` + operatorHelp
}

func (c purgeCmd) Run(ctx context.Context, to streams) error {
	q := control.PurgeRequest{
		Site: c.Site, URL: c.URL, Prefix: c.Prefix, Tag: c.Tag, All: c.All, Resource: c.Resource, Collection: c.Collection, Reason: c.Reason,
	}
	var what []string
	for _, one := range []struct {
		given bool
		is    string
	}{
		{c.URL != "", c.URL}, {c.Prefix != "", "all under " + c.Prefix}, {c.Tag != "", "all tagged " + c.Tag},
		{c.All, "all of " + c.Site}, {c.Resource != "", "resource " + c.Resource}, {c.Collection != "", "collection " + c.Collection},
	} {
		if one.given {
			what = append(what, one.is)
		}
	}
	switch {
	case len(what) != 1:
		return usage("say exactly one thing to purge: a URL, --prefix, --tag, --all, --resource or --collection")
	case (c.All || c.Tag != "") && c.Site == "":
		return usage("say of which site: --site NAME, as in the boxes' configuration")
	}
	return c.with(ctx, to, usual, func(ctx context.Context, ask *control.Client) error {
		done, err := ask.Purge(ctx, q)
		if err != nil {
			return err
		}
		return c.watch(ctx, to, ask, done, c.JSON, "Purge of "+what[0])
	})
}
