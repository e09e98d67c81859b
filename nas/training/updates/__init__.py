"""How weights change in a step: optimisers, the schedule of the learning rate, the average of weights."""
