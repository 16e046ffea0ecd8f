.DEFAULT_GOAL := help
.PHONY: help build demo test test-short soak bench fuzz lint generate setup

GO ?= go

help: ## Show this help
	@awk -F':.*## ' '/^[a-z-]+:.*## /{printf "  make %-11s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

build: ## Build bin/backstay
	@mkdir -p bin
	CGO_ENABLED=0 $(GO) build -trimpath -ldflags='-s -w' -o bin/backstay ./controller/cmd/backstay

demo: build ## Watch Backstay heal a small back office (about a minute)
	@bin/backstay demo $(ARGS)

setup: ## Install the servers that the tests start (Debian packages; needs root or sudo)
	@.ci/setup

test: setup ## Install what is missing, then run every test
	@.ci/suites $(GO) test ./...

test-short: ## Run the tests that need no server beside Go
	$(GO) test -short ./...

soak: setup ## Run the safety suites at full length (hours)
	@.ci/soak

bench: build ## Measure speed and memory beside the machine's own limits
	@.ci/bench

fuzz: ## Fuzz each decoder and parser for 30 s (FUZZTIME=30s)
	@.ci/fuzz

lint: ## Vet, static analysis, formatting, known vulnerabilities
	@.ci/lint

generate: build ## Write the files that are made from code again
	@bin/backstay schema > api/schema.json
