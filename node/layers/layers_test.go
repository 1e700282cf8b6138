package layers_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"os/exec"
	"path"
	"slices"
	"strings"
	"testing"
)

const module = "preau"

// listed is what go list tells of a package.
type listed struct {
	ImportPath, Doc                    string
	Imports, TestImports, XTestImports []string
	Deps, GoFiles                      []string
}

// roles are put together from crafts and faces and do not know one another.
var roles = []string{"node/box", "node/region", "node/central"}

// faces declare what they need of others, and import nothing of ours.
var faces = []string{
	"node/config", "node/lifecycle", "node/obs", "node/listen",
	"node/class", "node/wanline",
}

// people are what people see of a box, and what that is made of. They may know
// one another, and a box puts them together with what knows.
var people = []string{"node/portal", "node/auth", "node/lesson", "node/upload", "node/usage"}

// crafts must not know one another.
var crafts = []string{"cache", "discovery", "replication"}

// homes says where a library may be imported: folders whose path has one of
// the endings as its last element, or lies below one of the folders.
var homes = map[string]struct{ endings, folders []string }{
	"github.com/dgraph-io/badger":                             {endings: []string{"badgerblock", "badgermeta", "badgerobject"}},
	"github.com/grandcat/zeroconf":                            {folders: []string{"discovery/mdns"}},
	"github.com/hashicorp/memberlist":                         {folders: []string{"discovery/gossip"}},
	"github.com/hashicorp/raft":                               {folders: []string{"replication/consensus"}},
	"github.com/hashicorp/raft-wal":                           {folders: []string{"replication/consensus"}},
	"github.com/hashicorp/raft-boltdb":                        {folders: []string{"replication/consensus"}},
	"go.etcd.io/bbolt":                                        {endings: []string{"boltkv"}, folders: []string{"replication/consensus"}},
	"github.com/quic-go/quic-go":                              {folders: []string{"replication/wire"}},
	"github.com/maypok86/otter":                               {folders: []string{"cache/memo", "cache/evict/sim"}},
	"github.com/mholt/acmez":                                  {folders: []string{"node/names"}},
	"github.com/miekg/dns":                                    {folders: []string{"node/names"}},
	"github.com/minio/minio-go":                               {folders: []string{"replication/central/s3store"}},
	"github.com/coreos/go-oidc":                               {folders: []string{"node/auth"}},
	"github.com/pelletier/go-toml":                            {folders: []string{"node/config"}},
	"github.com/alecthomas/kong":                              {folders: []string{"cmd"}},
	"github.com/stretchr/testify":                             {},
	"github.com/pkg/errors":                                   {},
	"golang.org/x/exp":                                        {},
	"math/rand":                                               {},
	"github.com/prometheus/client_golang/prometheus/promauto": {},
}

// unlinked says what a role must not even reach through others.
var unlinked = map[string][]string{
	"node/box": {"github.com/hashicorp/raft", "go.etcd.io/bbolt", "github.com/minio/minio-go", "node/demo", "node/region"},
}

// allowed says why importing "to" from "from" is wrong, or nothing. Both are
// folders of this module.
func allowed(from, to string) string {
	switch {
	case within(from, "cmd"):
		if !within(to, "node") {
			return "cmd may import node only"
		}
	case within(from, "node/whole"), within(from, "node/simtest"):
		// Tests of a region with its boxes; they have no code of their own.
	case from == "node/demo" || within(from, "node/demo"):
		// The demonstration is all roles and faces in one process, a whole
		// school on a laptop: putting them together is what it is for.
		if !within(to, "node") && !within(to, "cache") {
			return "node/demo puts together what is in node and cache"
		}
	case from == "node/bench" || within(from, "node/bench"):
		// The benchmarks run the box beside other caches, over the same line, and
		// a region with a crowd of boxes.
		if !within(to, "node") && !within(to, "cache") && !within(to, "replication") {
			return "node/bench measures what is in node, cache and replication"
		}
	case slices.ContainsFunc(faces, func(f string) bool { return within(from, f) }):
		if own := top2(from); !within(to, own) {
			return "a face imports its own folder only and declares what it needs"
		}
	case slices.ContainsFunc(people, func(f string) bool { return within(from, f) }):
		for _, craft := range slices.Concat(roles, []string{"node/follow", "node/near", "node/region", "discovery", "replication"}) {
			// A test hands what came in to a real outbox.
			if within(to, craft) && (from != "node/upload" || to != "replication/outbox") {
				return "the faces for people declare what they need of a box, its region and its neighbours"
			}
		}
	case within(from, "node"):
		for _, role := range roles {
			if within(to, role) && !within(from, role) {
				return "a role may not know another role"
			}
		}
	default:
		for _, craft := range crafts {
			if within(from, craft) && !within(to, craft) && (craft != "replication" || !within(to, "cache/block")) {
				return "the crafts cache, discovery and replication do not know one another, nor node"
			}
		}
	}
	return ""
}

