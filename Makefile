# make train      trains the default config on real digits and samples 64 pictures
# make test       what every change must pass
# make test-slow  the rest
# make lint       style
# make bench      our speed beside PyTorch's on a CPU, at most 15 minutes on 2 cores
# PYTHON is the interpreter that .venv is made with, PYTEST_ARGS is handed to pytest.
PYTHON ?= python3
PYTEST_ARGS ?=
VENV := .venv/bin/python
OLD := %s is Python %d.%d, 3.11 or newer is needed; name one with make PYTHON=...
CHECK := import sys; v = sys.version_info; v >= (3, 11) or sys.exit("$(OLD)" % (sys.argv[1], v[0], v[1]))

# Most of the tests' time went into LLVM's optimisation of programs that run once; the slow ones keep it.
UNOPTIMISED := --xla_backend_optimization_level=0 --xla_llvm_disable_expensive_passes=true

.PHONY: train test test-slow lint bench
.NOTPARALLEL:

train: .venv/requirements.installed
	$(VENV) train.py --config=configs/gan_digits.py --workdir=runs/gan_digits
	$(VENV) sample.py --workdir=runs/gan_digits --num=64 --seed=1 --out=generated_images

test: .venv/requirements-test.installed
	XLA_FLAGS="$(UNOPTIMISED)" $(VENV) -m pytest -n 2 -m "not slow" $(PYTEST_ARGS)

test-slow: .venv/requirements-test.installed
	$(VENV) -m pytest -m slow $(PYTEST_ARGS)

lint: .venv/requirements-test.installed
	$(VENV) -m ruff check .
	$(VENV) -m ruff format --check .

bench: .venv/requirements-bench.installed
	$(VENV) -m benchmarks.speed --suite=bench --rounds=5

# requirements-test.txt and requirements-bench.txt include requirements.txt.
.venv/%.installed: %.txt requirements.txt
	@$(PYTHON) -c '$(CHECK)' $(PYTHON)
	test -x .venv/bin/pip || $(PYTHON) -m venv .venv
	$(VENV) -m pip install -r $<
	touch $@
