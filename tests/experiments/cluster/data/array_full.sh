#!/bin/bash

# Parameters
#SBATCH --account=group
#SBATCH --array=0-11%5
#SBATCH --constraint='a100|h100'
#SBATCH --cpus-per-task=4
#SBATCH --dependency=afterok:17_3
#SBATCH --exclusive
#SBATCH --gpus-per-node=1
#SBATCH --job-name=kd-digits-0123abcd
#SBATCH --kill-on-invalid-dep=yes
#SBATCH --mail-user=ada@here
#SBATCH --mem=16G
#SBATCH --nice=100
#SBATCH --nodes=1
#SBATCH --open-mode=append
#SBATCH --output='/a place/it'"'"'s "runs"/.slurm/kd-digits-0123abcd/%A_%a_0_log.out'
#SBATCH --partition=gpu
#SBATCH --qos=long
#SBATCH --requeue
#SBATCH --signal=USR2@180
#SBATCH --time=60

# setup
export CUBLAS_WORKSPACE_CONFIG=${CUBLAS_WORKSPACE_CONFIG:-:4096:8}
export GOMP_SPINCOUNT=${GOMP_SPINCOUNT:-10000}
module load cuda
source ~/venv/bin/activate

# command
export SUBMITIT_EXECUTOR=slurm
srun --unbuffered --output '/a place/it'"'"'s "runs"/.slurm/kd-digits-0123abcd/%A_%a_%t_log.out' --export=ALL --cpus-per-task=4 python3 -u '/a place/code/benchmark.py' work '/a place/it'"'"'s "runs"/.slurm/kd-digits-0123abcd'
