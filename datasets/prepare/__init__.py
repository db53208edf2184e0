"""How ``python mmrl.py prepare`` fetches, unpacks, lays out and checks the datasets.

``sources.yaml`` is the one table of links, sizes, hashes and counts; ``sources`` reads it, ``fetch`` downloads,
``unpack`` and ``layout`` bring files to where the loaders expect them, ``verify`` compares, ``obtain`` does it all.
"""
