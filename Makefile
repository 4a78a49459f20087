# SPDX-License-Identifier: GPL-3.0-or-later
#
#   make            build/spank_qrmi.so, build/spank_ibm_qrun.so
#   make install    DESTDIR= PREFIX= PLUGINDIR= SYSCONFDIR= WHEEL=; VERBOSE=1 lists all files
#   make deb, rpm, srpm, sdist   one of these in dist/
#   make dist       source distribution, wheel, deb, rpm, bill of materials and checksums in dist/
#   make release    checks, then all of that, for the Slurm of each system of MATRIX, and the notes
#   make test       everything a fresh Debian machine needs, then the tests of what a node and its
#                   users run; TEST_WORKERS= files at a time
#   make test-simulator, test-tools, test-packages   tests of the simulated site, of benchmarks,
#                   scripts, the loopback cluster and metrics, and of the packages on a clean
#                   root, also booted
#   make demo       a QPU job on a Slurm cluster of its own; KEEP=1 leaves that up,
#   make demo-stop  and this ends it
#   make demo-picture   what the demonstration prints, as docs/demo.svg
#   make soak       hundreds of QPU jobs amid faults and kills; SOAK_JOBS=, SOAK_SEED=;
#                   ATTACK=1: jobs of one user whose endpoint refuses and hangs, against all others
#   make bench      what a job pays for the plugin; BENCH_RUNS=, BENCH=srun,qpu
#   make fuzz       hostile input, guided by coverage; FUZZ_SECONDS=, FUZZ_TARGETS=
#   make mutants    how many changes of the code that acquires and releases no unit test notices
#   make check      format, lint, types, exported symbols, known vulnerabilities
#   make lock       newest versions of all that is installed, with hashes, in requirements/
#   make test-slurm-matrix   build and tests on other releases of Slurm and Python

