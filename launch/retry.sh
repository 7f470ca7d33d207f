# shellcheck shell=bash
# Sourced by slurm.sbatch and mpirun.sh: what an exit code of train.py means to its launcher.
#
#   0    done, or stopped on request after saving: final
#   1    training failed: final                2    bad input: final
#   75   a peer, the network or a disk failed: retry; so it is after a stop before the last step
#        where AIGC_STOPPED_EXIT_CODE=75 says so
#   134  JAX missed a peer's heartbeat, 137 killed (memory, preemption), 143 and other signals: retry
#   130  Ctrl-C: final

MAX_RESTARTS=${MAX_RESTARTS:-20}

# worth_a_retry CODE: whether the same command should be started again.
worth_a_retry() {
  (($1 == 75 || $1 > 128)) && (($1 != 130))
}
