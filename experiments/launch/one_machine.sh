#!/usr/bin/env bash
# Train over all GPUs of this machine:
#
#     experiments/launch/one_machine.sh nas.search +space=token_hybrid experiment=one_gpu
#     experiments/launch/one_machine.sh nas.train architecture=softmax trainer=fsdp
#
# PROCESSES=2   only so many; without a GPU, so many processes on the CPU
# RESTARTS=3    start all again when one fails: they go on from the newest checkpoint
set -euo pipefail

exec torchrun --standalone --nproc-per-node="${PROCESSES:-gpu}" --max-restarts="${RESTARTS:-0}" -m "$@"
