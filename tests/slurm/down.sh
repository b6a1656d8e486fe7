#!/usr/bin/env bash
# Stop what up.sh started in FOLDER, by the recorded pids and nothing else.
#   down.sh FOLDER
set -uo pipefail
D=$(cd "$1" && pwd) || exit 1
DEFAULT_PLACE=/etc/slurm/slurm.conf
export SLURM_CONF="$D/slurm.conf"
DAEMONS=(slurmd.n1 slurmd.n2 slurmctld munged)

# The recorded process, if it is still the one that was started and not another with its number.
pid_of() {
  local file="$D/pid/$1.pid" pid
  [ -s "$file" ] && pid=$(cat "$file") && [ "$(cat "/proc/$pid/comm" 2> /dev/null)" = "${1%%.*}" ] && echo "$pid"
}
running() { local name; for name in "${DAEMONS[@]}"; do pid_of "$name" > /dev/null && return 0; done; return 1; }
stopped() { ! running; }
# seconds, then a command that is tried until it holds
wait_until() {
  local until=$((SECONDS + $1))
  shift
  until "$@"; do
    [ "$SECONDS" -lt "$until" ] || return 1
    sleep 0.1
  done
}
no_jobs() { local left; left=$(timeout 5 squeue -h -t PENDING,RUNNING,COMPLETING 2> /dev/null) && [ -z "$left" ]; }
signalled() { local name pid; for name in "${DAEMONS[@]}"; do pid=$(pid_of "$name") && kill "-$1" "$pid" 2> /dev/null; done; }

if pid_of slurmctld > /dev/null; then
  timeout 10 scancel --state=PENDING 2> /dev/null
  timeout 10 scancel --state=RUNNING 2> /dev/null
  wait_until 30 no_jobs
fi
code=0
signalled TERM
wait_until 20 stopped || { signalled KILL; wait_until 5 stopped; } || code=1
[ "$(readlink "$DEFAULT_PLACE")" = "$D/slurm.conf" ] && rm -f "$DEFAULT_PLACE"
[ $code = 0 ] || echo "still running: $(cd "$D/pid" && echo *.pid)" >&2
exit $code
