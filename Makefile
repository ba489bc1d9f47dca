# `make` lists what there is. The work is done by scripts/, which can be called by themselves.
.DEFAULT_GOAL := help
.PHONY: help setup lab demo demo-clean example test test-all audit bench lint unit

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: ## .venv with ansible and the tools of the tests
	@scripts/setup

lab: setup ## the servers of inventories/demo, on this machine
	@scripts/engine
	@ANSIBLE_CONFIG=ansible.cfg .venv/bin/ansible-playbook playbooks/lab.yml -i inventories/demo

demo: ## a server with the example app on it (RUNTIME=compose EDGE=traefik …); the last line is its URL
	@scripts/demo

example: ## one of the four example systems: SYSTEM=0|1|3|4; the last lines are its URLs
	@scripts/example

demo-clean: ## takes the lab's servers, network and images of this checkout away
	@scripts/demo-clean

test: ## lint, unit tests and scenarios
	@scripts/test

test-all: ## the same, and what is slow
	@scripts/test --all

audit: ## what lynis, ssh-audit, gixy, testssl and systemd say of two servers; prints a table
	@scripts/audit

bench: ## measures deploys against a shell script's; prints a table
	@scripts/bench

lint: setup ## ansible-lint, yamllint and ruff
	@.venv/bin/yamllint --strict .
	@.venv/bin/ruff check
	@ANSIBLE_CONFIG=ansible.cfg .venv/bin/ansible-lint

unit: setup ## unit tests
	@.venv/bin/python -m pytest tests/unit
