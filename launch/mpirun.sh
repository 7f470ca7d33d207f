#!/usr/bin/env bash
# Trains in several processes under Open MPI, and starts them again after failures worth a retry.
#
#   launch/mpirun.sh -n 2 --config=configs/gan_mnist.py --workdir=runs/x
#   launch/mpirun.sh -n 16 --hostfile hosts --map-by ppr:8:node --config=... --workdir=...
#
# What comes before --config goes to mpirun, the rest to train.py. Run it from the root of the
# repository; on several hosts this folder, the Python environment (PYTHON=..., default python), the
# workdir and the data must be in the same place on all of them. Of the environment, variables of
# JAX, XLA, NCCL and aigc_jax are passed on. On a machine with GPUs every process takes one.
#
# Ctrl-C or SIGTERM to this script: all processes save and leave. Restarts: MAX_RESTARTS (default
# 20), WAIT_SECONDS (default 10) apart; retry.sh says after which exit codes.
#
# Tested: run for real with Open MPI 4.1.4, two processes on one machine (tests/test_slurm.py).
# Not tested: several hosts, GPUs, Open MPI 5.
set -euo pipefail

[[ -f train.py && -f launch/retry.sh ]] || {
  echo "mpirun.sh: run it from the root of the repository" >&2
  exit 2
}
# shellcheck source=launch/retry.sh
source launch/retry.sh

# XLA has threads of its own, so processes are not bound to a core.
options=(--bind-to none)
((EUID != 0)) || options+=(--allow-run-as-root)
while IFS= read -r name; do
  options+=(-x "$name")
done < <(compgen -e | grep -E '^(JAX|XLA|NCCL|AIGC)_|^PYTHONPATH$' || true)
while (($# > 0)) && [[ $1 != --config* ]]; do
  options+=("$1")
  shift
done

# At a SIGTERM mpirun kills its processes after a second, before they have saved. SIGUSR1 it just hands
# on to whole process groups; what every process runs makes it a SIGTERM to train.py alone. A signal
# interrupts `wait`.
# shellcheck disable=SC2016
TASK='
(trap "" USR1; exec "$@") &
child=$!
trap "asked=yes; kill -TERM $child" USR1
while asked="" code=0; do
  wait "$child" || code=$?
  [[ -n $asked ]] || exit "$code"
done'

stopping=""
asked=""
stop() {
  stopping=yes
  asked=yes
  kill -USR1 "$child" 2>/dev/null || true
}

# run ...: the exit code of one mpirun, which has a session of its own, out of Ctrl-C's reach.
run() {
  local code
  setsid mpirun "${options[@]}" bash -c "$TASK" train "${PYTHON:-python}" train.py "$@" &
  child=$!
  trap stop INT TERM
  while asked="" code=0; do
    wait "$child" || code=$?
    [[ -n $asked ]] || break
  done
  trap - INT TERM
  return "$code"
}

for ((restarts = 0; ; restarts++)); do
  code=0
  run "$@" || code=$?
  [[ -z $stopping ]] || exit "$code"
  worth_a_retry "$code" || exit "$code"
  echo "mpirun.sh: left with $code after restart $restarts of at most $MAX_RESTARTS" >&2
  ((restarts < MAX_RESTARTS)) || exit "$code"
  sleep "${WAIT_SECONDS:-10}"
done
