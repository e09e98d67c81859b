"""Healing: after a search, its answer learns the hidden states and the predictions of the pretrained model."""
