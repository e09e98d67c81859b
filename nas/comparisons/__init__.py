"""The parts of `python -m nas.compare`: the recipe, the contenders, their trainings, and the results."""
