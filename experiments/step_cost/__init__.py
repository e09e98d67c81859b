"""What does a training step of the token hybrid cost, against an all-softmax and an all-linear step?"""
