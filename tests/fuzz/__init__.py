"""What somebody else has written, damaged at random: see ``__main__``."""
