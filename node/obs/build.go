package obs

import "runtime/debug"

// version is written by the linker for a release:
// -ldflags "-X preau/node/obs.version=1.2.3". Nothing assigns it here.
var version string

// Build says what is running.
type Build struct{ Version, Commit, Go string }

// ReadBuild asks the linker, then the repository that the program was built
// from; a build that knows neither is "devel".
func ReadBuild() Build {
	b := Build{Version: version, Commit: "unknown"}
	modified := ""
	if info, ok := debug.ReadBuildInfo(); ok {
		b.Go = info.GoVersion
		if b.Version == "" && info.Main.Version != "(devel)" {
			b.Version = info.Main.Version
		}
		for _, s := range info.Settings {
			switch {
			case s.Key == "vcs.revision":
				b.Commit = s.Value
			case s.Key == "vcs.modified" && s.Value == "true":
				modified = "+changes"
			}
		}
	}
	if b.Version == "" {
		b.Version = "devel"
	}
	b.Commit += modified
	return b
}
