"""What the references share: CLIP and what all equations have, official forms, golden arrays, toy weights."""
