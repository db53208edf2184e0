"""Data sets that are drawn from fonts: what the demonstrations use beside Digits."""
