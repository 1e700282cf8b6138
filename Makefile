# Préau. `make` alone says what there is.

SHELL       := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help

GO      ?= go
VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo devel)
LDFLAGS := -X preau/node/obs.version=$(VERSION)

# The race detector needs a C compiler. A machine with only Go and git has none,
# and its tests run without it, which is said.
CC_FOUND := $(shell [ "$$($(GO) env CGO_ENABLED)" = 1 ] && command -v "$$($(GO) env CC)" 2>/dev/null)
RACE     := $(if $(CC_FOUND),-race,)

# Tests wait about as much as they work: so many folders at once.
AT_ONCE  := $(shell echo $$((2 * $$(getconf _NPROCESSORS_ONLN || echo 2))))

# Those that start whole programs wait less.
WHOLE_AT_ONCE := $(shell echo $$(( ($$(getconf _NPROCESSORS_ONLN || echo 2) * 3 + 1) / 2 )))

# Folders with tests that need more than Go: tools of the system, or root.
SYSTEM_DIRS = $(shell grep -rlE --include='*_test.go' '^//go:build .*\bsystem\b' . | xargs -r -n1 dirname | sort -u)

# Of these, what measures a whole school or more: nothing runs beside it.
ALONE_DIRS = $(filter %/yard %/lab,$(SYSTEM_DIRS))

# Folders whose tests do more when -short does not hold them back.
LONG_DIRS = $(shell grep -rl --include='*_test.go' 'testing\.Short()' . | xargs -r -n1 dirname | sort -u)

# All that takes long but ALONE_DIRS, each once. What takes longest begins first:
# it waits more than it works, and the others run beside it.
LONGEST  = ./node/whole ./node/twoperson ./node/simtest ./node/box ./node/portal/browser ./cache/block/badgerblock ./replication/central/s3store ./node/tube
ALL_LONG = $(filter-out $(ALONE_DIRS),$(sort $(SYSTEM_DIRS) $(LONG_DIRS)))
IN_ORDER = $(filter $(ALL_LONG),$(LONGEST)) $(filter-out $(LONGEST),$(ALL_LONG))

# The command that system tests drive, built once for all of them.
TESTED := $(CURDIR)/bin/tested/preau

GOLANGCI    := github.com/golangci/golangci-lint/v2/cmd/golangci-lint@v2.15.0
GOVULNCHECK := golang.org/x/vuln/cmd/govulncheck@v1.9.0

FUZZTIME ?= 30s

# For instance -quick, -full, or -only herd,offline (wire, central-ceph, delta,
# region, …: an unknown name lists all).
BENCHFLAGS ?=

# How tests are run: $(call TESTS,FLAGS,FOLDERS). AGAIN is set by .ci/run, which
# has what failed run once more by itself, and says so.
AGAIN ?=
TESTS = $(if $(AGAIN),$(AGAIN) --packages="$(2)" -- $(1),$(GO) test $(1) $(2))

# The fingerprint of the GnuPG key that signs an image's updates.
IMAGEKEY ?=

.PHONY: help run ministry lab build deb container image image-pi test test-system test-appliance test-appliance-image vet check bench fuzz clean

help: ## say what there is
	@echo "Préau: a cache for schools. A class downloads once."
	@echo
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## (.*)/  make \1|\2/' | column -t -s '|' 2>/dev/null \
	  || grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## (.*)/  make \1  \2/'
	@echo
	@echo "Begin with: make run"

run: ## see it work, on http://127.0.0.1:8080, with nothing installed but Go
	@$(GO) run -ldflags '$(LDFLAGS)' ./cmd/preau demo

ministry: build ## a whole ministry: real Ceph, gateway, region, two boxes (Linux; Ctrl-C ends it)
	@$(GO) run ./node/whole/ministry/up -binary bin/preau

# On hosts or, with HOSTS=no, with processes as test-system has it, in less than half the time.
# PREAU_TEST_PACKAGES names packages that are there, as for test-appliance.
# The report is one of the test's artifacts: it is there after a failure too.
lab: ## a country on hosts that boot, deployed by Ansible from nothing: its story to an upgrade and back, and its figures (root, on Debian, with Ceph, nginx, prometheus, mmdebstrap, systemd-container, ansible, openssh-client, gnupg, nftables, iproute2; HOSTS=no: with processes)
	@rm -rf bin/lab && mkdir -p bin/lab $(dir $(TESTED))
	@$(if $(filter no,$(HOSTS)),$(GO) build -o $(TESTED) ./cmd/preau,true)
	@failed=0; PREAU_LAB=$(if $(filter no,$(HOSTS)),processes,hosts) PREAU_TEST_BINARY=$(TESTED) $(GO) test -vet=off -tags system -count=1 -timeout 40m -artifacts -outputdir $(CURDIR)/bin/lab ./node/whole/lab || failed=1; \
	  find bin/lab -name report.md -exec cat {} + ; exit $$failed

build: ## build ./bin/preau
	CGO_ENABLED=0 $(GO) build -trimpath -ldflags '$(LDFLAGS)' -o bin/preau ./cmd/preau

deb: ## build the Debian packages, amd64 and arm64, in ./bin
	$(GO) run ./images/pack deb -version '$(VERSION)'

container: ## build the container images in ./bin (needs buildah)
	$(GO) run ./images/pack container -version '$(VERSION)'

image: ## build the appliance's image for x86 in ./bin (root, mmdebstrap, systemd-container; IMAGEKEY signs its updates)
	$(GO) run ./images/pack image -version '$(VERSION)' -key '$(IMAGEKEY)'

image-pi: ## build the image for Raspberry Pi 4 and 5 in ./bin (root, mmdebstrap, systemd-container, qemu-user-static, binfmt-support; IMAGEKEY as above)
	$(GO) run ./images/pack raspberry -version '$(VERSION)' -key '$(IMAGEKEY)'

