"""What it means: reads recordings, boots nothing."""
