"""What a run is: its resolved configuration (`config`), its record (`record`), its results (`results`)."""
