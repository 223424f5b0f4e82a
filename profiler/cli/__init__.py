"""profiler/cli"""
