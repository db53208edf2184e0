"""Many runs of `train.py`: which there are (`layout`, `expand`, `suite`), how far they are (`state`), carrying them out
(`pool` here, `cluster` as jobs), the command line (`cli`).

Nothing here imports torch, but for `preload`, which only workers import.
"""
