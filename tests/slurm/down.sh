#!/usr/bin/env bash
# Stop what up.sh started in FOLDER, by the recorded pids and nothing else.
#   down.sh FOLDER
set -uo pipefail
D=$(cd "$1" && pwd)
DEFAULT_PLACE=/etc/slurm/slurm.conf
export SLURM_CONF="$D/slurm.conf"
running() { for file in "$D"/pid/*.pid; do [ -s "$file" ] && kill -0 "$(cat "$file")" 2>/dev/null && return 0; done; return 1; }
wait_until() { for _ in $(seq 1 100); do "$@" && return 0; sleep 0.1; done; return 1; }
no_jobs() { [ -z "$(timeout 5 squeue -h -t PENDING,RUNNING,COMPLETING 2>/dev/null)" ]; }

timeout 10 scancel --state=PENDING 2>/dev/null
timeout 10 scancel --state=RUNNING 2>/dev/null
wait_until no_jobs
for name in slurmd.n1 slurmd.n2 slurmctld munged; do
  file="$D/pid/$name.pid"
  [ -s "$file" ] && kill "$(cat "$file")" 2>/dev/null
done
stopped() { ! running; }
wait_until stopped
code=$?
[ "$(readlink "$DEFAULT_PLACE")" = "$D/slurm.conf" ] && rm -f "$DEFAULT_PLACE"
[ $code = 0 ] || echo "still running: $(cd "$D/pid" && echo *.pid)" >&2
exit $code
