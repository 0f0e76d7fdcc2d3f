# shellcheck shell=bash
# shellcheck disable=SC2154  # dir and conf are set there
# Sourced by ../slurm_dev.sh: the directory, its settings, and the daemons' configurations.

longest_directory=60 # a socket's path has 107 characters; SLURM adds up to 45 to the directory
node_cpus=8
node_memory=16000
node_gpus=2

check_directory() {
    [[ $dir =~ ^(/[A-Za-z0-9._-]+)+$ ]] ||
        die 2 "SLURM_DEV_DIR has to be absolute, of plain characters (letters, digits, ._-): $dir"
    ((${#dir} <= longest_directory)) ||
        die 2 "SLURM_DEV_DIR is too long for sockets, ${#dir} of $longest_directory letters: $dir"
}

# /tmp is everybody's: a directory that another user made in advance is not trusted.
open_directory() {
    if [[ -d $dir && ! -e $dir/$marker && -n $(ls -A "$dir") ]]; then
        die 2 "$dir exists and is not a cluster's; SLURM_DEV_DIR names another"
    fi
    mkdir -p "$dir"
    [[ -O $dir && ! -L $dir ]] ||
        die 2 "$dir is a link or another user's; SLURM_DEV_DIR names another"
    chmod 755 "$dir"
    touch "$dir/$marker"
}

# While anything runs, what it was started with holds; else what the environment says now.
choose_settings() {
    if [[ -e $dir/settings ]] && load_settings && anything_up; then
        warn_of_change SLURM_DEV_PORT "$port"
        warn_of_change SLURM_DEV_NODES "$nodes"
        warn_of_change SLURM_DEV_MIN_JOB_AGE "$min_job_age"
        warn_of_change SLURM_DEV_GRACE_TIME "$grace_time"
        warn_of_change SLURM_DEV_CLUSTERS "$clusters"
        warn_of_change SLURM_DEV_PRIVATE "$private"
    else
        port=$(number SLURM_DEV_PORT 17800 1024 65000)
        nodes=$(number SLURM_DEV_NODES 4 1 100)
        min_job_age=$(number SLURM_DEV_MIN_JOB_AGE 10 2 86400)
        grace_time=$(number SLURM_DEV_GRACE_TIME 0 0 3600)
        clusters=$(number SLURM_DEV_CLUSTERS 1 1 2)
        private=$(number SLURM_DEV_PRIVATE 0 0 1)
    fi
}

load_settings() {
    read -r port nodes min_job_age grace_time clusters private <"$dir/settings"
    clusters=${clusters:-1} private=${private:-0} # an earlier version wrote neither
}

warn_of_change() { # VARIABLE IN_FORCE
    [[ -z ${!1:-} || ${!1} == "$2" ]] || say "$1 stays $2 until stop and start"
}

number() { # VARIABLE DEFAULT LOWEST HIGHEST
    local value=${!1:-$2}
    if ! [[ $value =~ ^(0|[1-9][0-9]{0,5})$ ]] || ((value < $3 || value > $4)); then
        die 2 "$1 has to be a number from $3 to $4: $value"
    fi
    echo "$value"
}

all_clusters() { ((clusters == 1)) && echo dev || printf '%s\n' dev dev2; }

all_nodes() {
    local cluster
    for cluster in $(all_clusters); do nodes_of "$cluster"; done
}

nodes_of() { # CLUSTER; those of dev2 are m1, m2...
    local i letter=n
    [[ $1 == dev ]] || letter=m
    for ((i = 1; i <= nodes; i++)); do echo "$letter$i"; done
}

all_daemons() {
    printf '%s\n' munged mariadbd slurmdbd
    all_controllers
    all_nodes
}

all_controllers() {
    local cluster
    for cluster in $(all_clusters); do controller_of "$cluster"; done
}

controller_of() { [[ $1 == dev ]] && echo slurmctld || echo slurmctld2; } # CLUSTER

cluster_of() { # CONTROLLER or NODE
    case $1 in
    slurmctld2 | m[0-9]*) echo dev2 ;;
    *) echo dev ;;
    esac
}

home_of() { # CLUSTER; where its configuration is
    [[ $1 == dev ]] && echo "$dir" || echo "$dir/$1"
}

conf_of() { echo "$(home_of "$(cluster_of "$1")")/slurm.conf"; } # DAEMON

# A command of SLURM's to the cluster that a controller or node belongs to.
at() { # DAEMON COMMAND...
    local its
    its=$(conf_of "$1")
    shift
    SLURM_CONF=$its timeout 10 "$@"
}

port_of() { # DAEMON
    case $1 in
    slurmctld) echo "$port" ;;
    slurmdbd) echo $((port + 1)) ;;
    slurmctld2) echo $((port + 2)) ;;
    n[0-9]*) echo $((port + 10 + ${1#n})) ;;
    m[0-9]*) echo $((port + 10 + nodes + ${1#m})) ;;
    esac
}

write_configurations() {
    local cluster home name
    mkdir -p "$dir/log" "$dir/spool"
    for name in $(all_nodes); do mkdir -p "$dir/spool/$name"; done
    echo "$port $nodes $min_job_age $grace_time $clusters $private" >"$dir/settings"
    mariadb_configuration >"$dir/my.cnf"
    # SLURM refuses to read the database's access from a file that others read.
    (umask 077 && slurmdbd_configuration >"$dir/slurmdbd.conf")
    for cluster in $(all_clusters); do
        home=$(home_of "$cluster")
        mkdir -p "$home/state"
        slurm_configuration "$cluster" >"$home/slurm.conf.new"
        mv "$home/slurm.conf.new" "$home/slurm.conf" # never half of it: users' commands read it, too
        gres_configuration >"$home/gres.conf"
    done
}

# Sizes and flushing for a machine of two cores and a cluster of tests: what is safe is that a
# killed mariadbd loses nothing; a power cut may cost the last second.
mariadb_configuration() {
    cat <<END
[mariadbd]
user = mysql
datadir = $dir/mysql
tmpdir = $dir/mysql-tmp
socket = $dir/mysql/sock
pid-file = $dir/mysql/mariadbd.pid
log-error = $dir/log/mariadbd.log
skip-networking
innodb_buffer_pool_size = 64M
innodb_log_file_size = 32M
innodb_lock_wait_timeout = 900
innodb_flush_log_at_trx_commit = 2
END
}

slurmdbd_configuration() {
    cat <<END
DbdHost=localhost
DbdAddr=127.0.0.1
DbdPort=$(port_of slurmdbd)
SlurmUser=root
AuthType=auth/munge
AuthInfo=socket=$dir/munge.sock
StorageType=accounting_storage/mysql
StorageHost=localhost
StorageUser=root
StorageLoc=slurm_acct_db
PidFile=$dir/slurmdbd.pid
LogFile=$dir/log/slurmdbd.log
END
    ((private == 0)) || echo "PrivateData=jobs"
}

# MaxArraySize 20: indexes 0 to 19. cred_expire: a requeued job waits that long before it starts
# again (120 s by default). TreeWidth: no node passes on messages to others, so that a killed one
# delays only its own. GraceTime 0: a pre-empted job gets SIGTERM, and SIGKILL after KillWait. With
# more, its steps get SIGTERM and the whole job all this only after that time, rounded up by as much
# as 30 s: SLURM looks at these times twice a minute.
slurm_configuration() { # CLUSTER
    local name host controller home
    host=$(uname -n)
    controller=$(controller_of "$1") home=$(home_of "$1")
    cat <<END
ClusterName=$1
SlurmctldHost=${host%%.*}(127.0.0.1)
SlurmctldPort=$(port_of "$controller")
CommunicationParameters=NoCtldInAddrAny,NoInAddrAny
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
CredType=cred/munge
AuthInfo=socket=$dir/munge.sock,cred_expire=5

StateSaveLocation=$home/state
SlurmdSpoolDir=$dir/spool/%n
SlurmctldPidFile=$dir/$controller.pid
SlurmdPidFile=$dir/spool/%n.pid
SlurmctldLogFile=$dir/log/$controller.log
SlurmdLogFile=$dir/log/%n.log
MailProg=/bin/true
MpiDefault=none

ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/linux
PropagateResourceLimits=NONE
SlurmdParameters=config_overrides
TreeWidth=1000
MessageTimeout=10
SlurmdTimeout=15
ReturnToService=2
InactiveLimit=0
CompleteWait=0
KillWait=5
JobRequeue=1
MaxArraySize=20
MinJobAge=$min_job_age

SchedulerType=sched/backfill
SchedulerParameters=sched_interval=1,batch_sched_delay=0,bf_interval=1
PriorityType=priority/basic
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
DefMemPerCPU=500
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
EnforcePartLimits=ALL

AccountingStorageType=accounting_storage/slurmdbd
AccountingStorageHost=127.0.0.1
AccountingStoragePort=$(port_of slurmdbd)
AccountingStoragePass=$dir/munge.sock
AccountingStorageEnforce=associations,limits,qos
AccountingStorageTRES=gres/gpu

GresTypes=gpu
END
    ((private == 0)) || echo "PrivateData=jobs"
    for name in $(nodes_of "$1"); do
        echo "NodeName=$name NodeAddr=127.0.0.1 NodeHostname=${host%%.*} Port=$(port_of "$name")" \
            "CPUs=$node_cpus RealMemory=$node_memory Gres=gpu:$node_gpus"
    done
    cat <<END
PartitionName=DEFAULT Nodes=ALL State=UP MaxTime=1-00:00:00 DefaultTime=00:05:00
PartitionName=batch Default=YES PriorityTier=1 PreemptMode=REQUEUE GraceTime=$grace_time
PartitionName=urgent PriorityTier=10 PreemptMode=OFF
END
}

# GPUs are counted and numbered for jobs (CUDA_VISIBLE_DEVICES), which takes a device each.
gres_configuration() {
    local i
    mkdir -p "$dir/gpus"
    for ((i = 0; i < node_gpus; i++)); do ln -sfn /dev/null "$dir/gpus/gpu$i"; done
    echo "Name=gpu File=$dir/gpus/gpu[0-$((node_gpus - 1))]"
}
