# shellcheck shell=bash
# shellcheck disable=SC2154  # dir and conf are set there
# Sourced by ../slurm_dev.sh: the daemons, in the order in which each needs the one before.

start_daemons() {
    local name dead=()
    for name in $(all_nodes); do
        is_up "$name" || dead+=("$name")
    done
    start_munged
    start_mariadbd
    start_slurmdbd
    for name in $(all_clusters); do add_accounts "$name"; done
    for name in $(all_controllers); do start_slurmctld "$name"; done
    start_nodes "${dead[@]}"
}

# A foreign listener is named before anything starts, rather than found in a log.
check_ports() { # DAEMONS that are down
    local name its
    for name; do
        its=$(port_of "$name")
        if [[ -n $its ]] && (exec 3<>"/dev/tcp/127.0.0.1/$its") 2>/dev/null; then
            die 1 "port $its, for $name, is taken; SLURM_DEV_PORT moves them all (after a stop)"
        fi
    done
}

start_munged() {
    [[ -s $dir/munge.key ]] || (umask 077 && head -c 128 /dev/urandom >"$dir/munge.key")
    # --force: takes over the socket of one that was killed.
    is_up munged || spawn munged munged --foreground --force --num-threads=4 \
        --key-file="$dir/munge.key" --socket="$dir/munge.sock" --pid-file="$dir/munged.pid" \
        --seed-file="$dir/munged.seed" --log-file="$dir/log/munged.log"
    await munged 10 timeout 5 munge -n -S "$dir/munge.sock"
}

start_mariadbd() {
    make_database
    is_up mariadbd || spawn mariadbd mariadbd --defaults-file="$dir/my.cnf"
    await mariadbd 60 timeout 5 mariadb-admin --no-defaults --socket="$dir/mysql/sock" ping
}

# Made beside its place: what a killed start left half done is not taken for a database.
make_database() {
    [[ ! -d $dir/mysql ]] || return 0
    as_mysql test -x "$dir" || die 2 "user mysql may not enter $dir; SLURM_DEV_DIR names another"
    rm -rf "$dir/mysql.new" "$dir/mysql-tmp"
    install -d -o mysql -g mysql -m 700 "$dir/mysql.new" "$dir/mysql-tmp"
    install -o mysql -g mysql -m 644 /dev/null "$dir/log/mariadbd.log"
    # As root it would change the owner of files in /usr/lib/mysql. With /tmp for temporary tables,
    # another cluster that starts meanwhile removes them.
    as_mysql env TMPDIR="$dir/mysql-tmp" mariadb-install-db --no-defaults --datadir="$dir/mysql.new" --skip-test-db \
        --auth-root-authentication-method=socket --auth-root-socket-user=root \
        >"$dir/log/mariadb-install-db.out" 2>&1 || fail mariadb-install-db "failed"
    mv "$dir/mysql.new" "$dir/mysql"
}

as_mysql() { setpriv --reuid=mysql --regid=mysql --clear-groups -- "$@"; }

start_slurmdbd() {
    is_up slurmdbd || spawn slurmdbd slurmdbd -D
    await slurmdbd 60 timeout 10 sacctmgr -nP show cluster
}

# Root may submit to two accounts, dev by default; a user without an account is refused.
add_accounts() { # CLUSTER
    if [[ -z $(timeout 20 sacctmgr -nP show assoc cluster="$1" user=root format=account) ]]; then
        change_accounts add cluster "$1"
        change_accounts add account dev,other cluster="$1"
        change_accounts add user root account=dev,other cluster="$1"
        change_accounts modify user root where cluster="$1" set defaultaccount=dev
    fi
}

change_accounts() { # WORDS of sacctmgr
    local output
    output=$(timeout 20 sacctmgr -i "$@" 2>&1) ||
        [[ $output == *"already exists"* || $output == *"Nothing new"* ]] ||
        die 1 "sacctmgr $*: ${output//$'\n'/ }"
}

# A new one asks the slurmds there are before it gives their nodes to jobs.
start_slurmctld() { # CONTROLLER
    local name
    is_up "$1" || spawn "$1" slurmctld -D -f "$(conf_of "$1")"
    await "$1" 60 controller_answers "$1"
    for name in $(nodes_of "$(cluster_of "$1")"); do
        ! is_up "$name" || await "$name" 60 node_known "$name"
    done
}

controller_answers() { at "$1" scontrol ping | grep -q ' is UP'; }

start_nodes() { # NAMES
    local name since held=()
    since=$(date +%FT%T)
    for name; do
        if give_up_lost_jobs "$name"; then held+=("$name"); fi
        spawn "$name" slurmd -D -N "$name" -f "$(conf_of "$name")"
    done
    for name; do
        await "$name" 60 node_registered "$name" "$since"
    done
    ((${#held[@]} == 0)) || settle "${held[0]}"
    for name; do
        await "$name" 60 node_serves "$name"
    done
}

# Jobs that died with their node (kill-node, a stop, a reboot) would count as running until their
# time limit; SLURM requeues or fails those of a node that is down. Jobs outlive a mere slurmd.
# Succeeds where the node is down now, and drained until it is settled.
give_up_lost_jobs() { # NAME
    if [[ -z $(jobs_of "$1") && -n $(at "$1" squeue -h -w "$1") ]]; then
        update_node "$1" state=down
    elif [[ $(state_of "$1") != down* ]]; then
        return 1
    fi
    update_node "$1" state=drain
}

update_node() { at "$1" scontrol update nodename="$1" "$2" reason="slurmd starts anew" || true; }

# slurmctld has kept the orders to end the jobs that the dead node had, and sends them now. One of
# those jobs, requeued and started again here, would be ended by the order meant for its former run.
settle() { # NODE
    local tries
    for ((tries = 0; tries < 50; tries++)); do
        sleep 0.1
        ! at "$1" sdiag | grep -qx 'Agent count: *0' || break
    done
}

state_of() { at "$1" sinfo -h -N -n "$1" -p batch -o %T; } # NODE

node_registered() { # NAME SINCE
    local started
    started=$(at "$1" scontrol -o show node "$1" | grep -o 'SlurmdStartTime=[0-9T:-]*')
    [[ ! ${started#*=} < $2 ]]
}

node_known() { # NAME; whatever its state, also down by hand
    local state
    state=$(state_of "$1")
    [[ -n $state && $state != unk* && $state != *[*] ]]
}

node_serves() { # NAME; back in service where it was down
    local state
    state=$(state_of "$1")
    case $state in
    down* | drain* | fail*) at "$1" scontrol update nodename="$1" state=resume ;;
    esac
    [[ $state =~ ^(idle|mixed|allocated|completing)$ ]]
}

start_node() { # NAME
    if is_up "$1"; then
        await "$1" 30 node_serves "$1"
    else
        start_nodes "$1"
    fi
}

# Looks like a machine that lost power: nothing on it says goodbye.
kill_node() { # NAME
    local pids until=$((SECONDS + 20))
    end KILL "$1"
    pids=$(jobs_of "$1")
    while [[ -n $pids ]]; do
        # shellcheck disable=SC2086  # a list
        kill -KILL $pids 2>/dev/null || true
        ((SECONDS < until)) || die 1 "jobs of $1 (pid ${pids//$'\n'/ }) do not end"
        sleep 0.1
        pids=$(jobs_of "$1")
    done
}

stop_daemons() {
    local name
    for name in $(all_controllers); do end TERM "$name"; done
    for name in $(all_nodes); do kill_node "$name"; done
    end TERM slurmdbd
    end TERM mariadbd
    end TERM munged
}
