"""Context parallelism: several processes share each sequence, and each holds one stretch of it.

Every token needs something of the tokens before its stretch:

- A short convolution and window attention need the last tokens before it (`nas.distributed.context.exchange.before`).
- The delta rule needs the state at its start (`nas.distributed.context.state.pass_state`).
- Softmax attention needs the chunks of earlier stretches that their routes keep (`nas.distributed.context.chunks`).

All of them are collectives with gradients. Every process of a group calls the same ones in the same order, forward and
backward, so their results must be used in every process. They work with gloo and NCCL.
"""
