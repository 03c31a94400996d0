# Trivet. `make help` lists the targets; README.md tells the rest.
OUT    ?= out
ROLES  ?= controller compute storage
VERSION := $(shell git describe --always --dirty 2>/dev/null || echo unknown)
LDFLAGS := -s -w -X main.version=$(VERSION)
SUDO   := $(if $(filter 0,$(shell id -u)),,sudo)
export CGO_ENABLED = 0

.PHONY: all help images bin test test-images test-qemu test-cluster check bench golden clean
all: bin

help: ## this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-14s %s\n", $$1, $$2}'

bin: ## bin/trivet, bin/trivet-agent, bin/trivet-init
	go build -trimpath -buildvcs=false -ldflags '$(LDFLAGS)' -o bin/ ./cmd/...

images: bin ## install what a build needs; the three roles' images in out/
	$(SUDO) .ci/install build
	bin/trivet build --out $(OUT) $(ROLES)

test: ## unit tests: under two minutes, no network beyond Go modules
	go test ./builder/... ./cmd/... ./firstboot/... ./roles/... ./qemu-tests/...

test-images: images ## image tests: the files in out/, reproducibility, mmdebstrap beside it
	$(SUDO) .ci/install test
	go test ./qemu-tests -count=1 -timeout 60m -v -run 'Image' -skip '$(SKIP)' -images $(abspath $(OUT))

test-qemu: images ## boot tests: each image in QEMU, from its firmware to ready
	$(SUDO) .ci/install qemu
	go test ./qemu-tests -count=1 -timeout 75m -v -run '$(or $(RUN),Boot)' -skip '$(SKIP)' -qemu -images $(abspath $(OUT))

test-cluster: images ## cluster tests: three controllers of containers form, are broken, come back
	$(SUDO) .ci/install cluster
	go test ./qemu-tests -count=1 -timeout 90m -v -run '$(or $(RUN),TestCloud)' -skip '$(SKIP)' -cluster -images $(abspath $(OUT))

check: ## vet, staticcheck, gofumpt, import rules
	go vet ./...
	go tool staticcheck ./...
	@test -z "$$(go tool gofumpt -l . | tee /dev/stderr)"
	go test ./cmd -run 'Rules' -count=1

bench: bin ## ratios against mkosi and mmdebstrap in the same run; about 40 minutes
	$(SUDO) .ci/install bench
	go test ./qemu-tests -run '^$$' -bench '$(or $(RUN),.)' -benchtime 1x -timeout 150m

golden: ## rewrite the readable golden files after a wanted change
	go test ./builder ./firstboot/render -update

clean: ## what the build made here (the cache stays: bin/trivet cache prune)
	rm -rf bin $(OUT)
