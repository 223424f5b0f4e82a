"""probes/exec"""
