"""What `python -m nas.compare` is made of: recipe, contenders, their trainings, and what came of them."""
