#!/usr/bin/env bash
# Install Slurm and munge where they are missing and packages can be had; otherwise say so and exit 77.
set -euo pipefail
complete() { command -v slurmctld slurmd srun munged > /dev/null; }
no() { echo "no Slurm tests: $1"; exit 77; }
complete && exit 0
command -v apt-get > /dev/null || no "slurmctld, slurmd, srun or munged is missing, and there is no apt-get"
[ "$(id -u)" = 0 ] || no "slurmctld, slurmd, srun or munged is missing, and only root can install them"
export DEBIAN_FRONTEND=noninteractive
{ apt-get -qq update && apt-get -qq install --yes --no-install-recommends slurmctld slurmd slurm-client munge; } \
  > /dev/null 2>&1 || no "the packages slurmctld, slurmd, slurm-client, munge cannot be had"
complete || no "the packages were installed and have no slurmctld, slurmd, srun or munged"
