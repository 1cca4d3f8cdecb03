# make demo     a cluster in containers, to look at; make demo-serve: the same with a DeepSeek of 4 MB that answers
# make test     lint, sanity, unit, integration and molecule: everything that must pass
# make matrix   unit tests, sanity and scenario default with each ansible-core and each Debian that is supported
# make bench    the figures of docs/figures.md
# make scale    what a further host costs: site.yml over 10, 30 and 100 hosts that have nothing to do
# make faults   what a cluster does about each of the faults of docs/faults.md, which it writes
# make browser  the pages of a deployed bed in headless Chromium: the demo's, or that of BED_NAME
# make clean    remove all beds and everything under .cache
# Only python3 (3.11 or newer) and, for the containers, root or an answering Docker engine are needed.

PYTHON ?= python3
CACHE := .cache
VENV := $(CACHE)/venv
SANITY := $(CACHE)/sanity/ansible_collections/rayops/cluster
BED := $(VENV)/bin/python -m tests.bed
SCENARIOS ?= $(sort $(notdir $(patsubst %/molecule.yml,%,$(wildcard molecule/*/molecule.yml))))
export PATH := $(CURDIR)/$(VENV)/bin:$(PATH)
export PYTHONDONTWRITEBYTECODE := 1
export HYPOTHESIS_STORAGE_DIRECTORY := $(CURDIR)/$(CACHE)/hypothesis
# The beds' inventories do not exist before `create`, nor after `destroy`.
export MOLECULE_ANSIBLE_ARGS_STRICT_MODE := 1
export MOLECULE_COMMAND_BORDERS := false

.PHONY: help serving demo demo-serve test ready lint sanity unit unit-nodes unit-oldest-ray unit-inventory integration molecule molecule-serving matrix bench scale tls-cost faults browser shellcheck chromium clean
.DEFAULT_GOAL := help

help:
	@sed -n 's/^# //p' Makefile | head -9

$(VENV)/.done: tests/requirements.txt
	@echo "make: preparing .cache/venv (once)"
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	  || { echo "make: python3 must be 3.11 or newer: make PYTHON=/path/to/python3.11"; exit 1; }
	@$(PYTHON) -c 'import ensurepip' 2>/dev/null || { apt-get update -qq && apt-get install -qq -y python3-venv; } \
	  || { echo "make: run as root once: apt-get install python3-venv"; exit 1; }
	@$(PYTHON) -m venv $(VENV)
	@$(VENV)/bin/python -m pip install --quiet --disable-pip-version-check --requirement tests/requirements.txt
	@touch $@

# The Ray that the unit tests run: the version of the role. A controller's environment, of which the matrix has several, only
# makes it.
$(CACHE)/ray/.done: roles/ray_defaults/defaults/main.yml | $(VENV)/.done
	@echo "make: preparing .cache/ray (once)"
	@rm -rf $(CACHE)/ray && $(VENV)/bin/python -m venv $(CACHE)/ray
	@uv pip install --quiet --python $(CACHE)/ray/bin/python \
	  "ray[default,serve]==$$(sed -n 's/^ray_version: "\(.*\)"/\1/p' roles/ray_defaults/defaults/main.yml)"
	@touch $@

# The oldest Ray that the door to its private interfaces (_gcs) was tried with.
OLDEST_RAY = $(shell sed -n 's/^TRIED = ."\([^"]*\)".*/\1/p' plugins/module_utils/_gcs/under_ray/api.py)
$(CACHE)/ray-oldest/.done: plugins/module_utils/_gcs/under_ray/api.py | $(VENV)/.done
	@test -x $(CACHE)/ray-oldest/bin/ray || { echo "make: preparing .cache/ray-oldest (once)"; \
	  $(VENV)/bin/python -m venv $(CACHE)/ray-oldest; }
	@uv pip install --quiet --python $(CACHE)/ray-oldest/bin/python "ray[default]==$(OLDEST_RAY)"
	@touch $@

# The oldest SDK that the inventory plugin supports. The newest one is in .cache/venv.
OLDEST_SDK = $(shell sed -n 's/^huaweicloudsdkecs>=//p' meta/ee-requirements.txt)
$(CACHE)/sdk/.done: meta/ee-requirements.txt | $(VENV)/.done
	@echo "make: preparing .cache/sdk (once)"
	@rm -rf $(CACHE)/sdk
	@uv pip install --quiet --python $(VENV)/bin/python --target $(CACHE)/sdk \
	  huaweicloudsdkecs==$(OLDEST_SDK) huaweicloudsdkcore==$(OLDEST_SDK)
	@touch $@

# vLLM for CPU and a tiny model, which beds mount with --serving. It ends with 3, and a line, where torch for CPUs cannot be had.
serving: $(VENV)/.done
	@python -m tests.serving

demo: $(VENV)/.done
	@$(BED) up demo --workers 2 --monitor
	@sh tests/bed/demo.sh

demo-serve: serving
	@command -v curl >/dev/null || { apt-get update -qq && apt-get install -qq -y curl; } >/dev/null \
	  || { echo "make: run as root once: apt-get install curl"; exit 1; }
	@$(BED) up demo --workers 2 --monitor --serving
	@sh tests/bed/demo.sh tiny

# What must pass, the longest first, and so that not all clusters start at the same time. Most of it waits most of the time:
# JOBS of them run at once, and each says how long it took.
FIRST := molecule-lifecycle unit-nodes molecule-transit unit-inventory molecule-full integration molecule-serving molecule-hostile
PARTS := $(FIRST) $(filter-out $(FIRST),$(addprefix molecule-,$(SCENARIOS))) unit-oldest-ray sanity lint
JOBS ?= 2
LOGS := $(CACHE)/logs
# What Ansible and pytest begin the lines with that say what failed: repeated at the end, for a log is long.
SAYS_WHY := '^.{0,5}(\[ERROR\]|fatal: |FAILED |ERROR )'

test: ready
	@rm -rf $(LOGS) && mkdir -p $(LOGS)
	@$(MAKE) --no-print-directory --keep-going --jobs $(JOBS) $(addprefix part-,$(PARTS)); status=$$?; \
	  echo "make: minutes of each part"; sort -rn $(LOGS)/times; \
	  for log in $$(cat $(LOGS)/failed 2>/dev/null); do \
	    echo "make: $$log"; grep -aE $(SAYS_WHY) $$log | cut -c1-500 | head -4; done; exit $$status
	@echo "make: all of it passed"

part-%:
	@echo "make: $* begins"; began=$$(date +%s); $(MAKE) --no-print-directory --jobs 1 $* > $(LOGS)/$*.log 2>&1; status=$$?; \
	  seconds=$$(($$(date +%s) - began)); printf '%3d:%02d  %s\n' $$((seconds / 60)) $$((seconds % 60)) $* >> $(LOGS)/times; \
	  if [ $$status = 0 ]; then echo "make: $* passed"; else cat $(LOGS)/$*.log; echo "make: $* failed"; echo $(LOGS)/$*.log >> $(LOGS)/failed; fi; exit $$status

# Once, and by nobody else at the same time: packages of the distribution, the image and the wheels of the beds, and what serves.
ready: $(CACHE)/ray/.done $(CACHE)/ray-oldest/.done $(CACHE)/sdk/.done chromium shellcheck
	@$(BED) prepare
	@python -m tests.serving || test $$? = 3

lint: $(VENV)/.done
	@echo "make: ruff"
	@ruff check --no-cache --select B,E,F,I,W .
	@echo "make: mypy"
	@mypy
	@echo "make: ansible-lint"
	@ansible-lint --profile production --offline

# ansible-test works only at the path of an installed collection: it gets a copy, without the link under .ansible, and a
# repository of its own, or it would ask this one, which ignores .cache.
sanity: $(VENV)/.done shellcheck
	@echo "make: ansible-test sanity"
	@rm -rf $(SANITY) && mkdir -p $(SANITY)
	@git ls-files --cached --others --exclude-standard -z -- . ':!.ansible' \
	  | tar --create --null --files-from=- --ignore-failed-read | tar --extract --directory=$(SANITY)
	@test -f $(SANITY)/galaxy.yml || { echo "make: sanity needs a git checkout"; exit 1; }
	@git init --quiet $(SANITY)
	@python tests/sanity/get_pip.py
	@cd $(SANITY) && PIP_QUIET=1 ansible-test sanity $(addprefix --skip-test ,pslint $(SANITY_SKIP)) \
	  --python $$(python -c 'import sys; print("%d.%d" % sys.version_info[:2])') \
	  $$(command -v shellcheck >/dev/null || echo --skip-test shellcheck)

INVENTORY_TESTS := tests/unit/inventory tests/unit/plugin_utils
unit: unit-nodes unit-oldest-ray unit-inventory

unit-nodes: $(CACHE)/ray/.done
	@echo "make: unit tests"
	@RAYOPS_TEST_RAY_ENVIRONMENT=$(CURDIR)/$(CACHE)/ray \
	  python -m pytest -q tests/unit $(addprefix --ignore=,$(INVENTORY_TESTS))

unit-oldest-ray: $(CACHE)/ray-oldest/.done
	@echo "make: unit tests of what asks Ray, with $(OLDEST_RAY)"
	@RAYOPS_TEST_RAY_ENVIRONMENT=$(CURDIR)/$(CACHE)/ray-oldest python -m pytest -q \
	  tests/unit/module_utils/test_ray_cluster.py tests/unit/module_utils/test_ray_environment.py

unit-inventory: $(CACHE)/sdk/.done
	@echo "make: unit tests of the inventory plugin, with the newest SDK and with $(OLDEST_SDK)"
	@python -m pytest -q $(INVENTORY_TESTS)
	@PYTHONPATH=$(CURDIR)/$(CACHE)/sdk RAYOPS_TEST_SDK=$(OLDEST_SDK) python -m pytest -q \
	  tests/unit/plugin_utils/test_huawei_ecs.py \
	  tests/unit/inventory/test_huawei_ecs_kinds.py tests/unit/inventory/test_huawei_ecs_accounts.py \
	  tests/unit/inventory/test_huawei_ecs_regions.py

integration: $(VENV)/.done
	@echo "make: integration tests"
	@python -m pytest -q tests/integration

molecule: $(addprefix molecule-,$(SCENARIOS))

molecule-%: $(VENV)/.done chromium
	@echo "make: molecule scenario $*"
	@molecule test --scenario-name $*

# Without what serves, the line that says so is all of it.
molecule-serving: $(VENV)/.done
	@echo "make: molecule scenario serving"
	@python -m tests.serving; status=$$?; test $$status = 3 || { test $$status = 0 && molecule test --scenario-name serving; }

# The series of ansible-core that CORES names, or all of tests/matrix.py.
matrix: $(VENV)/.done shellcheck chromium
	@python -m tests.matrix $(CORES)

bench: $(CACHE)/ray/.done
	@python -m tests.bench

scale: $(VENV)/.done
	@python -m tests.bench --only scale --repeat 1 --json $(CACHE)/scale.json

# Two clusters that serve a model, one after the other.
tls-cost: serving
	@python -m tests.bench --only tls --json $(CACHE)/tls-cost.json

faults: $(VENV)/.done
	@python -m tests.faults

browser: $(VENV)/.done chromium
	@echo "make: browser test; the screenshots are in $(CACHE)/screenshots"
	@python -m pytest -q tests/browser

shellcheck:
	@command -v shellcheck >/dev/null || { apt-get update -qq && apt-get install -qq -y shellcheck; } >/dev/null \
	  || echo "make: shellcheck is missing: that test is left out"

chromium:
	@command -v chromium >/dev/null || { [ "$$(id -u)" = 0 ] && echo "make: installing chromium (once)" \
	  && { apt-get update -qq && apt-get install -qq -y --no-install-recommends chromium; } >/dev/null; } \
	  || { echo "make: run as root once: apt-get install chromium"; exit 1; }

clean:
	@if [ -x $(VENV)/bin/python ]; then $(BED) down --all; fi && rm -rf $(CACHE)
