#!/usr/bin/env bash
# Train over all GPUs of this machine:
#
#     experiments/launch/one_machine.sh nas.search +space=token_hybrid experiment=one_gpu
#     experiments/launch/one_machine.sh nas.train architecture=softmax trainer=fsdp
#
# PROCESSES=2   number of processes; without a GPU they run on the CPU
# RESTARTS=3    restart all processes when one fails; they resume from the newest checkpoint
set -euo pipefail

exec torchrun --standalone --nproc-per-node="${PROCESSES:-gpu}" --max-restarts="${RESTARTS:-0}" -m "$@"
