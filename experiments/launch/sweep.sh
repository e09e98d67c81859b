#!/usr/bin/env bash
# One sweep over several machines: each runs this script, and all share a study on a database server.
#
# On any number of machines:
#     STORAGE=postgresql+psycopg://me@db.example.org/optuna experiments/launch/sweep.sh sweep.trials=100
# Under SLURM, as an array of jobs, each with one worker and one GPU; more jobs may be submitted while it runs:
#     STORAGE=... sbatch --array=0-7 experiments/launch/sweep.sh sweep.trials=100
#
# The server needs an empty database. Drivers: pip install '.[postgresql]' or '.[mysql]'. A URL ends up in
# each sweep's config.yaml, so put the password in ~/.pgpass, or for MySQL in an option file:
#     STORAGE='mysql+pymysql://me@db.example.org/optuna?read_default_file=~/.my.cnf'
# A killed or stopped job loses no results: another job repeats its trial, from the newest checkpoint if the file system
# is shared. If no job is left, the same command continues the study.
#
#SBATCH --job-name=sweep
#SBATCH --ntasks=1
#SBATCH --cpus-per-task=8
#SBATCH --gres=gpu:1
#SBATCH --time=12:00:00
#SBATCH --signal=TERM@120
set -euo pipefail

: "${STORAGE:?give the URL of a database, for example STORAGE=postgresql+psycopg://me@db.example.org/optuna}"
STUDY=${STUDY:-token_hybrid_recall}
SPACE=${SPACE:-token_hybrid}
PYTHON=${PYTHON:-.venv/bin/python}

launcher=()
if [[ -n ${SLURM_JOB_ID:-} ]]; then
    launcher=(srun) # passes the signal on to the worker
fi
exec "${launcher[@]}" "$PYTHON" -m nas.sweep "+space=$SPACE" "sweep.storage='$STORAGE'" "sweep.study=$STUDY" "$@"
