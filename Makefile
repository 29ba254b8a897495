# weir. `make` alone lists the targets. Only Go is needed, but for `generate` (clang), `bench-fib` and `bench-acl` (DPDK), `image` (see
# `setup-image`), and `container` (buildah or docker).

GO      ?= go
BIN     := bin/weir
VERSION ?= $(shell git describe --always --dirty 2>/dev/null || echo unknown)

.DEFAULT_GOAL := help
.PHONY: help build demo shell test race lint generate fuzz bench bench-fib bench-acl bench-iprule bench-peers bench-stages bench-tester bench-rfc2544 peers perf-test show-ssh container install clean need-root

help: ## list the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  %-10s %s\n", $$1, $$2}'

build: ## build bin/weir, static
	@mkdir -p bin
	CGO_ENABLED=0 $(GO) build -trimpath -buildvcs=false -ldflags '-s -w -X main.version=$(VERSION)' -o $(BIN) ./cmd/weir

demo: need-root build ## real traffic through weir in a laboratory of namespaces (root)
	$(BIN) lab demo

shell: need-root build ## the same laboratory, with a shell inside (root)
	$(BIN) lab shell

test: need-root ## all tests, on real AF_XDP sockets in namespaces (root)
	$(GO) test -buildvcs=false -timeout 30m ./...

race: need-root ## all tests under the race detector, and rings with checkptr (root, cgo); SKIP=REGEXP leaves tests out
	CGO_ENABLED=1 $(GO) test -buildvcs=false -race $(if $(SKIP),-skip '$(SKIP)') ./...
	$(GO) test -buildvcs=false -gcflags=all=-d=checkptr ./rings/...

lint: ## gofmt, vet, staticcheck
	@test -z "$$(gofmt -l $$(git ls-files '*.go'))" || { echo "not formatted:"; gofmt -l $$(git ls-files '*.go'); exit 1; }
	$(GO) vet ./...
	$(GO) tool staticcheck ./...

generate: ## write the BPF programs and the vector code again (clang-14, llvm-strip-14)
	$(GO) generate ./...

FUZZTIME ?= 60s
fuzz: ## run every fuzz target for FUZZTIME (60s)
	@for package in $$($(GO) list ./...); do \
		for target in $$($(GO) test -list '^Fuzz' $$package | grep '^Fuzz'); do \
			echo "$$package $$target"; \
			$(GO) test -run '^$$' -fuzz "^$$target$$" -fuzztime $(FUZZTIME) -fuzzminimizetime 10x $$package || exit 1; \
		done; \
	done

bench: ## the benchmarks of the packages
	$(GO) test -buildvcs=false -run '^$$' -bench . ./fib ./policy/... ./rings ./appliance

# Programs of DPDK's (Debian: libdpdk-dev, pkg-config, gcc) take turns with weir's packages.
bin/dpdk-%: perf/dpdk/%.c perf/dpdk/peer.h
	@pkg-config --exists libdpdk || { echo "This compares with DPDK: install libdpdk-dev, pkg-config and a C compiler."; exit 1; }
	@mkdir -p bin
	$(CC) -O2 -g -Wall -Wextra -Werror $$(pkg-config --cflags libdpdk) -o $@ $< -Wl,--as-needed -lrte_fib -lrte_acl -lrte_eal

ROUNDS  ?= 21
RESULTS ?= $(CURDIR)/perf/results
bench-fib: need-root bin/dpdk-fib ## forwarding tables beside DPDK's, into RESULTS/fib.md (root, libdpdk-dev)
	$(GO) test -buildvcs=false -count 1 -run '^TestAgainstDPDK$$' ./fib -args -dpdk $(CURDIR)/bin/dpdk-fib -dpdk.rounds $(ROUNDS) -dpdk.page $(RESULTS)/fib.md

bench-acl: need-root bin/dpdk-acl ## rules beside DPDK's classifier, into RESULTS/acl.md (root, libdpdk-dev)
	$(GO) test -buildvcs=false -count 1 -timeout 30m -run '^TestAgainstDPDK$$' ./policy -args -dpdk $(CURDIR)/bin/dpdk-acl -dpdk.rounds $(ROUNDS) -dpdk.page $(RESULTS)/acl.md

bench-iprule: need-root ## rules beside the kernel's (ip rule), into RESULTS/iprule.md (root)
	$(GO) test -buildvcs=false -count 1 -run '^TestAgainstIPRule$$' ./policy -args -iprule.most 4000 -iprule.rounds $(ROUNDS) -iprule.page $(RESULTS)/iprule.md

peers: need-root build ## weir beside the I/O floor, XDP and the kernel, on one testbed (root)
	$(BIN) perf peers

TABLE   ?= $$($(GO) list -m -f '{{.Dir}}' github.com/gaissmai/bart)/internal/tests/testdata/prefixes.txt.gz
WINDOW  ?= 500ms
bench-peers: ROUNDS = 9
bench-peers: need-root build ## the same with rules, marks, and the Internet's table to carry, into RESULTS/peers*.md (root)
	$(BIN) perf peers -q --rounds $(ROUNDS) --window $(WINDOW) --dir $(RESULTS) --out peers
	for rules in 100 1000 4000; do \
		$(BIN) perf peers -q --rounds $(ROUNDS) --window $(WINDOW) --dir $(RESULTS) --out peers-rules-$$rules --rules $$rules || exit 1; \
	done
	$(BIN) perf peers -q --rounds $(ROUNDS) --window $(WINDOW) --dir $(RESULTS) --out peers-policy --rules 4000 --marks 1000 --peers weir,plain,floor
	$(BIN) perf peers -q --rounds $(ROUNDS) --window $(WINDOW) --dir $(RESULTS) --out peers-marks --marks 1000 --peers weir,plain,kernel,nft
	@ln -sf "$(TABLE)" bin/internet.gz
	$(BIN) perf peers -q --rounds $(ROUNDS) --window $(WINDOW) --dir $(RESULTS) --out peers-table --routes bin/internet.gz