func within(folder, of string) bool { return folder == of || strings.HasPrefix(folder, of+"/") }

func top2(folder string) string {
	parts := strings.SplitN(folder, "/", 3)
	return path.Join(parts[:min(2, len(parts))]...)
}

func misplaced(from, library string) bool {
	for prefix, home := range homes {
		if library != prefix && !strings.HasPrefix(library, prefix+"/") {
			continue
		}
		if prefix == "math/rand" && within(library, "math/rand/v2") {
			continue
		}
		inFolder := slices.ContainsFunc(home.folders, func(f string) bool { return within(from, f) })
		if !inFolder && !slices.Contains(home.endings, path.Base(from)) {
			return true
		}
	}
	return false
}

func TestFoldersKeepApart(t *testing.T) {
	packages := list(t, "./...")
	if len(packages) < 5 {
		t.Fatalf("go list found %d packages only: the test looks at nothing", len(packages))
	}
	for _, p := range packages {
		from := strings.TrimPrefix(p.ImportPath, module+"/")
		imports := slices.Concat(p.Imports, p.TestImports, p.XTestImports)
		slices.Sort(imports)
		for _, to := range slices.Compact(imports) {
			ours, isOurs := strings.CutPrefix(to, module+"/")
			switch {
			case isOurs && ours != from:
				if why := allowed(from, ours); why != "" {
					t.Errorf("%s imports %s: %s", from, ours, why)
				}
			case !isOurs && misplaced(from, to):
				t.Errorf("%s imports %s: that library has a home, or none: see homes", from, to)
			}
		}
		for _, library := range unlinked[from] {
			for _, dep := range p.Deps {
				dep = strings.TrimPrefix(dep, module+"/")
				if within(dep, library) {
					t.Errorf("%s links %s, which it must not", from, dep)
				}
			}
		}
	}
}

func TestEveryPackageSaysWhatItIsFor(t *testing.T) {
	for _, p := range list(t, "./...") {
		if len(p.GoFiles) > 0 && p.Doc == "" {
			t.Errorf("%s has no package comment: say what it is for and what it will not do", p.ImportPath)
		}
	}
}

// The rules themselves, so that a slip in them does not pass for tidiness.
func TestRules(t *testing.T) {
	tests := []struct {
		from, to string
		right    bool
	}{
		{"cmd/preau", "node/box", true},
		{"cmd/preau", "cache/block", false},
		{"node/box", "cache/fill", true},
		{"node/box", "node/config", true},
		{"node/box", "node/region", false},
		{"node/region", "node/box", false},
		{"node/demo", "node/box", true},
		{"node/demo", "node/class", true},
		{"node/config", "node/obs", false},
		{"node/config/deep", "node/config", true},
		{"node/obs", "cache/block", false},
		{"cache/fill", "cache/block/blocktest", true},
		{"cache/fill", "node/obs", false},
		{"cache/block", "replication/wire", false},
		{"replication/feed", "cache/block", true},
		{"replication/feed", "cache/blockade", false},
		{"replication/feed", "cache/fill", false},
		{"discovery/gossip", "cache/block", false},
	}
	for _, tt := range tests {
		if why := allowed(tt.from, tt.to); (why == "") != tt.right {
			t.Errorf("%s imports %s: %q, want right = %v", tt.from, tt.to, why, tt.right)
		}
	}
	libraries := []struct {
		from, library string
		right         bool
	}{
		{"cache/block/badgerblock", "github.com/dgraph-io/badger/v4", true},
		{"cache/object/badgermeta", "github.com/dgraph-io/badger/v4/options", true},
		{"cache/block", "github.com/dgraph-io/badger/v4", false},
		{"node/box", "github.com/dgraph-io/badger/v4", false},
		{"node/box", "github.com/pelletier/go-toml/v2", false},
		{"node/box", "math/rand/v2", true},
		{"node/box", "math/rand", false},
		{"node/box", "net/http", true},
	}
	for _, tt := range libraries {
		if misplaced(tt.from, tt.library) == tt.right {
			t.Errorf("%s imports %s: want right = %v", tt.from, tt.library, tt.right)
		}
	}
}

// list asks the go command for the packages, with those that need a build tag.
func list(t *testing.T, pattern string) []listed {
	t.Helper()
	decoder := json.NewDecoder(strings.NewReader(run(t, "go", "list", "-e", "-tags", "system,bench", "-json=ImportPath,Doc,Imports,TestImports,XTestImports,Deps,GoFiles", pattern)))
	var packages []listed
	for {
		var p listed
		err := decoder.Decode(&p)
		if errors.Is(err, io.EOF) {
			return packages
		}
		if err != nil {
			t.Fatal(err)
		}
		packages = append(packages, p)
	}
}

func run(t *testing.T, name string, args ...string) string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), name, args...)
	cmd.Dir = "../.."
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	if err := cmd.Run(); err != nil {
		t.Fatalf("%s %s: %v\n%s", name, strings.Join(args, " "), err, errs.String())
	}
	return out.String()
}
