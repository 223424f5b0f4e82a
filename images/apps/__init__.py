"""images/apps"""