bench-stages: build ## what each stage of the packet loop takes, with rules and the Internet's table, into RESULTS/stages.md
	@ln -sf "$(TABLE)" bin/internet.gz
	$(BIN) perf stages --rounds $(ROUNDS) --routes bin/internet.gz --page $(RESULTS)/stages.md

perf-test: need-root ## every procedure of weir perf, as short as can be (root)
	$(GO) test -buildvcs=false -count 1 -run '^TestPerf' ./cmd/weir -args -perf.all

show-ssh: need-root ## 1,000 reloads by SSH under traffic, and a million routes by SSH, with what they take (root, openssh-client)
	$(GO) test -buildvcs=false -count 1 -timeout 30m -v -run '^Test(Reloads|Routes)BySSH$$' ./cmd/weir -args -reloads 1000 -many-routes 1000000

WHERE    = $(RESULTS:$(CURDIR)/%=%)
bench-tester: need-root build ## the generator wired to the receiver: pacing, ceiling, bias, into RESULTS/tester.md (root)
	$(BIN) perf tester --page $(WHERE)/tester.md

# Shortened: the reports say every deviation from the standards.
TRIAL   ?= 100ms
BRIEF   ?= --drain 200ms --settle 50ms --dir $(WHERE)
bench-rfc2544: need-root build ## RFC 2544, and latencies at shares of PDR, of weir and of the kernel, into RESULTS/rfc2544-*, RESULTS/mlrsearch-* (root)
	for device in weir kernel; do \
		$(BIN) perf mlrsearch -q --device $$device --size 64 --final $(TRIAL) --sum 2s --width 0.02 --shares 0.1,0.5,0.9 --duration 3s --repeats 3 $(BRIEF) --out mlrsearch-$$device || exit 1; \
	done
	for device in weir kernel; do \
		$(BIN) perf rfc2544 all -q --device $$device --initial $(TRIAL) --final $(TRIAL) --width 0.02 \
			--shares 0.5,1 --duration 500ms --repeats 3 --tests 3 $(BRIEF) --out rfc2544-$$device || exit 1; \
	done
	@if command -v chromium >/dev/null; then cd $(RESULTS) && chromium --headless --no-sandbox --disable-gpu --hide-scrollbars \
		--window-size=1060,1100 --screenshot=rfc2544-weir.png file://$$PWD/rfc2544-weir.html 2>/dev/null; fi

container: ## build the container image with docker or buildah
	@if command -v buildah >/dev/null; then buildah bud --isolation chroot --build-arg VERSION=$(VERSION) -t weir .; else docker build --build-arg VERSION=$(VERSION) -t weir .; fi

.PHONY: setup-image image image-test image-lock
setup-image: ## install what building and trying images needs (Debian, root)
	apt-get update -q
	DEBIAN_FRONTEND=noninteractive apt-get install -qy --no-install-recommends e2fsprogs qemu-utils qemu-system-x86 ovmf

FLAVOUR ?= cloud
IMAGE   ?= bin/weir-$(FLAVOUR).img
image: build ## build the appliance's disk, FLAVOUR cloud or metal; more for `weir image build` in ARGS
	$(BIN) image build --flavour $(FLAVOUR) -o $(IMAGE) $(ARGS)

KERNEL ?=
image-test: need-root ## start images in QEMU, and look whether they do what they should; zero-copy too with the packages of a KERNEL that has it (root)
	$(GO) test -buildvcs=false -count 1 -timeout 60m -v ./appliance/image/...
	$(GO) test -buildvcs=false -count 1 -timeout 120m -v -run '^TestAppliance' ./cmd/weir -args -image.all $(if $(KERNEL),-image.kernel "$(abspath $(KERNEL))")

# What apt has now, in the form of the lock file: what for, name, version, checksum.
LOCK = appliance/image/packages.lock
image-lock: ## pin the kernels and the boot loader that apt has now
	@pin() { apt-cache show --no-all-versions "$$2" | awk -v role="$$1" -v name="$$2" '/^Version:/ {v = $$2} /^SHA256:/ {s = $$2} END {print role, name, v, s}'; }; \
	kernel() { apt-cache depends "$$1" | awk '/Depends: linux-image-/ {print $$2; exit}'; }; \
	{ pin boot systemd-boot-efi; pin cloud "$$(kernel linux-image-cloud-amd64)"; pin metal "$$(kernel linux-image-amd64)"; } >$(LOCK).new
	@awk 'NF != 4 {exit 1}' $(LOCK).new || { cat $(LOCK).new; echo "apt does not know them all: apt-get update first"; exit 1; }
	mv $(LOCK).new $(LOCK)

PREFIX ?= /usr/local
install: build ## install the binary below PREFIX (/usr/local), and a unit for systemd
	install -D -m 0755 $(BIN) $(DESTDIR)$(PREFIX)/sbin/weir
	install -d $(DESTDIR)$(PREFIX)/lib/systemd/system
	sed 's#/usr/local/#$(PREFIX)/#' appliance/weir.service >$(DESTDIR)$(PREFIX)/lib/systemd/system/weir.service

clean: ## remove what was built
	rm -rf bin

need-root:
	@test "$$(id -u)" = 0 || { echo "This needs root, to make network namespaces and load BPF programs: run it as root or with sudo."; exit 1; }
