#!/usr/bin/env bash
# A real SLURM cluster on one machine, from Debian's packages, for developers and CI.
#
#     tools/slurm_dev.sh install            the packages, quietly; starts no service
#     eval "$(tools/slurm_dev.sh start)"    starts what is not up; prints `export SLURM_CONF=...`
#     tools/slurm_dev.sh status             a line per daemon, the nodes; 0 if all is up, else 1
#     tools/slurm_dev.sh env [CLUSTER]      prints `export SLURM_CONF=...` again
#     tools/slurm_dev.sh stop [--purge]     ends everything; the queue and the accounts stay for
#                                           the next start, unless purged with the directory
#     tools/slurm_dev.sh kill-node NAME     SIGKILL to a node's slurmd and to all its jobs
#     tools/slurm_dev.sh start-node NAME    that slurmd again, and the node back in service
#     tools/slurm_dev.sh restart-controller [KILL|TERM [CLUSTER]]
#                                           ends slurmctld, by SIGKILL if none is named, and
#                                           starts it again. It saves its state every 5 to 15 s:
#                                           KILL loses what came after, TERM loses nothing
#
# A second cluster, dev2 with nodes m1, m2..., has the same slurmdbd: `sbatch -M dev2`, `squeue -M`.
# munged, mariadbd, slurmdbd, slurmctld and one slurmd per node keep all their files (log/ among
# them) in one directory and touch nothing of the system's. Needs root, no systemd.
# Exit codes: 0 done, 1 a daemon fails or is down, 2 misuse or something is missing.
#
# Read from the environment, all optional, by the start that finds nothing running:
#     SLURM_DEV_DIR          /tmp/slurm-dev; every verb reads it. Short: sockets are in it
#     SLURM_DEV_PORT         17800: slurmctld; 17801: slurmdbd; 17802: slurmctld of dev2;
#                            17811, 17812...: nodes n1, n2..., then those of dev2
#     SLURM_DEV_NODES        4, of 8 CPUs, 16000 MB and 2 GPUs each, all made up
#     SLURM_DEV_MIN_JOB_AGE  10: seconds after which scontrol forgets a job that ended
#     SLURM_DEV_GRACE_TIME   0: the GraceTime of batch, see slurm_dev/settings.sh
#     SLURM_DEV_CLUSTERS     1; 2: dev2, too, with as many nodes
#     SLURM_DEV_PRIVATE      0; 1: users see only their own jobs (PrivateData=jobs)
# shellcheck source-path=SCRIPTDIR
set -euo pipefail
umask 022

here=${BASH_SOURCE[0]%"${BASH_SOURCE[0]##*/}"}slurm_dev # beside this, wherever it is called from
dir=${SLURM_DEV_DIR:-/tmp/slurm-dev}
conf=$dir/slurm.conf
marker=.slurm-dev # says that a directory is this tool's, to use and to purge
verbs="install start stop status env kill-node start-node restart-controller"
packages="slurm-wlm munge slurmdbd mariadb-server"

say() { printf 'slurm_dev: %s\n' "$*" >&2; }

die() { # EXIT_CODE WORDS...
    local code=$1
    shift
    say "$@"
    exit "$code"
}

# shellcheck source=slurm_dev/settings.sh
source "$here/settings.sh"
# shellcheck source=slurm_dev/processes.sh
source "$here/processes.sh"
# shellcheck source=slurm_dev/daemons.sh
source "$here/daemons.sh"

need_root() {
    # Daemons become other users, and only root reads whose processes are whose.
    ((EUID == 0)) || die 2 "needs root"
}

missing_program() { # prints the first one, or nothing
    local program
    for program in munged mariadbd mariadb-install-db slurmdbd slurmctld slurmd sacctmgr; do
        command -v "$program" >/dev/null || {
            echo "$program"
            return
        }
    done
}

need_packages() {
    local program
    program=$(missing_program)
    [[ -z $program ]] || die 2 "$program is missing: apt-get install -y $packages"
}

need_cluster() {
    [[ -e $conf ]] || die 1 "no cluster in $dir: tools/slurm_dev.sh start"
}

# One start, stop or restart at a time in a directory; two users' starts meet in tests.
lock() {
    exec 9>"$dir/lock"
    flock -w 120 9 || die 1 "another slurm_dev.sh has held $dir/lock for over 120 s"
    [[ $dir/lock -ef /proc/self/fd/9 ]] || die 1 "$dir was purged meanwhile; try again"
}

