"""What Slurm's commands have printed, in several versions; recorded, cut to what is read."""

from __future__ import annotations

PING_22 = "Slurmctld(primary) at vm is UP\n"
PING_23_BACKUP = "Slurmctld(primary) at head1 is DOWN\nSlurmctld(backup) at head2 is UP\n"
PING_20 = "Slurmctld(primary/backup) at head1/head2 are UP/DOWN\n"

CONFIG_22 = """\
Configuration data as of 2026-11-23T02:24:16
AccountingStorageEnforce = none
AccountingStorageType   = accounting_storage/none
AcctGatherNodeFreq      = 0 sec
ClusterName             = mixedflowtest
EnforcePartLimits       = ALL
JobAcctGatherParams     = OverMemoryKill
Licenses                = (null)
MinJobAge               = 3600 sec
PowerPlugin             =
SlurmctldHost[0]        = vm(127.0.0.1)
SLURM_CONF              = /tmp/slurm/slurm.conf
SLURM_VERSION           = 22.05.8
TaskPlugin              = task/none

Slurmctld(primary) at vm is UP
"""
CONFIG_23 = """\
Configuration data as of 2024-03-01T10:00:00
AccountingStorageEnforce = associations,limits,qos
AccountingStorageType   = accounting_storage/slurmdbd
ClusterName             = hpc
EnforcePartLimits       = NO
JobAcctGatherParams     = (null)
MinJobAge               = 120 sec
SLURM_VERSION           = 23.11.4
TaskPlugin              = task/affinity,task/cgroup

Cgroup Support Configuration:
AllowedRAMSpace         = 100.0%

Slurmctld(primary) at head1 is DOWN
Slurmctld(backup) at head2 is UP
"""

PARTITIONS_22 = """\
PartitionName=main
   AllowGroups=ALL AllowAccounts=ALL AllowQos=ALL
   AllocNodes=ALL Default=YES QoS=N/A
   DefaultTime=00:10:00 DisableRootJobs=NO ExclusiveUser=NO GraceTime=0 Hidden=NO
   MaxNodes=UNLIMITED MaxTime=02:00:00 MinNodes=0 LLN=NO MaxCPUsPerNode=UNLIMITED
   Nodes=n[1-2]
   PriorityJobFactor=1 PriorityTier=1 RootOnly=NO ReqResv=NO OverSubscribe=NO
   OverTimeLimit=NONE PreemptMode=OFF
   State=UP TotalCPUs=8 TotalNodes=2 SelectTypeParameters=NONE
   JobDefaults=(null)
   DefMemPerCPU=500 MaxMemPerNode=UNLIMITED
   TRES=cpu=8,mem=12000M,node=2,billing=8

PartitionName=short
   AllowGroups=ALL AllowAccounts=ALL AllowQos=ALL
   AllocNodes=ALL Default=NO QoS=N/A
   MaxNodes=UNLIMITED MaxTime=00:05:00 MinNodes=0 LLN=NO MaxCPUsPerNode=UNLIMITED
   State=UP TotalCPUs=8 TotalNodes=2 SelectTypeParameters=NONE
   DefMemPerCPU=500 MaxMemPerNode=UNLIMITED
   TRES=cpu=8,mem=12000M,node=2,billing=8
"""
PARTITIONS_23_LINES = (
    "PartitionName=long AllowGroups=ALL AllowAccounts=lab,guests AllowQos=ALL AllocNodes=ALL Default=NO"
    " QoS=N/A DefaultTime=NONE MaxNodes=UNLIMITED MaxTime=7-00:00:00 MinNodes=0 LLN=NO"
    " MaxCPUsPerNode=24 MaxCPUsPerSocket=UNLIMITED Nodes=c[01-40] State=UP TotalCPUs=1280"
    " TotalNodes=40 DefMemPerCPU=2000 MaxMemPerNode=64000 TRES=cpu=1280,mem=5120G,node=40\n"
    "PartitionName=debug AllowGroups=ALL AllowAccounts=ALL Default=YES MaxTime=UNLIMITED"
    " MaxCPUsPerNode=UNLIMITED State=DRAIN TotalNodes=1 MaxMemPerNode=UNLIMITED\n"
)

NODES_22 = "main*|idle|2|4|6000\nshort|idle|2|4|6000\n"
NODES_23 = """\
long|mixed|30|32|128000
long|idle~|4|64|512000+
long|down*|6|32|128000
debug*|drained|1|8|32000
"""

JOBS_22 = """\
2_3|2|PENDING|mixedflow_abc|/home/a/run
2_1|2|RUNNING|mixedflow_abc|/home/a/run
3|3|PENDING|held|/home/a/odd|name
1|1|COMPLETING|mixedflow-fit-3|/home/a/other
"""
