"""What a trained run does well and badly: classes, confusions, alpha, features. ``inspect_run.py`` is its command."""
