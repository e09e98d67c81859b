"""What one training step of the token hybrid costs beside an all-softmax and an all-linear step."""
