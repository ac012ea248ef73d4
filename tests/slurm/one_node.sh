#!/usr/bin/env bash
# Runs a Slurm of one node for tests, in one folder and on the loopback interface, independent of any
# other Slurm. Usage: one_node.sh install | start FOLDER | stop FOLDER
set -euo pipefail
say() { echo "slurm-test: $*" >&2; }
folder=${2:-}
case "${1:-}" in
install)
    command -v slurmctld >/dev/null && command -v slurmd >/dev/null && command -v munged >/dev/null && exit 0
    command -v apt-get >/dev/null || { say "Slurm is not installed, and apt-get is not available to install it"; exit 1; }
    as_root=""
    if [ "$(id -u)" != 0 ]; then
        command -v sudo >/dev/null || { say "installing Slurm needs root: apt-get install slurm-wlm munge"; exit 1; }
        as_root=sudo
    fi
    $as_root apt-get update -qq
    # the tests start their own services
    DEBIAN_FRONTEND=noninteractive $as_root apt-get install -y -qq --no-install-recommends slurm-wlm munge >/dev/null
    ;;
start)
    host=$(hostname -s)
    mkdir -p "$folder"/{spool,state}
    chmod 755 "$folder"
    head -c 1024 /dev/urandom > "$folder/munge.key"
    chmod 400 "$folder/munge.key"
    read -r controller daemon < <(python3 - <<'PY'
import socket
free = [socket.socket() for _ in range(2)]
for one in free:
    one.bind(("127.0.0.1", 0))
print(*(one.getsockname()[1] for one in free))
PY
    )
    memory=$(awk '/MemTotal/ {print int($2 / 1024 * 0.9)}' /proc/meminfo)
    cat > "$folder/slurm.conf" <<CONF
ClusterName=test
SlurmctldHost=$host(127.0.0.1)
SlurmUser=$(id -un)
SlurmdUser=$(id -un)
AuthType=auth/munge
AuthInfo=socket=$folder/munge.socket
CredType=cred/munge
SlurmctldPort=$controller
SlurmdPort=$daemon
SlurmctldPidFile=$folder/slurmctld.pid
SlurmdPidFile=$folder/slurmd.pid
SlurmctldLogFile=$folder/slurmctld.log
SlurmdLogFile=$folder/slurmd.log
StateSaveLocation=$folder/state
SlurmdSpoolDir=$folder/spool
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
JobCompType=jobcomp/filetxt
JobCompLoc=$folder/done.log
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
SchedulerType=sched/backfill
SchedulerParameters=batch_sched_delay=0,sched_min_interval=50000
MaxArraySize=1001
MinJobAge=300
ReturnToService=2
KillWait=2
MpiDefault=none
SwitchType=switch/none
NodeName=$host NodeAddr=127.0.0.1 CPUs=$(nproc) RealMemory=$memory State=UNKNOWN
PartitionName=test Nodes=$host Default=YES MaxTime=INFINITE State=UP DefMemPerCPU=1024
CONF
    export SLURM_CONF=$folder/slurm.conf PATH=$PATH:/usr/sbin
    munged --force --key-file="$folder/munge.key" --socket="$folder/munge.socket" \
        --pid-file="$folder/munged.pid" --log-file="$folder/munged.log" --seed-file="$folder/munge.seed" \
        || { say "munged does not start; see $folder/munged.log"; exit 1; }
    slurmctld -c -f "$SLURM_CONF" || { say "slurmctld does not start; see $folder/slurmctld.log"; exit 1; }
    slurmd -f "$SLURM_CONF" -N "$host" || { say "slurmd does not start; see $folder/slurmd.log"; exit 1; }
    for _ in $(seq 150); do
        if sinfo -h -o %t 2>/dev/null | grep -qx idle; then exit 0; fi
        sleep .1
    done
    say "the node is not idle after 15 s: this machine cannot run Slurm's services; see $folder/slurmctld.log and slurmd.log"
    exit 1
    ;;
stop)
    # end jobs of failed tests, which would outlive the services
    SLURM_CONF=$folder/slurm.conf timeout 10 scancel --user="$(id -un)" 2>/dev/null && sleep 3 || true
    for name in slurmd slurmctld munged; do
        if [ -s "$folder/$name.pid" ]; then
            pid=$(cat "$folder/$name.pid")
            kill "$pid" 2>/dev/null || true
            for _ in $(seq 100); do
                if ! kill -0 "$pid" 2>/dev/null; then break; fi
                sleep .1
            done
        fi
    done
    ;;
*)
    say "usage: one_node.sh install | start FOLDER | stop FOLDER"
    exit 2
    ;;
esac
