# shellcheck shell=bash
# shellcheck disable=SC2154  # dir and conf are set there
# Sourced by ../slurm_dev.sh: which processes are the cluster's, starting and ending them.
#
# A daemon is found by what it was started with (/proc/PID/environ), not by a pid file: those go
# stale when a daemon is killed or the machine restarts, and another process gets the number.

pids_of() { # DAEMON; prints nothing where it is down
    local pid program
    program=$(program_of "$1")
    for pid in $(pids_with "SLURM_DEV_DAEMON=$dir:$1"); do
        [[ $(cat "/proc/$pid/comm" 2>/dev/null) != "$program" ]] || echo "$pid"
    done
}

program_of() { # DAEMON
    case $1 in
    [nm][0-9]*) echo slurmd ;;
    slurmctld*) echo slurmctld ;;
    *) echo "$1" ;;
    esac
}

pids_with() { # NAME=VALUE, in a process's environment
    # Processes end while this reads: no complaint about those.
    { grep -lzxF -- "$1" /proc/[0-9]*/environ 2>/dev/null || true; } | grep -o '[0-9]*' || true
}

# What a node's slurmd left behind: first its slurmstepds, which would report what ends after them,
# then the processes of jobs, also those that left their session.
jobs_of() { # NODE
    local pid steps
    steps=$(pids_with "SLURM_DEV_DAEMON=$dir:$1")
    [[ -z $steps ]] || echo "$steps"
    for pid in $steps; do pgrep -P "$pid" || true; done
    comm -12 <(pids_with "SLURMD_NODENAME=$1" | sort) <(pids_with "SLURM_CONF=$(conf_of "$1")" | sort)
}

is_up() { [[ -n $(pids_of "$1") ]]; }

anything_up() {
    local name
    for name in $(all_daemons); do
        ! is_up "$name" || return 0
    done
    return 1
}

# In a session of its own, with a clean environment, default signals (what a shell starts in the
# background ignores SIGINT, and SLURM's jobs would inherit that) and none of the caller's files:
# $(slurm_dev.sh start) would wait for their end, and the lock would stay held.
spawn() { # DAEMON PROGRAM ARGUMENTS...
    local tries name=$1
    shift
    (
        close_files
        cd "$dir" || exit 1
        exec setsid env -i --default-signal "PATH=$PATH" "HOME=/root" "LANG=C.UTF-8" \
            "SLURM_CONF=$(conf_of "$name")" "SLURM_DEV_DAEMON=$dir:$name" "MYSQL_UNIX_PORT=$dir/mysql/sock" \
            "$@" </dev/null >"$dir/log/$name.out" 2>&1
    ) &
    # Until it is the daemon, `is_up` knows nothing of it. Where it ends at once, no need to wait.
    for ((tries = 0; tries < 250; tries++)); do
        ! is_up "$name" || return 0
        kill -0 $! 2>/dev/null || return 0
        sleep 0.02
    done
}

close_files() {
    local fd
    for fd in /proc/self/fd/*; do
        fd=${fd##*/}
        ((fd <= 2)) || eval "exec $fd>&-"
    done
}

# Waits for a daemon's command to succeed; ends the script where it does not.
await() { # DAEMON SECONDS COMMAND...
    local name=$1 until=$((SECONDS + $2))
    shift 2
    until "$@" >/dev/null 2>&1; do
        is_up "$name" || fail "$name" "ended at once"
        ((SECONDS < until)) || fail "$name" "does not answer$(reason_of "$name")"
        sleep 0.1
    done
}

reason_of() { # DAEMON; what the controller has against a node
    [[ $1 != [nm][0-9]* ]] || at "$1" sinfo -h -n "$1" -p batch -o ' (%T, %E)' 2>/dev/null || true
}

fail() { # DAEMON WHAT
    local log=$dir/log/$1.log
    [[ -s $log ]] || log=$dir/log/$1.out
    say "$1 $2; the end of $log:"
    tail -n 12 "$log" >&2 || true
    exit 1
}

end() { # SIGNAL DAEMON; SIGKILL where 20 s were not enough
    local pids until=$((SECONDS + 20)) signal=$1
    pids=$(pids_of "$2")
    while [[ -n $pids ]]; do
        # shellcheck disable=SC2086  # a list
        kill -s "$signal" $pids 2>/dev/null || true
        sleep 0.1
        ((SECONDS < until)) || signal=KILL
        ((SECONDS < until + 10)) || die 1 "$2 (pid ${pids//$'\n'/ }) does not end"
        pids=$(pids_of "$2")
    done
}
