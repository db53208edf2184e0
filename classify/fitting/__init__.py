"""From a folder of images to a classifier whose accuracy is known: `fit`. docs/fit.md explains it.

`images` reads the folder, `splits` divides it, `plan` says which runs of train.py follow, `carry_out` carries them out,
`measure` reads what came of them, `program` puts it together.
"""
