"""What a command does with its options, where that takes several rooms: searches, trainings, texts, evaluations."""
