"""Text from a trained model: prompts, exact sampling, and the text of tokens as they are made."""
