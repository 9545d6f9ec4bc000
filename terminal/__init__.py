"""The terminal: options, output, progress, log lines, errors in words. A leaf: imports `schemas` alone."""
