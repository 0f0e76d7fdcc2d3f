#!/bin/bash

# Parameters
#SBATCH --array=0-11%12
#SBATCH --job-name=kd-digits-0123abcd
#SBATCH --kill-on-invalid-dep=yes
#SBATCH --nodes=1
#SBATCH --open-mode=append
#SBATCH --output='/a place/runs/.slurm/kd-digits-0123abcd/%A_%a_0_log.out'
#SBATCH --requeue
#SBATCH --signal=USR2@180

# setup
export CUBLAS_WORKSPACE_CONFIG=${CUBLAS_WORKSPACE_CONFIG:-:4096:8}
export GOMP_SPINCOUNT=${GOMP_SPINCOUNT:-10000}

# command
export SUBMITIT_EXECUTOR=slurm
srun --unbuffered --output '/a place/runs/.slurm/kd-digits-0123abcd/%A_%a_%t_log.out' --export=ALL python3 -u '/a place/code/benchmark.py' work '/a place/runs/.slurm/kd-digits-0123abcd'
