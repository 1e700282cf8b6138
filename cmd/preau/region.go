package main

// regionCmd holds the commands that make and look after a region.
type regionCmd struct {
	Init    regionInitCmd    `cmd:"" help:"Found a region: its first server and its first operator."`
	Run     regionRunCmd     `cmd:"" help:"Run a server of a region."`
	Join    regionJoinCmd    `cmd:"" help:"Make this machine a further server of a region."`
	Token   regionTokenCmd   `cmd:"" help:"Make an invitation for a box, a server or an operator."`
	Policy  regionPolicyCmd  `cmd:"" help:"Say, or show, what boxes may do by themselves: rates, hours, leases."`
	Lead    regionLeadCmd    `cmd:"" help:"Hand leadership to another server, before this one is serviced."`
	Remove  regionRemoveCmd  `cmd:"" help:"Take a server out of the region for good."`
	Recover regionRecoverCmd `cmd:"" help:"Go on with one server when most of the others are lost for good."`
	Reset   regionResetCmd   `cmd:"" help:"Have a server forget its part of the region's memory and take it anew."`
	Config  regionConfigCmd  `cmd:"" help:"Print a commented configuration file of a server with every setting."`
}

// Help shows the way from nothing to three servers and a box.
func (regionCmd) Help() string {
	return `A region is one, three or five small servers that agree on what all boxes must know: what is published, pinned, purged, who is in and who is out. It goes on while most of its servers run.

    preau region init --data ./r1 --listen 192.0.2.11:4433 --name "Académie de Lyon" --server s1
    preau region run --data ./r1
                                    the first server; from another terminal:

    export PREAU_OPERATOR=./r1/operator
    preau region token --server     an invitation for the second, and again for the third:
    preau region join TOKEN --data ./r2 --listen 192.0.2.12:4433 --server s2
    preau region run --data ./r2

    preau region token --school 0690001A
    preau enrol --token TOKEN --data ./box
                                    a box in that school

    preau status`
}
