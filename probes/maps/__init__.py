"""probes/maps"""