# Without vet, which takes a tenth of the time on a fresh machine: `make vet`
# has it all, for every build tag.
test: ## run the tests, the long ones shortened; needs Go only
	@$(if $(RACE),,echo "no C compiler found: the tests run without the race detector")
	@# A program under the race detector waits a second at its end, for races of its
	@# last moment. A hundred of them make that minutes.
	GORACE=atexit_sleep_ms=0 $(call TESTS,-p $(AT_ONCE) -vet=off $(RACE) -short -timeout 10m,./...)

# Without vet, as above: for its build tag every folder would be looked at anew.
test-system: ## run the long tests, and those that need root or tools (see .ci/run)
	@if [ -z "$(SYSTEM_DIRS)" ]; then echo "no tests with the build tag system were found"; exit 1; fi
	@mkdir -p $(dir $(TESTED)) && $(GO) build -o $(TESTED) ./cmd/preau
	export PREAU_TEST_BINARY=$(TESTED); $(call TESTS,-p $(WHOLE_AT_ONCE) -vet=off -tags system -count=1 -timeout 18m,$(IN_ORDER))
	export PREAU_TEST_BINARY=$(TESTED); $(call TESTS,-p 1 -vet=off -tags system -count=1 -timeout 15m,$(ALONE_DIRS))

# What boots the appliance's own image under emulation: see test-appliance-image.
IMAGE_TESTS = $(shell grep -hoE '^func Test[A-Za-z0-9]+' images/appliance_[!s]*_test.go images/raspberry_[!s]*_test.go | cut -c6- | paste -sd '|')

# Which of test-appliance's tests run: all, or those that ONLY matches.
ONLY ?= .

# The packages are made once, for all tests; PREAU_TEST_PACKAGES names some that are there.
test-appliance: ## test packages, containers and Ansible on booted hosts: root, on Debian, with mmdebstrap, systemd-container, lintian, aptly, gnupg, buildah, podman, runc, iptables, ansible, ansible-lint, yamllint, openssh-client, iproute2, qemu-system-arm, u-boot-qemu, mtools, fdisk
	@began=$$SECONDS; export SOURCE_DATE_EPOCH=1763890000; \
	if [ -z "$${PREAU_TEST_PACKAGES:-}" ]; then \
	  export PREAU_TEST_PACKAGES="$$(mktemp -d)"; trap 'rm -rf "$$PREAU_TEST_PACKAGES"' EXIT; \
	  $(GO) run ./images/pack deb -version v1.0.0 -out "$$PREAU_TEST_PACKAGES"; \
	  $(GO) run ./images/pack deb -version v2.0.0 -arch amd64 -compression gzip -out "$$PREAU_TEST_PACKAGES"; \
	  echo "the packages took $$((SECONDS - began)) s"; \
	fi; \
	code=0; $(call TESTS,-vet=off -tags appliance -count=1 -timeout 40m -run '$(ONLY)' -skip '^($(IMAGE_TESTS))$$',./images ./images/pack ./ansible) || code=$$?; \
	echo "all of it took $$((SECONDS - began)) s"; exit $$code

test-appliance-image: ## boot the appliance's image in a virtual machine: root, on Debian, with mmdebstrap, systemd-container, zstd, mtools, gnupg, swtpm, qemu-system-x86, ovmf (the Raspberry Pi image: qemu-user-static, binfmt-support, qemu-system-arm, u-boot-qemu, fdisk)
	$(call TESTS,-vet=off -tags appliance -count=1 -timeout 120m -v -run '^($(IMAGE_TESTS))$$',./images)

vet: ## look for mistakes that compile, with all build tags
	$(GO) vet -tags system,bench,appliance ./...

check: vet ## vet, format, tests, lint and known vulnerabilities
	@unformatted="$$(gofmt -l $$($(GO) list -f '{{.Dir}}' ./...))"; \
	  if [ -n "$$unformatted" ]; then echo "not formatted, run gofmt -w:"; echo "$$unformatted"; exit 1; fi
	@$(MAKE) --no-print-directory test
	@lint=""; \
	  if command -v golangci-lint >/dev/null; then lint=golangci-lint; \
	  elif [ -x "$$($(GO) env GOPATH)/bin/golangci-lint" ]; then lint="$$($(GO) env GOPATH)/bin/golangci-lint"; fi; \
	  if [ -n "$$lint" ]; then echo "$$lint run"; "$$lint" run; \
	  else echo "SKIPPED lint: golangci-lint is missing; install it with: go install $(GOLANGCI)"; fi
	@if command -v curl >/dev/null && ! curl -sfm 10 -o /dev/null https://vuln.go.dev/index/modules.json; then \
	    echo "SKIPPED vulnerabilities: vuln.go.dev cannot be reached"; \
	  else echo "govulncheck ./..."; $(GO) run $(GOVULNCHECK) ./...; fi

bench: ## measure the box beside nginx and Varnish and renew the tables that README links to (BENCHFLAGS="-only herd")
	$(GO) test -tags bench -count=1 -timeout 90m -v ./node/bench $(BENCHFLAGS)

fuzz: ## run every fuzz target for FUZZTIME (30s)
	@for pkg in $$($(GO) list ./...); do \
	  for target in $$($(GO) test -list '^Fuzz' "$$pkg" | grep '^Fuzz' || true); do \
	    echo "== $$pkg $$target"; \
	    $(GO) test -run '^$$' -fuzz "^$$target\$$" -fuzztime $(FUZZTIME) "$$pkg"; \
	  done; \
	done

clean: ## remove what was built; stored copies and test caches stay
	rm -rf bin
