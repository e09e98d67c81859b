"""What the stages beside the training of a search from a pretrained model share: their module and their run."""
