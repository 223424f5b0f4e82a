"""profiler/machine"""
