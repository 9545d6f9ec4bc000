"""The parts of a full pass: where a range ends, what is seen of it, what is remembered, when to hold still.

`reconciler.sweep` reads like the recipe; `evidence` hands to `--since auto` what a finished pass has verified.
"""
