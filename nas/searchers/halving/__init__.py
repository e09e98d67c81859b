"""Successive halving: architectures are trained alone, and at each rung the worse ones are dropped.

Shared weights cost one training, but a supernet may never learn what some of its architectures learn alone. Where a
task is learnt late, as copying in text is, it judges layers before they are of use. Here each candidate has weights of
its own. Its training begins as it would by itself and goes on after a rung, so that nothing is trained twice (Jamieson
and Talwalkar 2016, arXiv 1502.07943; for architectures Li and Talwalkar 2019, arXiv 1902.07638).
"""
