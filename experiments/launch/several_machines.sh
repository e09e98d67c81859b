#!/usr/bin/env bash
# Train over the GPUs of several machines: run the same line on each; FIRST is the name of one of them.
#
#     MACHINES=2 FIRST=node0 experiments/launch/several_machines.sh nas.search +space=token_hybrid trainer=fsdp
#
# The first process writes the run folder; all machines must see it to resume, so give a shared output=.
#
# PORT=29500    port of the rendezvous on FIRST
# PROCESSES=2   number of processes on each machine
# RESTARTS=3    restart all processes when one fails; they resume from the newest checkpoint
# RUN_ID=NAME   unique name of the run; needed if RESTARTS is above 0
set -euo pipefail

exec torchrun --nnodes="$MACHINES" --nproc-per-node="${PROCESSES:-gpu}" --rdzv-backend=c10d \
    --rdzv-endpoint="$FIRST:${PORT:-29500}" --rdzv-id="${RUN_ID:-nas}" --max-restarts="${RESTARTS:-0}" -m "$@"
