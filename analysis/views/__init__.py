"""analysis/views"""
