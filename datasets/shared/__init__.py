"""What the data sets share: few-shot draws, splits, files."""
