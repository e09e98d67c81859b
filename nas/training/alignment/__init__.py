"""Alignment: before a search, the operations of a pretrained model learn to give the outputs of its layers."""
