"""``just faults``: what can go wrong around a run, done to the real command line, and judged from outside."""
