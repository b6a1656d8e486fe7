#!/usr/bin/env bash
# Start a Slurm of two nodes on the loopback of this machine, everything under one folder, no systemd.
#   up.sh FOLDER
# Afterwards SLURM_CONF=FOLDER/slurm.conf; down.sh FOLDER stops it by the pids recorded there.
set -euo pipefail
D=$(mkdir -p "$1" && cd "$1" && pwd)
HOST=$(hostname -s)
free() { local port; for port in "$@"; do ! (: > "/dev/tcp/127.0.0.1/$port") 2> /dev/null || return 1; done; }
PORT=${SLURM_TEST_PORT:-26917}
until free "$PORT" $((PORT + 11)) $((PORT + 12)); do PORT=$((PORT + 20)); done
NODES=2
DEFAULT_PLACE=/etc/slurm/slurm.conf
mkdir -p "$D"/{state,log,pid,munge,spool/n1,spool/n2}
chmod 0755 "$D"
chmod 0700 "$D/munge"

dd if=/dev/urandom of="$D/munge/key" bs=1 count=1024 status=none
chmod 0400 "$D/munge/key"
munged --force --key-file="$D/munge/key" --socket="$D/munge.sock" --pid-file="$D/pid/munged.pid" \
  --log-file="$D/log/munged.log" --seed-file="$D/munge/seed"

# OverMemoryKill: memory limits without cgroups. EnforcePartLimits: what can never run is refused.
cat > "$D/slurm.conf" <<CONF
ClusterName=mixedflowtest
SlurmctldHost=$HOST(127.0.0.1)
SlurmctldPort=$PORT
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket=$D/munge.sock
CredType=cred/munge
CommunicationParameters=NoCtldInAddrAny,NoInAddrAny
StateSaveLocation=$D/state
SlurmdSpoolDir=$D/spool/%n
SlurmctldPidFile=$D/pid/slurmctld.pid
SlurmdPidFile=$D/pid/slurmd.%n.pid
SlurmctldLogFile=$D/log/slurmctld.log
SlurmdLogFile=$D/log/slurmd.%n.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SwitchType=switch/none
MpiDefault=none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU_Memory
SchedulerType=sched/backfill
SchedulerParameters=sched_interval=1,bf_interval=2,batch_sched_delay=0,defer_batch
AccountingStorageType=accounting_storage/none
EnforcePartLimits=ALL
JobAcctGatherType=jobacct_gather/linux
JobAcctGatherFrequency=task=1
JobAcctGatherParams=OverMemoryKill
JobCompType=jobcomp/filetxt
JobCompLoc=$D/log/jobcomp.txt
SlurmdParameters=config_overrides
ReturnToService=2
MinJobAge=3600
KillWait=5
InactiveLimit=0
NodeName=n1 NodeHostname=$HOST NodeAddr=127.0.0.1 Port=$((PORT + 11)) CPUs=4 RealMemory=6000
NodeName=n2 NodeHostname=$HOST NodeAddr=127.0.0.1 Port=$((PORT + 12)) CPUs=4 RealMemory=6000
PartitionName=main Nodes=ALL Default=YES MaxTime=02:00:00 DefaultTime=00:10:00 DefMemPerCPU=500
PartitionName=short Nodes=ALL MaxTime=00:05:00 DefaultTime=00:01:00 DefMemPerCPU=500
CONF

# The workflow's job steps drop SLURM_CONF before their own srun: the file must also stand where the
# tools look by themselves.
if [ -e "$DEFAULT_PLACE" ] || [ -L "$DEFAULT_PLACE" ]; then
  echo "there is a $DEFAULT_PLACE already: this machine has a Slurm of its own" >&2
  exit 1
fi
mkdir -p "$(dirname "$DEFAULT_PLACE")"
ln -s "$D/slurm.conf" "$DEFAULT_PLACE"

export SLURM_CONF="$D/slurm.conf"
slurmctld -f "$SLURM_CONF"
for node in n1 n2; do slurmd -f "$SLURM_CONF" -N "$node"; done
until=$((SECONDS + 90))
while [ "$SECONDS" -lt "$until" ]; do
  up=$(timeout 10 sinfo -h -p main -t idle -o %D 2> /dev/null || true)
  [ "${up:-0}" = "$NODES" ] && exit 0
  sleep 0.2
done
echo "Slurm did not come up" >&2
tail -n 20 "$D"/log/*.log >&2
exit 1
