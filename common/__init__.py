"""What every floor uses; the standard library alone."""
