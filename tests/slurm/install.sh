#!/usr/bin/env bash
# See that a Slurm of our own can run here; install Slurm and munge where they are missing and packages
# can be had. Exit code 77, after a line that says why, where that cannot be.
set -uo pipefail
DEFAULT_PLACE=${SLURM_DEFAULT_PLACE:-/etc/slurm/slurm.conf}
PACKAGES=(slurmctld slurmd slurm-client munge)
complete() {
  local tool
  for tool in slurmctld slurmd srun munged; do command -v "$tool" > /dev/null || return 1; done
}
no() { echo "no Slurm tests: $1"; exit 77; }
# A mirror that cannot be reached is given up after seconds; nothing of the packages is started.
apt() {
  RUNLEVEL=1 DEBIAN_FRONTEND=noninteractive timeout --kill-after=10 "$1" apt-get -qq \
    -o Acquire::http::Timeout=10 -o Acquire::https::Timeout=10 -o Acquire::Retries=1 \
    -o DPkg::Lock::Timeout=60 "${@:2}" < /dev/null > /dev/null 2>&1
}

# the file stands at the tools' default place, munged takes keys of its own user alone
[ "$(id -u)" = 0 ] || no "they put a file at $DEFAULT_PLACE, which only root can"
if ! complete; then
  command -v apt-get > /dev/null || no "slurmctld, slurmd, srun or munged is missing, and there is no apt-get"
  echo "installing ${PACKAGES[*]}"
  # lists that are there already may do, and old ones may be replaced
  apt 180 install --yes --no-install-recommends "${PACKAGES[@]}" \
    || { apt 120 update && apt 300 install --yes --no-install-recommends "${PACKAGES[@]}"; } \
    || no "the packages ${PACKAGES[*]} cannot be had"
  complete || no "the packages were installed and have no slurmctld, slurmd, srun or munged"
fi
if [ -e "$DEFAULT_PLACE" ] || [ -L "$DEFAULT_PLACE" ]; then
  case $(readlink "$DEFAULT_PLACE") in
    */mixedflow-slurm/slurm/slurm.conf) ;; # left by a run that was killed
    *) no "there is a $DEFAULT_PLACE already, so this machine has a Slurm of its own" ;;
  esac
fi
exit 0
