package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"

	"preau/node/config"
	"preau/node/obs"
	"preau/node/region"
)

// settingsFile is where init and join write down what they were told, in the
// server's folder.
const settingsFile = "server.toml"

// folderFlags choose a server's folder, and say what differs from its settings.
type folderFlags struct {
	Data      string `placeholder:"DIR" help:"The server's folder."`
	Listen    string `placeholder:"ADDR" help:"Where boxes, operators and the other servers connect, such as 192.0.2.11:4433."`
	Advertise string `placeholder:"ADDR" help:"Under which address they find it, if that is another than it listens on."`
}

// regionFlags are what the keys of the settings are called on the command line.
var regionFlags = map[string]string{
	"data": "--data", "listen": "--listen", "advertise": "--advertise", "budget": "--budget", "admin.listen": "--admin", "central.address": "--central",
}

// fresh is the configuration of a server that is being made.
func (f folderFlags) fresh() (region.Config, error) {
	cfg := region.DefaultConfig()
	if f.Data == "" || f.Listen == "" {
		return cfg, usage("say where the server's folder is to be and where it listens: --data DIR --listen ADDR")
	}
	cfg.Data, cfg.Listen, cfg.Advertise = f.Data, f.Listen, f.Advertise
	if err := inFlags(cfg.Validate(), regionFlags); err != nil {
		return cfg, usageError{err}
	}
	return cfg, nil
}

// load is the configuration of a server that was made: its settings, and what
// the flags say instead.
func (f folderFlags) load() (region.Config, error) {
	cfg := region.DefaultConfig()
	if f.Data == "" {
		return cfg, errors.New("say which server: --data DIR, the folder that preau region init or preau region join made")
	}
	file := filepath.Join(f.Data, settingsFile)
	switch _, err := os.Stat(file); {
	case err == nil:
		if cfg, err = region.LoadConfig(file); err != nil {
			return cfg, err
		}
	case errors.Is(err, fs.ErrNotExist) && f.Listen == "":
		return cfg, fmt.Errorf("%s is missing: is %s the folder that preau region init or preau region join made? If it is, say --listen and --advertise", file, f.Data)
	case !errors.Is(err, fs.ErrNotExist):
		return cfg, err
	}
	cfg.Data = f.Data // the folder may have been moved
	if f.Listen != "" {
		cfg.Listen = f.Listen
	}
	if f.Advertise != "" {
		cfg.Advertise = f.Advertise
	}
	return cfg, inFlags(cfg.Validate(), regionFlags)
}

// inFlags turns the keys of mistakes into the flags that they come from.
func inFlags(err error, flags map[string]string) error {
	var errs []error
	for _, err := range config.List(err) {
		if problem, ok := errors.AsType[*config.Problem](err); ok && flags[problem.Key] != "" {
			err = fmt.Errorf("%s: %s", flags[problem.Key], problem.What)
		}
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

// remember writes the settings while make does its work, so that neither is
// there without the other for long: a second try finds what the first wrote.
// Settings that were there stay unless the work is done.
func remember(cfg region.Config, made func() error) error {
	file := filepath.Join(cfg.Data, settingsFile)
	_, err := os.Stat(file)
	there := err == nil
	if !there {
		if err := os.MkdirAll(cfg.Data, 0o700); err != nil {
			return fmt.Errorf("make folder: %w", err)
		}
		if err := writeSettings(file, cfg); err != nil {
			return err
		}
	}
	if err := made(); err != nil {
		if !there {
			// The folder stays if there is more in it.
			err = errors.Join(err, os.Remove(file))
			_ = os.Remove(cfg.Data) //nolint:errcheck // see above
		}
		return err
	}
	if there {
		return writeSettings(file, cfg)
	}
	return nil
}

func writeSettings(file string, cfg region.Config) error {
	data, err := filepath.Abs(cfg.Data)
	if err != nil {
		return fmt.Errorf("write settings: %w", err)
	}
	var text strings.Builder
	text.WriteString("# Settings of this server of a region. preau region config prints every setting that\n" +
		"# there is, such as the [[site]] that it keeps for its boxes. They count from the next\n" +
		"# start: preau region run --data " + data + "\n\n")
	for _, s := range []struct{ key, value string }{{"data", data}, {"listen", cfg.Listen}, {"advertise", cfg.Advertise}} {
		if s.value == "" {
			continue
		}
		// A string of JSON is one of TOML.
		quoted, err := json.Marshal(s.value)
		if err != nil {
			return fmt.Errorf("write settings: %w", err)
		}
		text.WriteString(s.key + " = " + string(quoted) + "\n")
	}
	if err := os.WriteFile(file+".new", []byte(text.String()), 0o600); err != nil {
		return fmt.Errorf("write settings: %w", err)
	}
	if err := os.Rename(file+".new", file); err != nil {
		return fmt.Errorf("write settings: %w", err)
	}
	return nil
}

// quiet logs what has gone wrong and nothing else, for commands that run a
// server for a moment.
func quiet(to streams) (*slog.Logger, error) {
	return obs.NewLogger(to.err, obs.Log{Level: "error", Format: "text"})
}
