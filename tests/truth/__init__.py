"""Findings held against causes that were planted: what ``just truth`` does."""
