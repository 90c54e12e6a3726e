"""For developers, never in the zip: benches, judged tables, training of the bundled model.

Nobody may import it. Read first: bench.
"""
