"""What the toolkit of the tests gets from somebody else."""
