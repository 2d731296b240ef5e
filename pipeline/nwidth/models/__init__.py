"""What a finished reduction is, in memory (`basis`, `certificate`) and on disk (`files`)."""
