package main

import (
	"preau/node/config"
	"preau/node/front"
	"preau/node/locate"
	"preau/node/region"
)

type regionConfigCmd struct{}

const regionIntro = `A server of a Préau region: every key there is, with its default or an example.

Sizes are written like "2GiB" or "500MB". A key that is not known here is refused. Take out the sites if the server is to keep none. Check your file with: preau region run --config FILE --check`

func (regionConfigCmd) Help() string {
	return `Every setting, explained, as a file:

    preau region config > region.toml
    preau region run --config region.toml --check
    preau region run --config region.toml

preau region init and preau region join write a short one into the server's folder.`
}

func (regionConfigCmd) Run(to streams) error {
	text, err := config.Reference(regionExample(), regionIntro)
	if err != nil {
		return err
	}
	return to.print(string(text))
}

// regionExample is what the reference file shows.
func regionExample() region.Config {
	cfg := region.DefaultConfig()
	cfg.Data = "/var/lib/preau-region"
	cfg.Advertise = "region1.example.org:4433"
	var site front.Site
	site.SetDefaults()
	site.Name, site.Upstream, site.Hosts = "library", "https://library.example.org", []string{"library.example.org"}
	cfg.Site = []front.Site{site}
	cfg.Locate = locate.ExampleConfig()
	return cfg
}