PYTHON ?= /usr/bin/python3
PREFIX ?= /usr/local
PLUGINDIR ?= /usr/lib64/slurm
SYSCONFDIR ?= /etc/slurm
DESTDIR ?= /
WHEEL ?= build/wheel/*.whl

VENV := .venv
# A packager with Cython and setuptools of his own: make BUILD_PYTHON=python3
BUILD_PYTHON ?= $(VENV)/bin/python
PLUGINS := build/spank_qrmi.so build/spank_ibm_qrun.so
ENVIRONMENT := $(PREFIX)/lib/spank_qrmi
SUPPLY_CHAIN := build/supply-chain
AUDIT = $(VENV)/bin/python scripts/audit.py $(SUPPLY_CHAIN)/bin/pip-audit \
	requirements/node.txt requirements/build.txt
SOURCES := setup.py pyproject.toml requirements/build.txt $(wildcard include/*) $(wildcard spank_qrmi/plugin/*.p[yx]*)
WHEEL_SOURCES := $(SOURCES) README.md LICENSE MANIFEST.in requirements/node.txt \
	$(wildcard *.example logrotate/* man/* systemd/*) $(shell find spank_qrmi -name '*.py')
# Releases of Debian, and Pythons that none of them has, for test-slurm-matrix.
MATRIX ?= bookworm trixie sid
MATRIX_PYTHONS ?= 3.10 3.11 3.12 3.13 3.14
MATRIX_CACHE ?= build/roots
# What building needs: of Slurm its headers alone. What runs a cluster needs all of SLURM_PACKAGES at
# once: none is added to a Slurm that is there.
APT_PACKAGES := gcc libc6-dev libslurm-dev python3-dev python3-venv
SLURM_PACKAGES := munge slurm-wlm slurmdbd

INSTALL = $(PYTHON) scripts/install_environment.py
INSTALL_OPTIONS = --destdir '$(DESTDIR)' --environment '$(ENVIRONMENT)' \
	--plugindir '$(PLUGINDIR)' --sysconfdir '$(SYSCONFDIR)' \
	--prefix '$(PREFIX)' $(if $(VERBOSE),--verbose)

# Two builds of one commit are the same; an unpacked source distribution has its commit's time.
SOURCE_DATE_EPOCH ?= $(shell git log -1 --format=%ct 2>/dev/null || stat -c %Y CHANGELOG.md)
export SOURCE_DATE_EPOCH
PACKAGE = $(PYTHON) scripts/package.py
WHEEL_AND_PIP = --wheel build/wheel/*.whl --pip $(VENV)/bin/python

.PHONY: all build wheel simulator-wheel sdist deb rpm srpm rpm-contents sbom dist release install checked-python uninstall check audit lock \
	test test-unit test-slurm test-e2e test-simulator test-tools test-deps test-packages \
	test-slurm-matrix demo demo-stop demo-picture soak \
	fuzz mutants bench deps clean

all: build
build: $(PLUGINS)

# One line for a step, and what its command writes in a log: $(call step,NAME) TEXT COMMAND
export VERBOSE
step = $(PYTHON) scripts/step.py --log build/log/$(1).log
pip_of = $(1)/bin/python -m pip --disable-pip-version-check
PIP = $(call pip_of,$(VENV))
LOCKED := --require-hashes --only-binary :all: --requirement

# What building needs, and what tests and checks need on top of it.
$(VENV)/ready-to-build: requirements/build.txt
	@command -v $(PYTHON) >/dev/null || \
		{ echo 'error: $(PYTHON) is missing: apt-get install python3' >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || \
		{ echo 'error: the Python module venv is missing: apt-get install python3-venv' >&2; exit 1; }
	@$(call step,venv-build) 'preparing $(VENV): what the build needs' \
		sh -ec '$(PYTHON) -m venv $(VENV); $(PIP) install $(LOCKED) requirements/build.txt'
	@touch $@

# What is tested is what nodes get: the first line says which files, the second keeps others away.
$(VENV)/ready: pyproject.toml setup.py spank_qrmi/__init__.py simulator/pyproject.toml simulator/setup.py requirements/node.txt $(VENV)/ready-to-build
	@$(call step,venv-node) 'preparing $(VENV): what nodes get' \
		$(PIP) install $(LOCKED) requirements/node.txt
	@sed -n 's/^\([^ ].*\) \\$$/\1/p' requirements/node.txt >$(VENV)/versions.txt
	@$(call step,venv-test) \
		'preparing $(VENV): simulated site, tests and checks (170 MB to download)' \
		$(PIP) install --no-build-isolation --constraint $(VENV)/versions.txt \
		--editable simulator --editable '.[bench,check,test]'
	@touch $@

# Apart from the other environments: these tools look at them, and need other versions.
$(SUPPLY_CHAIN)/ready: requirements/supply-chain.txt
	@$(call step,supply-chain) \
		'preparing $(SUPPLY_CHAIN): tools for lock files, audit and bill of materials' \
		sh -ec '$(PYTHON) -m venv $(SUPPLY_CHAIN); \
		$(call pip_of,$(SUPPLY_CHAIN)) install $(LOCKED) requirements/supply-chain.txt'
	@touch $@

ifeq ($(BUILD_PYTHON),$(VENV)/bin/python)
$(PLUGINS): | $(VENV)/ready-to-build
endif

$(PLUGINS) &: $(SOURCES)
	@rm -rf build/lib build/*.so
	@$(BUILD_PYTHON) scripts/step.py --log build/log/plugins.log 'building $(PLUGINS)' \
		$(BUILD_PYTHON) setup.py build_ext --force --build-lib build/lib --build-temp build/temp
	@cp build/lib/spank_qrmi/plugin/*.so build/

wheel: build/wheel/built
# What an earlier build left would get into it: modules that are no more.
build/wheel/built: $(WHEEL_SOURCES) | $(VENV)/ready-to-build
	@rm -rf build/wheel build/lib.*
	@$(call step,wheel) 'building the wheel' $(PIP) wheel --no-deps --no-build-isolation --wheel-dir build/wheel .
	@$(PYTHON) scripts/dist.py wheels build/wheel
	@touch $@

simulator-wheel: | $(VENV)/ready-to-build
	@rm -rf simulator/build
	@$(call step,simulator-wheel) 'building the wheel of the simulated site' $(PIP) wheel --no-deps --no-build-isolation --wheel-dir dist ./simulator
	@$(PYTHON) scripts/dist.py wheels dist

sdist: | $(VENV)/ready-to-build
	@echo 'building the source distribution'
	@$(VENV)/bin/python scripts/dist.py sdist dist

deb: checked-python deps wheel
	@echo 'building the deb'
	@$(PACKAGE) deb $(WHEEL_AND_PIP) --output dist

# By the spec in the source distribution, from which `rpmbuild -ta` builds the same elsewhere.
rpm srpm: APT_PACKAGES += rpm
rpm: checked-python deps wheel
	@echo 'building the rpm'
	@rm -rf build/sdist
	@$(VENV)/bin/python scripts/dist.py sdist build/sdist >/dev/null
	@$(PACKAGE) rpm --sdist build/sdist/*.tar.gz --output dist

srpm: deps | $(VENV)/ready-to-build
	@echo 'building the source rpm'
	@rm -rf build/sdist
	@$(VENV)/bin/python scripts/dist.py sdist build/sdist >/dev/null
	@$(PACKAGE) srpm --sdist build/sdist/*.tar.gz --output dist

# For that spec: what the rpm holds, below STAGE, and the LIST of it.
rpm-contents: wheel
	@$(PACKAGE) contents $(WHEEL_AND_PIP) --plugindir '$(PLUGINDIR)' --sysconfdir '$(SYSCONFDIR)' \
		--output '$(STAGE)' --list '$(LIST)'

# What `make install` puts on a node with this machine's Python.
sbom: wheel $(SUPPLY_CHAIN)/ready
	@echo 'writing the bill of materials'
	@$(PYTHON) scripts/sbom.py --wheel build/wheel/*.whl --pip $(VENV)/bin/python \
		--cyclonedx $(SUPPLY_CHAIN)/bin/cyclonedx-py --output dist

# Nothing of earlier builds may get into it.
dist: APT_PACKAGES += rpm
dist: deps
	@rm -rf dist build/sdist build/wheel build/lib* build/temp* build/bdist* *.egg-info simulator/*.egg-info
	@$(MAKE) --no-print-directory sdist wheel simulator-wheel deb rpm sbom
	@cp build/wheel/*.whl dist/
	@cp requirements/node.txt dist/$$(basename build/wheel/*.whl | cut -d- -f-2)-requirements.txt
	@$(PYTHON) scripts/dist.py checksums dist

# Of a commit, in the roots of test-slurm-matrix. What cannot be released says so before it is checked.
RELEASE = PYTHONPATH=scripts:. $(VENV)/bin/python -m slurm_matrix.release \
	--cache '$(MATRIX_CACHE)' --output dist $(MATRIX)
release: APT_PACKAGES += debootstrap
release: deps | $(VENV)/ready-to-build
	@$(RELEASE) --check
	@$(MAKE) --no-print-directory check
	@$(RELEASE)
	@$(PYTHON) scripts/dist.py checksums dist

# A wheel that is given needs no compiler.
install: checked-python $(if $(filter file,$(origin WHEEL)),build wheel,$(VENV)/ready-to-build)
	@$(INSTALL) install $(INSTALL_OPTIONS) --wheel $(WHEEL) --pip $(VENV)/bin/python

# Before anything is built with it.
checked-python:
	@$(PYTHON) scripts/check_python.py

uninstall:
	@$(INSTALL) uninstall $(INSTALL_OPTIONS)

check: build $(VENV)/ready
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/ruff check .
	$(VENV)/bin/mypy
	$(VENV)/bin/mypy benchmarks loopback scripts fuzz
	$(VENV)/bin/python scripts/check_symbols.py $(PLUGINS)
	@if $(MAKE) --no-print-directory $(SUPPLY_CHAIN)/ready; then echo '$(AUDIT)'; $(AUDIT); \
		else echo 'not audited: its tools could not be installed'; fi

audit: $(VENV)/ready-to-build $(SUPPLY_CHAIN)/ready
	$(AUDIT)

lock: $(SUPPLY_CHAIN)/ready
	@$(SUPPLY_CHAIN)/bin/python scripts/lock.py $(SUPPLY_CHAIN)/bin/uv

# The plugin is also run under valgrind there, and beside Slurm's accounting.
test test-deps: APT_PACKAGES += $(SLURM_PACKAGES) mariadb-client-core mariadb-server-core valgrind
test-deps: deps

# More than the processors: the live tests wait for Slurm most of their time.
TEST_WORKERS ?= 4
PYTEST = $(VENV)/bin/pytest --numprocesses=$(TEST_WORKERS) --dist=loadfile --no-loadscope-reorder \
	$(if $(VERBOSE),--durations=10,--no-header)

# `.venv/bin/coverage report --show-missing` says afterwards what no test came by.
test: deps build wheel $(VENV)/ready
	@$(PYTEST) --cov --cov-report=

test-unit: build $(VENV)/ready
	@$(PYTEST) tests/unit

test-slurm: build wheel $(VENV)/ready
	@$(PYTEST) tests/slurm

test-e2e: build wheel $(VENV)/ready
	@$(PYTEST) tests/e2e

test-simulator: deps build $(VENV)/ready
	@$(PYTEST) --cov --cov-config=simulator/tests/coverage.ini --cov-report= simulator/tests

# A Prometheus reads our metrics there: installed, Debian's would serve the network from then on.
PROMETHEUS := build/prometheus
$(PROMETHEUS)/usr/bin/promtool:
	@echo 'unpacking Prometheus in $(PROMETHEUS) (23 MB to download)'
	@sh scripts/unpack_packages.sh $(PROMETHEUS) prometheus prometheus-node-exporter

HAS_PROMETHEUS = $(shell command -v promtool && command -v prometheus && command -v prometheus-node-exporter)
test-tools: APT_PACKAGES += $(SLURM_PACKAGES)
test-tools: deps build wheel $(VENV)/ready $(if $(HAS_PROMETHEUS),,$(PROMETHEUS)/usr/bin/promtool)
	@$(PYTEST) tests/tools

# Needs debootstrap, root and a network. The roots are used again; remove MATRIX_CACHE for new ones.
test-slurm-matrix: $(VENV)/ready-to-build
	@PYTHONPATH=scripts $(VENV)/bin/python -m slurm_matrix --cache '$(MATRIX_CACHE)' \
		--pythons '$(MATRIX_PYTHONS)' $(MATRIX)

# Packages on a clean Debian root, which is kept in build/roots, and on a copy that systemd boots.
test-packages: APT_PACKAGES += debootstrap rpm
test-packages: deps dist $(VENV)/ready
	$(VENV)/bin/pytest tests/packages

# KEEP=1 leaves cluster and simulated site up until `make demo-stop`.
demo: APT_PACKAGES += $(SLURM_PACKAGES)
demo: deps build wheel $(VENV)/ready
	@$(VENV)/bin/python -m loopback.demo $(if $(KEEP),keep,run)

demo-stop:
	@$(VENV)/bin/python -m loopback.demo stop

demo-picture:
	@mkdir -p build
	@$(MAKE) --no-print-directory demo >build/demo.txt
	@$(PYTHON) scripts/demo_picture.py build/demo.txt docs/demo.svg

# The same SOAK_SEED draws the same jobs, faults and kills again.
soak: APT_PACKAGES += $(SLURM_PACKAGES)
soak: deps build wheel $(VENV)/ready
	@$(VENV)/bin/python -m loopback.$(if $(ATTACK),soak_attack,soak $(SOAK_SEED:%=--seed=%)) \
		$(SOAK_JOBS:%=--jobs=%)

# FUZZ_SECONDS for each target; FUZZ_TARGETS names some instead of all.
FUZZ_SECONDS ?= 600
fuzz: APT_PACKAGES += clang libclang-rt-dev
fuzz: deps $(VENV)/ready-to-fuzz
	@$(VENV)/bin/python -m fuzz --seconds $(FUZZ_SECONDS) $(FUZZ_TARGETS)

$(VENV)/ready-to-fuzz: $(VENV)/ready
	@$(call step,venv-fuzz) 'preparing $(VENV): what fuzzing needs' \
		$(PIP) install --no-build-isolation --only-binary atheris \
		--constraint $(VENV)/versions.txt --editable '.[fuzz]' || \
		{ echo "error: no Atheris for $$($(VENV)/bin/python --version): name a Python that it" \
			"has a wheel for, such as PYTHON=python3.11, after make clean" >&2; exit 1; }
	@touch $@

# Their results, and what they have been found with, are kept in mutants/ for the next time.
mutants: build $(VENV)/ready-for-mutants
	@$(VENV)/bin/mutmut run
	@$(VENV)/bin/mutmut results

$(VENV)/ready-for-mutants: $(VENV)/ready
	@$(call step,venv-mutants) 'preparing $(VENV): what mutants need' $(PIP) install \
		--no-build-isolation --constraint $(VENV)/versions.txt --editable '.[mutants]'
	@touch $@

# A part of it (dlopen, instructions, srun, sbatch, qpu, load, monitor) is reported in build/bench.
bench: APT_PACKAGES += $(SLURM_PACKAGES) valgrind
bench: deps build wheel $(VENV)/ready
	@$(VENV)/bin/python -m benchmarks $(BENCH_RUNS:%=--runs=%) \
		$(if $(BENCH),--parts='$(BENCH)' --output=build/bench)

# Only what is missing is installed, so that a prepared machine needs neither root nor a network, and
# nothing is removed for it.
deps:
	@PYTHON='$(PYTHON)' sh scripts/install_missing.sh $(APT_PACKAGES)

clean:
	rm -rf build dist mutants simulator/build $(VENV) *.egg-info simulator/*.egg-info
