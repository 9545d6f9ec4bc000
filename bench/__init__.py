"""The figures of design §7 as ratios: ours and the plain way side by side, interleaved, medians. `python -m bench`.

One file for each thing measured; `stand` starts real servers, `child` measures processes, `table` prints. Never tests.
"""
