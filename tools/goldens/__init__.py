"""Golden numbers: what all methods share (``numbers``), the arrays that some have beside, and the recipe."""
