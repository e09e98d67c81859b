"""Many trainings on one machine, several at a time: what workers tell, how it is shown, their processes."""
