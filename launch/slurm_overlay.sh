#!/usr/bin/env bash
# Runs a command in a one-node SLURM cluster that leaves nothing behind.
#
#   launch/slurm_overlay.sh sbatch --wait launch/slurm.sbatch --config=... --workdir=...
#   launch/slurm_overlay.sh launch/mpirun.sh -n 2 --config=... --workdir=...
#   launch/slurm_overlay.sh bash                             # to look around
#
# Needs root on a Debian or Ubuntu whose apt reaches a package archive. It installs SLURM, munge and
# Open MPI into an overlay over / whose upper layer is memory, in mount, process, host-name and
# network namespaces of its own: when the command ends, all of it is gone. The current folder and
# /tmp stay those of the machine, everything else is a copy on write. The node calls itself
# "node0", reaches no network, and offers NODE_CPUS (default 4) however many cores there are. Jobs of
# the partition "urgent" preempt the others.
#
# Exit code: that of the command; 125 when the overlay or the cluster could not be set up.
#
# Tested: run for real as root on Debian 12 (SLURM 22.05.8, Open MPI 4.1.4, munge 0.5.15) on a machine
# of 2 cores by tests/test_slurm.py. Not tested on Ubuntu.
set -euo pipefail

PACKAGES=(slurmctld slurmd slurm-client munge openmpi-bin)
NODE_CPUS=${NODE_CPUS:-4}
ADDRESS=10.77.0.1

fail() {
  echo "slurm_overlay: $*" >&2
  exit 125
}

# Stage 1, on the machine: into namespaces of our own, where stage 2 is process 1.
outside() {
  (($# > 0)) || fail "give a command to run, e.g. launch/slurm_overlay.sh sinfo"
  ((EUID == 0)) || fail "needs root to mount an overlay and to install packages"
  command -v apt-get >/dev/null || fail "needs apt-get"
  SLURM_OVERLAY_STAGE=mount exec unshare --mount --uts --pid --fork --kill-child --mount-proc \
    -- "$SELF" "$@"
}

# Stage 2: the overlay becomes /.
enter_overlay() {
  local layers=/mnt mount
  mount -t tmpfs tmpfs "$layers"
  mkdir "$layers"/{upper,work,root}
  local options="lowerdir=/,upperdir=$layers/upper,workdir=$layers/work"
  mount -t overlay overlay -o "$options" "$layers/root" || fail "this kernel mounts no overlay here"
  for mount in /proc /sys /dev /tmp "${TMPDIR:-/tmp}" "$PWD"; do
    mkdir -p "$layers/root$mount"
    mount --rbind "$mount" "$layers/root$mount"
  done
  mount -t tmpfs tmpfs "$layers/root/run"
  hostname node0
  SLURM_OVERLAY_STAGE=install exec chroot "$layers/root" "$SELF" "$PWD" "$@"
}

install_packages() {
  local log=/var/log/slurm_overlay.log
  # Services must not start by themselves: there is no init here.
  printf '#!/bin/sh\nexit 101\n' >/usr/sbin/policy-rc.d
  chmod +x /usr/sbin/policy-rc.d
  export DEBIAN_FRONTEND=noninteractive
  if ! { apt-get update && apt-get install -y --no-install-recommends "${PACKAGES[@]}"; } \
    >"$log" 2>&1 </dev/null; then
    tail -5 "$log" >&2
    fail "apt-get could not install ${PACKAGES[*]}"
  fi
}

# The controller and the node run as root; cred_expire is how long a requeued job has to wait.
write_configuration() {
  cat >/etc/slurm/slurm.conf <<CONF
ClusterName=overlay
SlurmctldHost=node0
SlurmUser=root
AuthType=auth/munge
AuthInfo=cred_expire=10
StateSaveLocation=/var/spool/slurmctld
SlurmdSpoolDir=/var/spool/slurmd
SlurmctldPidFile=/run/slurmctld.pid
SlurmdPidFile=/run/slurmd.pid
SlurmctldLogFile=/var/log/slurmctld.log
SlurmdLogFile=/var/log/slurmd.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
SlurmdParameters=config_overrides
ReturnToService=2
KillWait=10
SchedulerParameters=batch_sched_delay=0,sched_min_interval=0
NodeName=node0 CPUs=$NODE_CPUS State=UNKNOWN
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
PartitionName=all Nodes=ALL Default=YES MaxTime=INFINITE State=UP PriorityTier=1 GraceTime=600
PartitionName=urgent Nodes=ALL MaxTime=INFINITE State=UP PriorityTier=2
CONF
  mkdir -p /var/spool/slurmctld /var/spool/slurmd
  printf '127.0.0.1 localhost\n%s node0\n' "$ADDRESS" >/etc/hosts
}

# Stage 3: packages come over the machine's network, the cluster runs without it.
install_stage() {
  local folder=$1
  shift
  install_packages
  write_configuration
  cd "$folder"
  SLURM_OVERLAY_STAGE=cluster exec unshare --net -- "$SELF" "$@"
}

start_cluster() {
  ip link set lo up
  # Neither SLURM nor Open MPI is content with a loopback device alone.
  ip link add node0 type veth peer name nowhere
  ip address add "$ADDRESS/24" dev node0
  ip link set nowhere up
  ip link set node0 up
  mkdir -p /run/munge
  chown munge: /run/munge
  [[ -s /etc/munge/munge.key ]] || head -c 1024 /dev/urandom >/etc/munge/munge.key
  chown munge: /etc/munge/munge.key
  chmod 400 /etc/munge/munge.key
  setpriv --reuid=munge --regid=munge --clear-groups munged
  slurmctld
  slurmd
  local attempt
  for ((attempt = 0; attempt < 100; attempt++)); do
    [[ $(timeout 2 sinfo --noheader --format=%T 2>/dev/null) == idle ]] && return
    sleep 0.2
  done
  tail -5 /var/log/slurmctld.log /var/log/slurmd.log >&2
  fail "the cluster did not start within 20 s"
}

SELF=$(realpath "${BASH_SOURCE[0]}")
case ${SLURM_OVERLAY_STAGE:-} in
  "") outside "$@" ;;
  mount) enter_overlay "$@" ;;
  install) install_stage "$@" ;;
  cluster)
    unset SLURM_OVERLAY_STAGE
    start_cluster
    "$@"
    ;;
esac
