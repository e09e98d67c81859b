#!/usr/bin/env bash
# Train over the GPUs of several machines: the same line on each of them, FIRST being the name of one.
#
#     MACHINES=2 FIRST=node0 experiments/launch/several_machines.sh nas.search +space=token_hybrid trainer=fsdp
#
# The first process writes the run folder; to resume, every machine must see it, so give an output= that they share.
#
# PORT=29500    where they meet, on FIRST
# PROCESSES=2   only so many on each machine
# RESTARTS=3    start all again when one fails: they go on from the newest checkpoint
# RUN_ID=NAME   another one for each run, where RESTARTS is over 0
set -euo pipefail

exec torchrun --nnodes="$MACHINES" --nproc-per-node="${PROCESSES:-gpu}" --rdzv-backend=c10d \
    --rdzv-endpoint="$FIRST:${PORT:-29500}" --rdzv-id="${RUN_ID:-nas}" --max-restarts="${RESTARTS:-0}" -m "$@"
