# Two commands for a fresh machine: `make demo` shows Crater at work, `make test` checks all of it.
SHELL := /bin/bash
export CARGO_TARGET_DIR ?= $(HOME)/.cache/crater-target
crater := $(CARGO_TARGET_DIR)/release/crater

.PHONY: demo test up build bench verify hooks

## demo: build Crater and watch the main job: up, submit, logs, a gang, kubectl, grpcurl
demo: build
	@CRATER=$(crater) tests/demo.sh

## test: install what is needed and run every check and test; ends with "N passed, N failed"
test:
	@tests/run.sh

## up: build Crater and run it here, with jobs as processes of this machine (ARGS="--nodes 2x8:A100" for more)
up: build
	@exec $(crater) up --run-local $(ARGS)

## build: the release build, console included
build:
	@tests/setup.sh build
	@cargo build --release --locked --package crater

## bench: start-up time and idle memory of the release build
bench: build
	@CRATER=$(crater) tests/bench/startup.sh

## verify: formats, lints, layers, generated files
verify:
	@tests/setup.sh build
	@cargo xtask verify

## hooks: check formats and layers before each commit
hooks:
	@git config core.hooksPath .githooks