verb_install() {
    local blocked=/usr/sbin/policy-rc.d
    if [[ -z $(missing_program) ]]; then
        say "installed already"
        return
    fi
    need_root
    # Debian's way of telling packages not to start their services; removed again.
    if [[ ! -e $blocked ]]; then
        trap 'rm -f /usr/sbin/policy-rc.d' EXIT
        printf '#!/bin/sh\nexit 101\n' >"$blocked"
        chmod +x "$blocked"
    fi
    apt_quietly update || die 1 "apt-get update failed, see above"
    # shellcheck disable=SC2086  # a list
    apt_quietly install -y --no-install-recommends $packages ||
        die 1 "apt-get install failed, see above"
}

apt_quietly() { # its output only where it fails
    local output
    output=$(DEBIAN_FRONTEND=noninteractive apt-get -qq "$@" 2>&1) || {
        printf '%s\n' "$output" >&2
        return 1
    }
}

verb_start() {
    local name down=()
    need_packages
    need_root
    open_directory
    lock
    choose_settings
    write_configurations
    for name in $(all_daemons); do
        is_up "$name" || down+=("$name")
    done
    check_ports "${down[@]}"
    start_daemons
    if ((${#down[@]})); then
        say "started ${down[*]}; logs in $dir/log"
    else
        say "up already; logs in $dir/log"
    fi
    verb_env
}

verb_stop() {
    [[ -z ${1:-} || $1 == --purge ]] || die 2 "stop [--purge]"
    need_root
    if [[ ! -e $dir/$marker ]]; then
        say "nothing to stop in $dir"
        return
    fi
    lock
    # Not there where a start refused its settings.
    if [[ -e $dir/settings ]]; then
        load_settings
        stop_daemons
    fi
    if [[ ${1:-} == --purge ]]; then
        rm -rf -- "$dir"
    fi
}

verb_status() {
    local name pids code=0
    need_root
    need_cluster
    load_settings
    for name in $(all_daemons); do
        pids=$(pids_of "$name")
        if [[ -n $pids ]]; then
            echo "$name up, pid ${pids%%$'\n'*}"
        else
            echo "$name down"
            code=1
        fi
    done
    if is_up slurmctld; then
        timeout 15 sinfo -o '%9P %5a %11l %6D %10T %10N %E' || code=1
    fi
    if is_up slurmctld2; then
        at slurmctld2 sinfo -o 'dev2: %9P %5a %11l %6D %10T %10N %E' || code=1
    fi
    return "$code"
}

verb_env() { # [CLUSTER]
    need_cluster
    load_settings
    need_name "${1:-dev}"
    echo "export SLURM_CONF=$(home_of "${1:-dev}")/slurm.conf"
}

need_name() { # CLUSTER
    all_clusters | grep -qxF -- "$1" || die 2 "which cluster? One of: $(all_clusters | tr '\n' ' ')"
}

need_node() { # NAME
    local name
    need_root
    need_cluster
    load_settings
    for name in $(all_nodes); do
        [[ $name != "${1:-}" ]] || return 0
    done
    die 2 "which node? One of: $(all_nodes | tr '\n' ' ')"
}

verb_kill-node() {
    need_node "$@"
    kill_node "$1"
}

verb_start-node() {
    need_node "$@"
    lock
    start_node "$1"
}

verb_restart-controller() { # [KILL or TERM [CLUSTER]]
    local controller
    [[ ${1:-KILL} =~ ^(KILL|TERM)$ ]] || die 2 "restart-controller [KILL|TERM [CLUSTER]]"
    need_root
    need_cluster
    lock
    load_settings
    need_name "${2:-dev}"
    controller=$(controller_of "${2:-dev}")
    end "${1:-KILL}" "$controller"
    start_slurmctld "$controller"
}

main() {
    local known verb=${1:-}
    for known in $verbs; do
        [[ $known != "$verb" ]] || break
    done
    [[ $known == "$verb" ]] || die 2 "${verb:-no verb}: not one of $verbs"
    # `su` without a dash keeps a user's PATH, where Debian has no sbin.
    case ":$PATH:" in *:/usr/bin:*) PATH=$PATH:/usr/sbin:/sbin ;; esac
    check_directory
    shift
    export SLURM_CONF=$conf
    "verb_$verb" "$@"
}

main "$@"
