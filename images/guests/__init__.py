"""images/guests"""
