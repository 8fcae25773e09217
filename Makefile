# Everything a developer or an operator builds is a target here.
GO      ?= go
TAGS    := containers_image_openpgp
VERSION ?=
LDFLAGS := -s -w -X main.version=$(VERSION)
BUILD   := CGO_ENABLED=0 $(GO) build -trimpath -tags $(TAGS) -ldflags '$(LDFLAGS)'

# Where the gate of `make demo` listens.
DEMO_LISTEN ?= 127.0.0.1:5000
export DEMO_LISTEN

.PHONY: all build demo test test-unit test-e2e lint fuzz bench tools clean

all: build

build: ## bin/pullgate and bin/pullgate-demo, static
	$(BUILD) -o bin/pullgate ./cmd/pullgate
	$(BUILD) -o bin/pullgate-demo ./cmd/pullgate-demo

demo: build ## a gate over signed, unsigned and tampered images, ready to pull from
	@exec bin/pullgate-demo --pullgate bin/pullgate

test: tools lint test-unit test-e2e ## everything

test-unit:
	CGO_ENABLED=1 $(GO) test -race -tags $(TAGS) ./...

test-e2e: build ## the built binary against real registries, signers and clients
	PULLGATE_BIN=$(CURDIR)/bin/pullgate PULLGATE_DEMO_BIN=$(CURDIR)/bin/pullgate-demo \
		$(GO) test -count=1 -timeout 20m -tags '$(TAGS) e2e' ./e2e/...

lint: ## formatting, vet and staticcheck
	@test -z "$$(gofmt -l $$(git ls-files '*.go'))" || { gofmt -l $$(git ls-files '*.go'); echo 'run gofmt -w on these files'; exit 1; }
	CGO_ENABLED=0 $(GO) vet -tags $(TAGS) ./...
	CGO_ENABLED=0 $(GO) vet -tags '$(TAGS) e2e' ./e2e/...
	CGO_ENABLED=0 $(GO) tool staticcheck -tags $(TAGS) ./...

fuzz: ## every fuzz target for FUZZTIME
	deploy/fuzz.sh $(or $(FUZZTIME),10s)

bench: build ## ratios against peers, in one run
	e2e/bench/run.sh

tools: ## Debian packages of the clients and signers that the tests run, when this is root on Debian
	deploy/test-tools.sh

clean:
	rm -rf bin

.PHONY: test-clients
test-clients: tools build ## test-e2e's modes with clients of newer Debian releases, which are kept in the user's cache; -args -update in CLIENTS_FLAGS writes their table
	CGO_ENABLED=0 $(GO) vet -tags '$(TAGS) e2e clients' ./e2e/...
	clients="$$(deploy/test-clients.sh)" && \
	PULLGATE_TEST_CLIENTS="$$clients" PULLGATE_BIN=$(CURDIR)/bin/pullgate \
		unshare --mount $(GO) test -count=1 -timeout 60m -tags '$(TAGS) e2e clients' -run '^TestNewer' ./e2e/ $(CLIENTS_FLAGS)
