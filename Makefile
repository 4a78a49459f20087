# SPDX-License-Identifier: GPL-3.0-or-later
#
#   make            build/spank_qrmi.so
#   make install    DESTDIR= PREFIX= PLUGINDIR= SYSCONFDIR=
#   make test       everything a fresh Debian machine needs, then all tests
#   make demo       a QPU job on a Slurm cluster of its own
#   make check      format, lint, types, exported symbols

PYTHON ?= /usr/bin/python3
PREFIX ?= /usr/local
PLUGINDIR ?= /usr/lib64/slurm
SYSCONFDIR ?= /etc/slurm
DESTDIR ?= /

VENV := .venv
# A packager with Cython and setuptools of his own: make BUILD_PYTHON=python3
BUILD_PYTHON ?= $(VENV)/bin/python
PLUGINS := build/spank_qrmi.so
ENVIRONMENT := $(PREFIX)/lib/spank_qrmi
SOURCES := setup.py pyproject.toml $(wildcard include/*) $(wildcard spank_qrmi/plugin/*.p[yx]*)
WHEEL_SOURCES := $(SOURCES) README.md LICENSE qrmi_config.json.example \
	$(shell find spank_qrmi -name '*.py')
APT_PACKAGES := gcc libc6-dev libslurm-dev munge python3-dev python3-venv slurm-wlm

INSTALL = $(PYTHON) scripts/install.py
INSTALL_OPTIONS = --destdir '$(DESTDIR)' --environment '$(ENVIRONMENT)' \
	--plugindir '$(PLUGINDIR)' --sysconfdir '$(SYSCONFDIR)'

.PHONY: all build wheel install uninstall check test test-unit test-slurm test-e2e demo deps clean

all: build
build: $(PLUGINS)

PIP = PYTHONWARNINGS=ignore $(VENV)/bin/python -m pip --quiet --disable-pip-version-check

# What building needs, and what tests and checks need on top of it.
$(VENV)/ready-to-build: pyproject.toml setup.py
	@command -v $(PYTHON) >/dev/null || \
		{ echo 'error: $(PYTHON) is missing: apt-get install python3' >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || \
		{ echo 'error: the Python module venv is missing: apt-get install python3-venv' >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(PIP) install --upgrade pip
	$(PIP) install --editable '.[build]'
	@touch $@

$(VENV)/ready: $(VENV)/ready-to-build
	$(PIP) install --editable '.[build,check,simulator,test]'
	@touch $@

ifeq ($(BUILD_PYTHON),$(VENV)/bin/python)
$(PLUGINS): | $(VENV)/ready-to-build
endif

$(PLUGINS) &: $(SOURCES)
	$(BUILD_PYTHON) setup.py --quiet build_ext --force --build-lib build/lib --build-temp build/temp
	cp build/lib/spank_qrmi/plugin/*.so build/

wheel: build/wheel/built
build/wheel/built: $(WHEEL_SOURCES) | $(VENV)/ready-to-build
	rm -rf build/wheel
	$(PIP) wheel --no-deps --no-build-isolation --wheel-dir build/wheel .
	@touch $@

install: build wheel
	@$(INSTALL) install $(INSTALL_OPTIONS) --wheel build/wheel/*.whl --pip $(VENV)/bin/python

uninstall:
	@$(INSTALL) uninstall $(INSTALL_OPTIONS)

check: build $(VENV)/ready
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/ruff check .
	$(VENV)/bin/mypy
	$(VENV)/bin/mypy loopback scripts
	$(VENV)/bin/python scripts/check_symbols.py $(PLUGINS)

# The plugin is also run under valgrind there.
test: APT_PACKAGES += valgrind
test: deps build wheel $(VENV)/ready
	$(VENV)/bin/pytest --cov --cov-report=term-missing

test-unit: build $(VENV)/ready
	$(VENV)/bin/pytest tests/unit

test-slurm: build wheel $(VENV)/ready
	$(VENV)/bin/pytest tests/slurm

test-e2e: build wheel $(VENV)/ready
	$(VENV)/bin/pytest tests/e2e

demo: deps build wheel $(VENV)/ready
	$(VENV)/bin/python -m loopback.demo

# Only what is missing is installed, so that a prepared machine needs neither root nor a network.
deps:
	@missing=$$(for package in $(APT_PACKAGES); do \
		dpkg-query -W -f '$${db:Status-Status}' $$package 2>/dev/null | grep -qx installed || \
			echo $$package; done); \
	if [ -n "$$missing" ]; then \
		echo "installing" $$missing; \
		apt-get update -qq && \
		DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --no-install-recommends $$missing \
			>/dev/null; \
	fi

clean:
	rm -rf build $(VENV) *.egg-info
