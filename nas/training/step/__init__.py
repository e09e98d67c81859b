"""What a training step computes: routes, losses, cost, and gradients of micro-batches."""
